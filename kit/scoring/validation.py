"""The scores of held-out samples during training, at the network's size."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kit.prediction.frame import Frame
from kit.prediction.predictor import Predictor
from kit.scoring.confusion import confusion_matrix, dice, iou, mean_dice, mean_iou, pixel_accuracy
from kit.training.processes import World


def validation(
    loader: DataLoader, frame: Frame, num_classes: int, world: World, dtype: torch.dtype
) -> Callable[[nn.Module], dict[str, float]]:
    """A function network -> {"dice", "iou", "accuracy"} of the data set, over every process's loader.

    loader: batches of Sample at the network's size. Of two classes the scores are those of the second, of more their
    mean. A loader may be empty, because there can be fewer images than processes. NaN where no pixel was counted.
    """

    def evaluate(network: nn.Module) -> dict[str, float]:
        return scores_of(count(network, loader, frame, num_classes, world, dtype))

    return evaluate


def count(
    network: nn.Module, loader: DataLoader, frame: Frame, num_classes: int, world: World, dtype: torch.dtype
) -> np.ndarray:
    """Confusion matrix i64 (K, K), rows = truth, at the network's size, over every process's loader."""
    predictor = Predictor([network], frame, device=world.device, dtype=dtype)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for batch in loader:
        [probs] = predictor.probabilities(batch.image)
        predicted = probs[:, 0] >= 0.5 if probs.shape[1] == 1 else probs.argmax(dim=1)
        matrix += confusion_matrix(batch.mask.numpy(), predicted.to(torch.uint8).cpu().numpy(), num_classes)
    return world.sum(torch.from_numpy(matrix).to(world.device)).cpu().numpy()


def scores_of(matrix: np.ndarray) -> dict[str, float]:
    """Dice, IoU and pixel accuracy of a data set's confusion matrix."""
    binary = len(matrix) == 2
    return {
        "dice": float(dice(matrix)[1] if binary else mean_dice(matrix)),
        "iou": float(iou(matrix)[1] if binary else mean_iou(matrix)),
        "accuracy": float(pixel_accuracy(matrix)),
    }
