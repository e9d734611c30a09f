"""Plug-ins: names of a study file -> Python objects, and their options -> checked keyword arguments.

A name is a module of the kind's package below or a dotted path `package.module:Object`. A plug-in's options are the
keyword arguments of its constructor, and the study file is checked against their annotations. A loss term may also be a
plain function f(prediction, batch, *, option=...): its other arguments are its options.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import pkgutil
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from weightsearch.errors import RAISED, OptionError, WeightsearchError, fault_place, kind_and_line

# Kind -> the package whose modules are its plug-ins: the module `silog` defines the plug-in `silog`, as a class or
# function of the same name, ignoring case and underscores (SILog).
PACKAGES: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "data": "weightsearch.data.sources",
        "model": "weightsearch.models",
        "loss": "weightsearch.losses.terms",
        "sampler": "weightsearch.search.samplers",
        "pruner": "weightsearch.search.pruners",
    }
)
INTERFACES: Final = ("sampler", "pruner")  # modules of these packages that define the interface of plug-ins


# Names in Ray Tune, Optuna and the literature -> names here.
OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = types.MappingProxyType(
    {
        "pruner": {
            "asha": "successive_halving",
            "sha": "successive_halving",
            "median_stopping": "median",
            "off": "none",
        },
        "sampler": {"bayesian": "tpe", "optuna": "tpe", "grid_search": "grid", "random_search": "random"},
    }
)


_folders: Final[set[Path]] = set()  # folders of plug-ins beside study files


def find_plug_ins_in(folder: Path) -> None:
    """Find plug-ins in this folder, too, from now on. folder: absolute."""
    _folders.add(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def known_words(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'? known: x, y` for an unknown word, without the question if no choice is similar. choices: the
    allowed words."""
    names = list(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    question = f" did you mean {close[0]!r}?" if close else ""
    return f";{question} known: {', '.join(names)}"


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of the plug-ins of a kind that weightsearch ships, in alphabetical order."""
    if kind not in PACKAGES:  # such as a user's own metrics
        return ()
    spec = importlib.util.find_spec(PACKAGES[kind])
    folders = spec.submodule_search_locations if spec is not None else None
    modules = pkgutil.iter_modules(list(folders or []))
    return tuple(sorted(module.name for module in modules if not module.ispkg and module.name not in INTERFACES))


@cache
def _shipped(kind: str, name: str) -> Callable[..., Any]:
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    wanted = name.replace("_", "")
    candidates = (
        value for key, value in vars(module).items() if key.replace("_", "").lower() == wanted and callable(value)
    )
    # A loss term's module also contains its formula, a function of the same name.
    return next(candidate for candidate in candidates if kind != "loss" or inspect.isclass(candidate))  # type: ignore[no-any-return]


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """The plug-in of a kind (`loss`, `model`, ...) that a study file calls `name`.

    Raises OptionError if the name is neither one of `names(kind)` nor an importable `package.module:Object`.
    """
    table = names(kind)
    if name in table:
        return _shipped(kind, name)
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        if (meant := OTHER_NAMES.get(kind, {}).get(name.lower())) is None:
            module, dot, last = name.rpartition(".")
            meant = f"{module}:{last}" if dot and module and last else None
        words = known_words(name, table) if meant is None else f"; did you mean {meant!r}? known: {', '.join(table)}"
        raise OptionError("", f"unknown {kind} {name!r}{words}, or package.module:Object")
    try:
        target: object = importlib.import_module(module_name)
    except RAISED as error:
        location = fault_place(error, own=True)
        line = f" ({location})" if location else ""
        meant = _module_like(module_name) if isinstance(error, ModuleNotFoundError) else None
        question = f"; did you mean {meant}:{attribute}?" if meant else ""
        raise OptionError(
            "", f"cannot import {module_name!r} for {kind} {name!r}: {kind_and_line(error)}{line}{question}"
        ) from error
    for part in attribute.split("."):
        target = getattr(target, part, None)
    if not callable(target):
        raise OptionError("", f"{module_name!r} has no class or function {attribute!r} for {kind} {name!r}")
    return _constructor(target) if kind == "loss" and _is_term(target) else target


def _module_like(name: str) -> str | None:
    """A module in a folder of plug-ins whose name resembles a name that cannot be imported, such as `losses.py`."""
    there = {path.stem for folder in _folders for path in folder.glob("*.py")}
    wanted = name.removesuffix(".py")
    return wanted if wanted in there else next(iter(difflib.get_close_matches(wanted, there, n=1)), None)


def attribute(kind: str, name: str, key: str, default: Any) -> Any:
    """An attribute by which a plug-in's class declares a need or an ability; the default if it is missing."""
    return getattr(resolve(kind, name), key, default)


def names_with(kind: str, key: str) -> list[str]:
    """The shipped plug-ins of a kind whose attribute is true."""
    return [name for name in names(kind) if attribute(kind, name, key, default=False)]


def _is_term(function: Callable[..., Any]) -> bool:
    """True if a plain function is itself a loss term f(prediction, batch), not a factory of terms: its first two
    arguments are positional, required, and not annotated like an option."""
    if not inspect.isfunction(function):
        return False
    parameters = list(inspect.signature(function).parameters.values())[:2]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return len(parameters) == 2 and all(
        parameter.kind in positional
        and parameter.default is inspect.Parameter.empty
        and parameter.annotation not in (int, float, str, bool, "int", "float", "str", "bool")
        for parameter in parameters
    )


@cache
def _constructor(function: Callable[..., Any]) -> Callable[..., Any]:
    """A constructor of loss terms from a plain function f(prediction, batch, ...): its further arguments are the
    options."""

    def make(**options: Any) -> Callable[..., Any]:
        return partial(function, **options)

    signature = inspect.signature(function)
    further = list(signature.parameters.values())[2:]
    try:
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, NameError, AttributeError) as error:
        raise OptionError("", f"the options of {_name(function)} cannot be read: {kind_and_line(error)}") from None
    make.__name__, make.__module__ = function.__name__, function.__module__
    make.__annotations__ = {parameter.name: hints[parameter.name] for parameter in further if parameter.name in hints}
    make.__signature__ = signature.replace(parameters=further)  # type: ignore[attr-defined]
    make._term_function = function  # type: ignore[attr-defined]
    return make


def about_function(target: Callable[..., Any]) -> str:
    """The end of a message about options of a user's plain function: the rule by which it is a loss term, and its
    signature and line; empty for other plug-ins."""
    function = inspect.unwrap(getattr(target, "_term_function", target))
    if not inspect.isfunction(function) or function.__module__.startswith("weightsearch."):
        return ""
    code = function.__code__
    return (
        f"; a function is a loss term if it takes (prediction, batch), and its other arguments are options; found "
        f"{function.__name__}{inspect.signature(function)} ({code.co_filename}:{code.co_firstlineno})"
    )


@cache
def options_model(target: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of the keyword arguments that a plug-in takes."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        parameters = inspect.signature(target).parameters.values()
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise OptionError("", f"the options of {_name(target)} cannot be read: {kind_and_line(error)}") from None
    fields: dict[str, Any] = {}
    extra = False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = not _has_torchs_constructor(target)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(
        extra="allow" if extra else "forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
    try:
        return create_model(_name(target), __config__=config, **fields)
    except Exception as error:  # names and annotations that pydantic does not take
        raise OptionError("", f"the options of {_name(target)} cannot be checked: {kind_and_line(error)}") from None


def _has_torchs_constructor(target: Callable[..., Any]) -> bool:
    """True for a torch module without its own constructor: torch's constructor has keyword arguments, but rejects all
    of them."""
    classes = inspect.getmro(target) if inspect.isclass(target) else ()
    owner = next((base for base in classes if "__init__" in vars(base)), object)
    return owner.__module__.startswith("torch.nn.")


def plain_options(target: Callable[..., Any], options: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a plug-in's constructor, as JSON values: the options of the study file and, for parameters that
    the file leaves out, the values of the context (`min_depth`, `max_depth`, `size`, `root`, `neighbours`)."""
    fields = options_model(target).model_fields
    given = {**{name: context[name] for name in fields if name in context}, **options}
    return {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}


def arguments(checked: BaseModel) -> dict[str, Any]:
    """Keyword arguments from checked options."""
    return {**{key: getattr(checked, key) for key in type(checked).model_fields}, **(checked.model_extra or {})}


def build(kind: str, name: str, options: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """Make a plug-in from options that the study file's loader has already checked."""
    return resolve(kind, name)(**arguments(_checked(kind, name, options, context)))


def build_plug_in(
    kind: str,
    name: str,
    options: Mapping[str, Any],
    context: Mapping[str, Any],
    where: str,
    error: type[WeightsearchError],
) -> Any:
    """Build a plug-in, and convert every exception of its code to `error`. where: the path of its section in the study
    file, such as `loss.mine`."""
    from weightsearch.user_code import PASSED_ON, described  # it imports torch

    try:
        return build(kind, name, options, context)
    except OptionError as option_error:
        raise error(f"{where}.{option_error.option}: {option_error.message}") from None
    except PASSED_ON:
        raise
    except RAISED as raised:
        if isinstance(raised, OSError) and ":" not in name:  # one of ours: such as a path that is too long
            raise error(f"{where}: cannot read {raised.filename}: {raised.strerror or raised}") from None
        subject = f"{where}:" if kind == "loss" else f"{where}.name: {name!r}"
        raise error(f"{subject} cannot be made: {described(raised, resolve(kind, name))}") from raised


def all_options(kind: str, name: str, options: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a plug-in with its value, including options that the study file leaves out, as JSON values."""
    return _checked(kind, name, options, context).model_dump(mode="json")


def _checked(kind: str, name: str, options: Mapping[str, Any], context: Mapping[str, Any]) -> BaseModel:
    target = resolve(kind, name)
    try:
        return options_model(target).model_validate_json(json.dumps(plain_options(target, options, context)))
    except ValidationError as error:  # such as a file that is on the driver's machine and not on this one
        first = error.errors(include_url=False)[0]
        raise OptionError(".".join(map(str, first["loc"])), first["msg"]) from None


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", type(target).__name__)
