"""Optimizers and schedules of the learning rate."""

import math
from collections.abc import Callable

import torch
from torch import nn


def adamw(model: nn.Module, lr: float, weight_decay: float = 0.01, encoder_factor: float = 1.0) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) on the parameter_groups of `model`."""
    return torch.optim.AdamW(parameter_groups(model, lr, weight_decay, encoder_factor), fused=True)


def parameter_groups(model: nn.Module, lr: float, weight_decay: float, encoder_factor: float = 1.0) -> list[dict]:
    """Optimizer groups: the learning rate of `model.encoder` times `encoder_factor`; no decay of biases and norms.

    Parameters that need no gradient (a frozen encoder) are left out. Each group has an `initial_lr`, which `fit`
    multiplies by the schedule.
    """
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = encoder_factor if ".encoder." in f".{name}" else 1.0
            groups.setdefault((lr * factor, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": params, "lr": rate, "initial_lr": rate, "weight_decay": wd} for (rate, wd), params in groups.items()
    ]


def warmup_cosine(progress: float, warmup: float = 0.05) -> float:
    """Rise in a straight line during `warmup`, then fall as half a cosine to zero (Loshchilov & Hutter 2017).

    progress: the share of training that is done, 0..1. Returns the factor of the learning rate.
    """
    return _warm(progress, warmup, lambda rest: 0.5 * (1 + math.cos(math.pi * rest)))


def warmup_poly(progress: float, warmup: float = 0.05, power: float = 0.9) -> float:
    """Rise in a straight line during `warmup`, then fall as (1 - t)^power (Chen et al. 2017, DeepLab v2)."""
    return _warm(progress, warmup, lambda rest: (1 - rest) ** power)


def _warm(progress: float, warmup: float, decay: Callable[[float], float]) -> float:
    return (progress + 1e-3) / (warmup + 1e-3) if progress < warmup else decay((progress - warmup) / (1 - warmup))
