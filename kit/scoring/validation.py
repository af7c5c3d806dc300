"""The scores of held-out samples during training, at the network's size."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kit.prediction.frame import Frame
from kit.prediction.predictor import Predictor
from kit.scoring.confusion import confusion_matrix, dice, iou, mean_dice, mean_iou, pixel_accuracy
from kit.training.processes import World


@dataclass(frozen=True)
class Validation:
    """A function network -> {"dice", "iou", "accuracy"} of the data set, over every process's loader.

    loader: batches of Sample at the network's size. Of two classes the scores are those of the second, of more their
    mean. A loader may be empty, because there can be fewer images than processes. NaN where no pixel was counted.
    """

    loader: DataLoader
    frame: Frame
    num_classes: int
    world: World
    dtype: torch.dtype

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The scores of a network."""
        matrix = self.count(network)
        binary = len(matrix) == 2
        return {
            "dice": float(dice(matrix)[1] if binary else mean_dice(matrix)),
            "iou": float(iou(matrix)[1] if binary else mean_iou(matrix)),
            "accuracy": float(pixel_accuracy(matrix)),
        }

    def count(self, network: nn.Module) -> np.ndarray:
        """Confusion matrix i64 (K, K) of a network, rows = truth, over every process's loader."""
        predictor = Predictor([network], self.frame, dtype=self.dtype)
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        for batch in self.loader:
            [probs] = predictor.probabilities(batch.image)
            predicted = probs[:, 0] >= 0.5 if probs.shape[1] == 1 else probs.argmax(dim=1)
            predicted = predicted.to(torch.uint8).cpu().numpy()
            matrix += confusion_matrix(batch.mask.numpy(), predicted, self.num_classes)
        return self.world.sum(torch.from_numpy(matrix).to(self.world.device)).cpu().numpy()
