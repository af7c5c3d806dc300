"""The scores of held-out samples during training, at the network's size."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kit.prediction.frame import Frame
from kit.prediction.predictor import Predictor
from kit.prediction.rule import Rule
from kit.scoring import overlapping
from kit.scoring.confusion import confusion_matrix, dice, iou, mean_dice, mean_iou, pixel_accuracy
from kit.scoring.overlapping import class_matrices
from kit.training.processes import World


@dataclass(frozen=True)
class Validation:
    """A function network -> {"dice", "iou", "accuracy"} of the data set, over every process's loader.

    loader: batches of Sample at the network's size. rule: how probabilities become masks, but for objects. Of two
    classes the scores are those of the second, of more, and of classes that overlap, their mean. A loader may be empty,
    because there can be fewer images than processes. NaN where no pixel was counted.
    """

    loader: DataLoader
    frame: Frame
    num_classes: int
    world: World
    dtype: torch.dtype
    rule: Rule = Rule()  # noqa: RUF009 (frozen)

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The scores of a network."""
        matrix = self.count(network)
        if self.rule.separate:
            of = overlapping
            scores = of.mean_dice(matrix), of.mean_iou(matrix), of.pixel_accuracy(matrix)
            return dict(zip(("dice", "iou", "accuracy"), map(float, scores), strict=True))
        binary = len(matrix) == 2
        return {
            "dice": float(dice(matrix)[1] if binary else mean_dice(matrix)),
            "iou": float(iou(matrix)[1] if binary else mean_iou(matrix)),
            "accuracy": float(pixel_accuracy(matrix)),
        }

    def count(self, network: nn.Module) -> np.ndarray:
        """Confusion matrix i64 (K, K) of a network, rows = truth, over every process's loader.

        Of classes that overlap (K, 2, 2), one of each.
        """
        predictor = Predictor([network], self.frame, rule=self.rule, dtype=self.dtype)
        shape = (self.num_classes, 2, 2) if self.rule.separate else (self.num_classes, self.num_classes)
        matrix = np.zeros(shape, np.int64)
        for batch in self.loader:
            matrix += self._count(predictor, batch.image, batch.mask.numpy())
        return self.world.sum(torch.from_numpy(matrix).to(self.world.device)).cpu().numpy()

    def _count(self, predictor: Predictor, images: Tensor, masks: np.ndarray) -> np.ndarray:
        """The matrix of one batch. images: (N, C, h, w); masks: u8 (N, h, w) or (N, K, h, w)."""
        if self.rule.detected:  # object or none
            size = masks.shape[1:]
            labels = [self.rule.mask(one, size) for one in predictor.object_levels(images, [size] * len(images))]
            return confusion_matrix(masks, (np.stack(labels) > 0).astype(np.uint8), self.num_classes)
        [probs] = predictor.probabilities(images)
        if self.rule.separate:
            thresholds = torch.tensor(self.rule.threshold, device=probs.device)[:, None, None]
            predicted = (probs >= thresholds).to(torch.uint8).cpu().numpy()
            return class_matrices(np.moveaxis(masks, 1, -1), np.moveaxis(predicted, 1, -1))
        is_one = probs.shape[1] == 1 or self.rule.border
        predicted = probs[:, 0] >= self.rule.threshold if is_one else probs.argmax(dim=1)
        return confusion_matrix(masks, predicted.to(torch.uint8).cpu().numpy(), self.num_classes)
