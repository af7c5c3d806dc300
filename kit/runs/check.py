"""Checks of the network and of the competition against the data set, before the first step of training."""

import contextlib

import numpy as np
import torch
from torch import Tensor, nn

from kit.runs.run import Run
from kit.scoring.metrics import Metric, check_counts
from kit.system.files import counted

ANY_SIZE = (64, 64)  # of an image for networks without a size of their own


def check_network(run: Run, model: nn.Module) -> None:
    """Predict one black image. Raises ValueError where channels or classes are not those of the data set.

    The network, its statistics and the random numbers stay as they are.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    size = run.frame.tile or run.frame.resizing.size or ANY_SIZE
    image = torch.zeros(1, len(run.dataset.channels), *size, device=device)
    model.eval()
    try:
        with torch.inference_mode(), _same_random_numbers(device):
            logits = model.forward(image)  # not model(image): that would compile a network after model.compile()
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"the network does not take an image of {counted(len(run.dataset.channels), 'channel')} "
            f"({', '.join(run.dataset.channels)}) and {size[0]}×{size[1]} pixels: {error}. "
            "Give it in_channels=len(dataset.channels), or another --image-size"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    _check_logits(run, logits, size)


def _same_random_numbers(device: torch.device) -> contextlib.AbstractContextManager:
    """Put the random numbers back in the end, of this device alone: fork_rng warns where there are several GPUs."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def check_metric(run: Run, metric: Metric | None) -> None:
    """Score a drawn mask that holds every class. Raises ValueError where the metric cannot count these classes."""
    if metric is None:
        return
    count, what = run.dataset.num_classes, "a drawn mask of every class"
    mask = np.repeat(np.repeat(np.arange(count, dtype=np.uint8)[None], 8, axis=0), 8, axis=1)
    other = np.roll(mask, 4, axis=1)
    mask[-1] = 255
    try:
        check_counts(metric, [metric.counts(mask, other), metric.counts(mask, other)], [what, what])
    except Exception as error:  # whatever a metric of the user's own raises
        raise ValueError(
            f"the metric {metric.name} cannot score masks of {count} classes ({', '.join(run.dataset.classes)}): "
            f"{error}. It must take truth and prediction u8 (H, W) of classes 0 to {count - 1}, and 255 in truth; a "
            f"metric over classes needs num_classes={count}"
        ) from error


def _check_logits(run: Run, logits: object, size: tuple[int, int]) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 4 or tuple(logits.shape[2:]) != tuple(size):
        found = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"in eval mode the network returns {found}, expected logits (N, K, {size[0]}, {size[1]})")
    right = {1, 2} if run.dataset.num_classes == 2 else {run.dataset.num_classes}
    if logits.shape[1] not in right:
        classes = ", ".join(run.dataset.classes)
        raise ValueError(
            f"the network gives logits of {counted(logits.shape[1], 'channel')}, the data set has "
            f"{run.dataset.num_classes} classes ({classes}): expected {' or '.join(map(str, sorted(right)))}. "
            f"Give it num_classes={max(right)}" + (" (1 with a loss for one foreground)" if right == {1, 2} else "")
        )
