"""A network that finds objects and needs no training: the bright components of an image, a box and a soft mask each."""

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kit.models.mask_rcnn import Detections


class FindBright(nn.Module):
    """In training logits (N, 1, H, W), how bright a pixel is; in eval mode a Detections for each image.

    An object's box is that of a component of pixels with a probability above .5, its score their mean probability.
    """

    def __init__(self, slope=4.0):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.layer.weight[:] = slope / 3
            self.layer.bias[:] = 0

    def forward(self, images):
        logits = self.layer(images)
        return logits if self.training else [self._find(one[0]) for one in logits.float().sigmoid()]

    def _find(self, probs):
        count, labels = cv2.connectedComponents((probs > 0.5).byte().cpu().numpy(), connectivity=4)
        boxes, scores, masks = [], [], []
        for label in range(1, count):
            rows, columns = np.nonzero(labels == label)
            y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
            own = torch.from_numpy(labels == label)
            boxes.append([x0, y0, x1, y1])
            scores.append(probs[own].mean())
            part = (probs * own)[y0:y1, x0:x1]
            masks.append(F.interpolate(part[None, None], (28, 28), mode="bilinear")[0, 0])
        if not boxes:
            return Detections(
                probs.new_zeros(0, 4), probs.new_zeros(0), torch.zeros(0).long(), probs.new_zeros(0, 28, 28)
            )
        found = torch.tensor(np.array(boxes), dtype=torch.float32), torch.stack(scores), torch.stack(masks)
        return Detections(found[0], found[1], torch.ones(len(boxes)).long(), found[2])
