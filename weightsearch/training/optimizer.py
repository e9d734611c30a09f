"""Optimizer and learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from weightsearch.config.schema import Train
from weightsearch.runtime.network import encoder_of


def make_optimizer(network: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Create the optimizer of all trainable parameters, in groups with a share of the learning rate each. Fused
    implementations are used where possible: they are faster on a CPU, and under fp16 on a GPU other implementations
    wait for the device at each step. Raises ModelError for `encoder_lr` if the network has no encoder."""
    parameters = {id(parameter): parameter for parameter in network.parameters() if parameter.requires_grad}
    groups: list[dict[str, Any]] = []
    if train.encoder_lr is not None:
        own = [
            parameters.pop(id(parameter))
            for parameter in encoder_of(network, "encoder_lr").parameters()
            if id(parameter) in parameters
        ]
        groups.append({"params": own, "lr": train.encoder_lr, "share": train.encoder_lr / train.lr})
    groups.append({"params": list(parameters.values()), "lr": train.lr, "share": 1.0})
    groups = [group for group in groups if group["params"]]
    fused = all(_fusible(parameter, train) for group in groups for parameter in group["params"])
    common: dict[str, Any] = {"lr": train.lr, "weight_decay": train.weight_decay, "fused": fused or None}
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=train.momentum, **common)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, **common)


def _fusible(parameter: nn.Parameter, train: Train) -> bool:
    """Return True if a parameter can use a fused optimizer. Fused SGD needs momenta of all parameters or none, but some
    may get their first gradient later. On a CPU, fused steps overwrite the gaps of a parameter that is a view."""
    if train.optimizer == "sgd" and train.momentum > 0:
        return False
    if parameter.device.type != "cpu":
        return parameter.device.type == "cuda"
    wide = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return parameter.is_floating_point() and (parameter.is_contiguous() or wide)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group by its share. rate: of the parameters outside the encoder."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(train: Train, step: int, total_steps: int) -> float:
    """Learning rate of a step (from 0): constant, or decreasing to 0 linearly or along half a cosine."""
    progress = step / total_steps
    if train.schedule == "linear":
        return train.lr * (1 - progress)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * progress)) / 2
    return train.lr
