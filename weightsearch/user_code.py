"""Faults in a user's own network, loss term or data set, reported with their path in the study file and their line."""

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
PASSED_ON: Final = (WeightsearchError, MemoryError, torch.OutOfMemoryError)  # they explain themselves


@contextmanager
def own_code(where: str, subject: object, kind: type[WeightsearchError] = ModelError) -> Iterator[None]:
    """Turn any exception of a user's code into an error of a kind. where: its path in the study file, such as
    `loss.mine`. subject: the object or class that is called."""
    try:
        yield
    except PASSED_ON:
        raise
    except RAISED as error:
        raise kind(f"{where}: {described(error, subject)}") from error


def described(error: BaseException, subject: object) -> str:
    """A fault of a user's code on one line: what it says, in our words where torch's would mislead, and its line, or
    that of the subject's definition where no line of the user's is at fault."""
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
    place = fault_place(error, own=True) or defined_at(subject)
    return one_line(f"{what} ({place})" if place else what)


def defined_at(subject: object) -> str:
    """`file:line` of a function, a class, or an object's class; empty if its source is not there."""
    target = subject.func if isinstance(subject, functools.partial) else subject
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        target = type(target)
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (TypeError, OSError):
        return ""


def at(subject: object) -> str:
    """` (file:line)` of a user's definition, to end a message; empty for our own code and without a source."""
    owner = inspect.getmodule(subject if inspect.isroutine(subject) or inspect.isclass(subject) else type(subject))
    place = "" if owner is not None and owner.__name__.startswith("weightsearch.") else defined_at(subject)
    return f" ({place})" if place else ""


def check_callable(where: str, subject: Any, arguments: tuple[str, ...], named: tuple[str, ...] = ()) -> None:
    """Raise ModelError unless an object can be called with so many arguments, by position, and with the named ones.
    where: what the message begins with."""
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
