"""Errors in a user's own network, loss term or data set, with their path in the study file and their line of code."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn

from weightsearch.errors import RAISED, ModelError, WeightsearchError, fault_place, kind_and_line, one_line

NO_GPU: Final = re.compile(r"NVIDIA driver|not compiled with CUDA|No CUDA GPUs|no CUDA-capable|invalid device ordinal")
TWO_DEVICES: Final = re.compile(r"same device|input.*weight type.*should be the same", re.IGNORECASE)
VIEWS: Final = re.compile(r"view size is not compatible")
PASSED_ON: Final = (WeightsearchError, MemoryError, torch.OutOfMemoryError)  # errors that are raised unchanged


@contextmanager
def own_code(where: str, subject: object, kind: type[WeightsearchError] = ModelError) -> Iterator[None]:
    """Convert any exception of a user's code to an error of type `kind`. where: its path in the study file, such as
    `loss.mine`. subject: the object or class that is called."""
    try:
        yield
    except PASSED_ON:
        raise
    except RAISED as error:
        raise kind(f"{where}: {described(error, subject)}") from error


def described(error: BaseException, subject: object) -> str:
    """An error of a user's code on one line: its message, reworded if torch's would mislead, and its line of code or,
    if the user's code has no frame in the traceback, the line of the subject's definition."""
    text = str(error)
    if NO_GPU.search(text) and not torch.cuda.is_available():
        what = (
            "asks for a GPU, and torch finds none on this machine; leave out .cuda() and .to('cuda'): networks, terms "
            "and batches are put on the trial's device, and new tensors belong on that of another (device=image.device)"
        )
    elif TWO_DEVICES.search(text):
        what = "mixes tensors of two devices; make new tensors on that of another (device=image.device)"
    elif VIEWS.search(text):
        what = f"{kind_and_line(error).rstrip('.')}, or set train.channels_last: false"
    else:
        what = kind_and_line(error)
    location = fault_place(error, own=True) or defined_at(subject)
    return one_line(f"{what} ({location})" if location else what)


def defined_at(subject: object) -> str:
    """`file:line` of a function, a class, or an object's class; empty without source code."""
    target = subject.func if isinstance(subject, functools.partial) else subject
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        target = type(target)
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (TypeError, OSError):
        return ""


def at(subject: object) -> str:
    """` (file:line)` of a user's definition, to end a message; empty for weightsearch's own code and without source
    code."""
    owner = inspect.getmodule(subject if inspect.isroutine(subject) or inspect.isclass(subject) else type(subject))
    location = "" if owner is not None and owner.__name__.startswith("weightsearch.") else defined_at(subject)
    return f" ({location})" if location else ""


def check_callable(where: str, subject: Any, arguments: tuple[str, ...], named: tuple[str, ...] = ()) -> None:
    """Raise ModelError unless an object can be called with these arguments, by position, and these keyword arguments.
    where: the beginning of the message."""
    expected = ", ".join([*arguments, *(f"{name}={name}" for name in named)])
    if not callable(subject):
        raise ModelError(
            f"{where}: is a {type(subject).__name__}, which cannot be called; it needs the method "
            f"__call__(self, {expected}){at(subject)}"
        )
    function, method = _called(subject)
    if function is None:
        raise ModelError(f"{where}: has no method {method}(self, {expected}){at(subject)}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled code has none
        return
    try:
        signature.bind(*arguments, **dict.fromkeys(named))
    except TypeError as error:
        raise ModelError(
            f"{where}: must take ({expected}), found {method}{signature}: {error}{at(_definition(function))}"
        ) from None


def _called(subject: Any) -> tuple[Callable[..., Any] | None, str]:
    """The function that a call of an object runs, and its name; None for a module without a forward."""
    if isinstance(subject, nn.Module):
        missing = type(subject).forward is nn.Module.forward
        return (None if missing else subject.forward), "forward"
    if isinstance(subject, functools.partial):
        return subject, getattr(subject.func, "__name__", "the function")
    if inspect.isroutine(subject):
        return subject, subject.__name__
    return subject.__call__, "__call__"


def _definition(function: Any) -> Any:
    return function.func if isinstance(function, functools.partial) else function
