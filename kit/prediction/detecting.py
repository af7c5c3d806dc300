"""Networks that find objects themselves: from images to levels of objects, over views and scales.

    found = detections(network, images, tta)            Detections by view, for each image
    levels = drawn_levels([found_by_one, found_by_another], content, size)

Boxes and masks of a mirrored or turned view are brought back, moved to the image's own pixels and drawn there, so an
image that the network saw smaller keeps the outlines of its soft masks. Views of a network are joined first, then the
networks: as when the levels of each network were kept and are joined later.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from kit.prediction.drawing import draw, without_specks
from kit.prediction.object_levels import joined, object_levels
from kit.prediction.views import TTA, View, resize_maps

if TYPE_CHECKING:
    from kit.models.mask_rcnn import Detections

FIELDS = ("boxes", "scores", "classes", "masks")  # of Detections
LEAST = 1 / 256  # of a score: the lowest step


@torch.inference_mode()
def detections(network: nn.Module, images: Tensor, tta: TTA) -> list[list["Detections"]]:
    """What the network finds in each of N normalised images (N, C, H, W), a Detections a view and scale.

    Boxes are in pixels of `images`, masks as the image is seen without a view.
    Raises TypeError where the network does not give a Detections for each image.
    """
    size, found = images.shape[2:], [[] for _ in images]
    for scale in tta.scales:
        scaled = images if scale == 1 else resize_maps(images, [max(1, round(side * scale)) for side in size])
        factors = [side / own for side, own in zip(size, scaled.shape[2:], strict=True)]
        for view in tta.views:
            parts = network(view.apply(scaled))
            if not is_detections(parts, len(images)):
                raise TypeError(
                    f"in eval mode the network gives {type(parts).__name__}, expected a list with a Detections "
                    "(kit.models.mask_rcnn) for each image, because the rule is Rule(objects=True, detected=True)"
                )
            for own, part in zip(found, parts, strict=True):
                own.append(_moved(_undone(part, view, scaled.shape[2:]), (0.0, 0.0), factors))
    return found


def is_detections(found: object, count: int) -> bool:
    """Whether a network's output is a list with a Detections for each of `count` images."""
    is_list = isinstance(found, list | tuple) and len(found) == count
    return is_list and all(hasattr(one, name) for one in found for name in FIELDS)


def are_finite(found: Sequence["Detections"]) -> bool:
    """Whether all boxes, scores and masks are numbers. A network says by a NaN that it computed one; see Detections."""
    return all(bool(part.isfinite().all()) for one in found for part in (one.boxes, one.scores, one.masks))


def drawn_levels(
    found: Sequence[Sequence["Detections"]], content: tuple[slice, slice], size: tuple[int, int], each: bool = False
) -> np.ndarray:
    """Levels u8 (3, H, W) of an image at its own `size`, (H, W), of what networks found, each in several views.

    content: the rows and columns of the network's image that show the image; see Resizing.content. each: the levels of
    every network, one behind the other, u8 (3 R, H, W), in place of the joined ones.
    """
    levels = [joined([_drawn(view, content, size) for view in views]) for views in found]
    return np.concatenate(levels) if each else joined(levels)


def at_own_size(found: "Detections", content: tuple[slice, slice], size: tuple[int, int]) -> "Detections":
    """The same with boxes in pixels of the image at its own `size`, (H, W). content: as of drawn_levels."""
    starts = [float(part.start) for part in content]
    factors = [side / (part.stop - part.start) for side, part in zip(size, content, strict=True)]
    return _moved(found, starts, factors)


def _drawn(found: "Detections", content: tuple[slice, slice], size: tuple[int, int]) -> np.ndarray:
    drawn = draw(at_own_size(found, content, size), size, least_score=LEAST)
    return object_levels(without_specks(drawn.labels), found.scores.float().cpu().numpy()[drawn.kept])


def _moved(found: "Detections", starts: Sequence[float], factors: Sequence[float]) -> "Detections":
    """Boxes in the pixels of an image that begins at `starts` (y, x) and is `factors` (y, x) times as large."""
    if list(starts) == [0, 0] and list(factors) == [1, 1]:
        return found
    start, factor = (found.boxes.new_tensor([x, y, x, y]) for y, x in (starts, factors))
    return found._replace(boxes=(found.boxes - start) * factor)


def _undone(found: "Detections", view: View, size: Sequence[int]) -> "Detections":
    """The same as of an image of `size` that was not seen by this view."""
    (x0, y0, x1, y1), masks = found.boxes.float().unbind(1), found.masks
    height, width = reversed(size) if view.transpose else size  # as the view shows it
    if view.vertical:
        y0, y1, masks = height - y1, height - y0, masks.flip(1)
    if view.horizontal:
        x0, x1, masks = width - x1, width - x0, masks.flip(2)
    if view.transpose:
        x0, y0, x1, y1, masks = y0, x0, y1, x1, masks.transpose(1, 2)
    return found._replace(boxes=torch.stack([x0, y0, x1, y1], dim=1), masks=masks)
