"""The optimizer and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from weightsearch.config.schema import Train
from weightsearch.training.network import encoder_of


def make_optimizer(network: nn.Module, train: Train) -> torch.optim.Optimizer:
    """The optimizer of all parameters that can learn, in groups that each know their share of the learning rate. Adam
    is the fused one where it can be: it takes less time on a CPU, and on a GPU every other would wait for the device at
    each step under fp16. Raises ModelError for an `encoder_lr` where the network has no encoder."""
    parameters = {id(one): one for one in network.parameters() if one.requires_grad}
    groups: list[dict[str, Any]] = []
    if train.encoder_lr is not None:
        own = [
            parameters.pop(id(one)) for one in encoder_of(network, "encoder_lr").parameters() if id(one) in parameters
        ]
        groups.append({"params": own, "lr": train.encoder_lr, "share": train.encoder_lr / train.lr})
    groups.append({"params": list(parameters.values()), "lr": train.lr, "share": 1.0})
    groups = [group for group in groups if group["params"]]
    fused = all(_fusible(one, train) for group in groups for one in group["params"])
    common: dict[str, Any] = {"lr": train.lr, "weight_decay": train.weight_decay, "fused": fused or None}
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=train.momentum, **common)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, **common)


def _fusible(parameter: nn.Parameter, train: Train) -> bool:
    """Fused SGD wants the momenta of all parameters or of none, but some may get their first gradient later; on a CPU
    fused steps run over the gaps of a parameter that is a view of another tensor."""
    if train.optimizer == "sgd" and train.momentum > 0:
        return False
    if parameter.device.type != "cpu":
        return parameter.device.type == "cuda"
    wide = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return parameter.is_floating_point() and (parameter.is_contiguous() or wide)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """rate: of what is not the encoder's."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(train: Train, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 0): constant, or down to 0 along a line or half a cosine over the training."""
    progress = step / total_steps
    if train.schedule == "linear":
        return train.lr * (1 - progress)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * progress)) / 2
    return train.lr
