"""Objects of boxes and small masks drawn into a label image, against torchvision's paste."""

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from kit.bench.measure import Contest
from kit.models.mask_rcnn import Detections
from kit.prediction.drawing import draw

SIZE = (1024, 1024)


def detections(count: int = 300) -> Detections:
    """Round objects of 20 to 200 pixels anywhere in an image of SIZE."""
    rng = np.random.default_rng(0)
    centres, sides = rng.uniform(0, SIZE[0], (count, 2)), rng.uniform(20, 200, (count, 2))
    y, x = np.mgrid[:28, :28] - 13.5
    mask = torch.from_numpy(1 / (1 + np.exp(np.hypot(y, x) - 13))).float()
    boxes = torch.from_numpy(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)).float()
    scores = torch.from_numpy(np.sort(rng.random(count))[::-1].copy()).float()
    return Detections(boxes, scores, torch.ones(count, dtype=torch.int64), mask.repeat(count, 1, 1))


def contest() -> Contest:
    """Each pixel's best-scoring object of 300. torchvision's boxes are a pixel larger, so outlines differ."""
    found = detections()

    def pasted() -> np.ndarray:
        masks = paste_masks_in_image(found.masks[:, None], found.boxes, SIZE)[:, 0] >= 0.5
        return torch.where(masks.any(dim=0), masks.to(torch.uint8).argmax(dim=0) + 1, 0).numpy()

    def own() -> np.ndarray:
        drawn = draw(found, SIZE, box_iou=1.0, taken=1.0)
        return np.concatenate([[0], drawn.kept + 1])[drawn.labels]

    return Contest(
        f"300 masks of 28×28 into a label image of {SIZE[0]}×{SIZE[1]}",
        own,
        {"torchvision's paste, argmax": pasted},
        {"torchvision's paste, argmax": 60},
        lambda one, other: bool(np.mean(one != other) < 0.02),
    )
