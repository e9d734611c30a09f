"""The device a training uses, and its precision there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from weightsearch.config.schema import Configuration
from weightsearch.errors import WeightsearchError


def choose_device(configuration: Configuration, name: str = "auto") -> torch.device:
    """`auto`: a GPU if the configuration's trials get one and there is one. Raises WeightsearchError for a name that
    this machine cannot serve."""
    gpus = configuration.resources.gpus_per_trial
    if name == "auto":
        wanted = gpus == "auto" or gpus > 0
        return torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise WeightsearchError(f"device: expected auto, cpu, cuda or cuda:N, found {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WeightsearchError(f"device {name}: this machine has {torch.cuda.device_count()} GPUs that torch can use")
    return device


@dataclass(frozen=True)
class Precision:
    """dtype: of autocast, or None for float32. scaler: for fp16's narrow range; does nothing otherwise."""

    device: torch.device
    dtype: torch.dtype | None
    scaler: Any

    def autocast(self) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scale(self) -> torch.Tensor | None:
        """The factor that backward passes start from, on the device, if there is one."""
        if not self.scaler.is_enabled():
            return None
        scaled: torch.Tensor = self.scaler.scale(torch.ones((), device=self.device))
        return scaled


def choose_precision(amp: str, device: torch.device) -> Precision:
    dtype: torch.dtype | None = None
    if device.type == "cuda" and amp != "off":
        half = amp == "fp16" or (amp == "auto" and not torch.cuda.is_bf16_supported())
        dtype = torch.float16 if half else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    return Precision(device, dtype, scaler)
