"""Blends of classes that compete for each pixel: exact where a class has rivals."""

import cv2
import numpy as np
import pytest

from kit.prediction import Rule, blended
from kit.prediction.blended import enlarged_class
from kit.scoring import DatasetDice, MeanDicePerClass, MeanIoU, blend
from kit.scoring.blend_classes import ClassPool, rivals_of
from kit.scoring.blend_pools import alike


@pytest.mark.slow
@pytest.mark.parametrize("metric", [MeanIoU(4), MeanDicePerClass(4), DatasetDice()])
def test_classes_that_compete(metric):
    """Equal to whole masks, also where two classes have the same level; most pixels are decided, others have rivals."""
    rng = np.random.default_rng(12)
    images, rivals = [], []
    for _ in range(20):
        truth = rng.integers(0, 4, (3, 4)).astype(np.uint8).repeat(12, axis=0).repeat(12, axis=1)
        truth[:5, :5] = 255
        maps = []
        for shape in ((18, 24), (18, 24), (24, 32)):
            small = cv2.resize(truth, shape[::-1], interpolation=cv2.INTER_NEAREST)
            sharp = np.stack([cv2.GaussianBlur((small == k) * 200.0, (0, 0), 1.5) for k in range(4)])
            maps.append((sharp + rng.integers(0, 2, sharp.shape) * 20).clip(0, 255).astype(np.uint8))
        images.append((maps, truth))
        rivals.append(rivals_of(np.array([[enlarged_class(k, truth.shape) for k in one] for one in maps]), truth))
    assert np.mean([len(one.truth) for one in rivals]) < 0.7 * truth.size
    assert max(np.diff(one.starts).max() for one in rivals) < 5
    pool = ClassPool(rivals, metric)
    for weights in ((1, 0, 0), (1, 1, 0), (3, 1, 7), (2, 2, 2)):
        masks = [
            Rule().mask(blended(maps, np.array(weights), truth.shape, Rule()), truth.shape) for maps, truth in images
        ]
        brute = [metric.counts(truth, mask) for (_, truth), mask in zip(images, masks, strict=True)]
        np.testing.assert_allclose(pool.counts(alike(weights, 1)), brute, rtol=0, atol=1e-12)
    found = blend(pool, np.arange(20) % 4, [f"g{i % 10}" for i in range(20)])
    assert found.chosen.score >= found.candidates[0].score


def test_rivals_of_other_levels_or_classes_are_refused():
    with pytest.raises(ValueError, match="levels are f32"):
        rivals_of(np.zeros((2, 3, 4, 4)), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"truth holds \[3\]; expected classes 0 to 2"):
        rivals_of(np.zeros((2, 3, 4, 4), np.float32), np.full((4, 4), 3, np.uint8))
