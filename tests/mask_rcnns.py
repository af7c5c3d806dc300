"""Small Mask R-CNNs for tests, and label images for them."""

import numpy as np
import torch

from kit.models.mask_rcnn import MaskRCNN
from kit.models.pretrained import encoder


def small(num_classes=2, in_channels=3, name="resnet18", **options):
    chosen = {"channels": 16, "hidden": 32, "rois": 32, "proposals": (100, 100)} | options
    torch.manual_seed(0)
    return MaskRCNN(encoder(name, "none", in_channels), num_classes=num_classes, in_channels=in_channels, **chosen)


def confident(net):
    """Weights that find many objects: without them, untrained, nothing scores above another."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "class" in name or "cls" in name or "bbox" in name or "shifts" in name or "objectness" in name:
                value.mul_(8)
    return net


def drawn(*shapes, size=(64, 96)):
    """Label images of boxes (image, label, y0, x0, y1, x1), and the class of each pixel: even labels 2, odd ones 1."""
    labels = torch.zeros(1 + max(shape[0] for shape in shapes), *size, dtype=torch.int64)
    for image, label, y0, x0, y1, x1 in shapes:
        labels[image, y0:y1, x0:x1] = label
    return labels, torch.where(labels > 0, 2 - labels % 2, 0)


LABELS, CLASSES = drawn((0, 2, 3, 5, 30, 40), (0, 9, 30, 20, 60, 96), (1, 700, 40, 0, 64, 50), (1, 3, 10, 60, 11, 61))


def grid(count, size):
    """A label image of `count` discs in a square lattice."""
    cells = int(np.ceil(np.sqrt(count)))
    rows, columns = np.mgrid[: size[0], : size[1]]
    high, wide = size[0] / cells, size[1] / cells
    inside = ((rows % high) - high / 2) ** 2 + ((columns % wide) - wide / 2) ** 2 <= (min(high, wide, 24) / 2.5) ** 2
    number = (rows // high).astype(int) * cells + (columns // wide).astype(int) + 1
    return torch.from_numpy(np.where(inside & (number <= count), number, 0))[None]
