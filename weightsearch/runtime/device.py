"""Device and precision of a training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from weightsearch.config.schema import Configuration
from weightsearch.errors import WeightsearchError


def choose_device(configuration: Configuration, name: str = "auto") -> torch.device:
    """Choose the device. name: `auto` is a GPU if the configuration's trials use one and one is available. Raises
    WeightsearchError for a device that this machine does not have."""
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
    """Precision of a training. dtype: of autocast, None for float32. scaler: loss scaler for fp16, else disabled."""

    device: torch.device
    dtype: torch.dtype | None
    scaler: Any

    def autocast(self) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scale(self) -> torch.Tensor | None:
        """Loss scale on the device; None without loss scaling."""
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
