"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from weightsearch.spec.sections import Train


def make_optimizer(network: nn.Module, train: Train) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=train.lr, weight_decay=train.weight_decay)


def learning_rate(train: Train, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 0): constant, or down to 0 along a line or half a cosine over the training."""
    progress = step / total_steps
    if train.schedule == "linear":
        return train.lr * (1 - progress)
    if train.schedule == "cosine":
        return train.lr * (1 + math.cos(math.pi * progress)) / 2
    return train.lr
