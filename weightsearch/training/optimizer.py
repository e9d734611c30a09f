"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from weightsearch.spec.sections import Train


def make_optimizer(network: nn.Module, train: Train) -> torch.optim.Optimizer:
    """The optimizer of all parameters that can learn. On a GPU it is the fused one: under fp16 every other would wait
    for the device at each step."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    fused = all(parameter.device.type == "cuda" for parameter in parameters)
    common: dict[str, Any] = {"lr": train.lr, "weight_decay": train.weight_decay, "fused": fused or None}
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=train.momentum, **common)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, **common)


def learning_rate(train: Train, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 0): constant, or down to 0 along a line or half a cosine over the training."""
    progress = step / total_steps
    if train.schedule == "linear":
        return train.lr * (1 - progress)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * progress)) / 2
    return train.lr
