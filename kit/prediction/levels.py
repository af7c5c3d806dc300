"""Levels: probabilities in 256 steps, uint8. The store, the report and the submission all start from the same bytes.

A level l holds the probabilities [l/256, (l+1)/256), so 0.5 begins at level 128. Averaging over views comes before
quantising, and quantising before enlarging: bilinear enlarging is linear, so the order does not change the result.
Several networks are averaged over their levels, f32: so a prediction that was stored counts as one that was just made.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FOREGROUND = 128  # the level of probability 0.5


def quantise(probs: Tensor, separate: bool = False) -> Tensor:
    """Probabilities f32 (N, K, H, W) -> levels u8.

    K > 1: classes that share the likeliest one's level go one down, so that it stays the likeliest. separate: classes
    may overlap, each is decided by itself, and its level says all.
    """
    levels = (probs * 256).clamp_(max=255).to(torch.uint8)
    if probs.shape[1] > 1 and not separate:
        winner = probs.argmax(dim=1, keepdim=True)  # of probability 1/K or more, so of level 1 or more up to K = 256
        tied = (levels == levels.gather(1, winner)).scatter(1, winner, value=False)
        levels -= tied.to(torch.uint8)
    return levels


def mean_levels(levels: Sequence) -> Tensor:
    """The mean of several networks' levels (all tensors, or all arrays) of one shape: u8 of one, f32 of more."""
    if len(levels) == 1:
        return levels[0]
    as_f32 = [part.float() if isinstance(part, Tensor) else part.astype("float32") for part in levels]
    return sum(as_f32[1:], as_f32[0]) / len(levels)
