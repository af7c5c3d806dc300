"""One panoptic image of objects and a map of classes: every pixel has a class, and things are counted one by one.

    merged = merge(*draw_things(detections, size), semantic, stuff=range(12, 27))
    alone = by_components(semantic, things=range(12), stuff=range(12, 27))     without a network that finds objects

Paper: Kirillov, He, Girshick, Rother, Dollár 2018, "Panoptic Segmentation", section 4. Things come first, by falling
score: those below .5 are left out, and those of which better ones have more than half; a thing keeps the pixels that
are not taken yet: kit.prediction.drawing does that. Then stuff fills what is left, and a class of stuff with few pixels
there is left out. The rest is void.

by_components is what any semantic network reaches, and so the score to beat: each connected component of a class of
things is a thing. Things of a class that touch are one then, also where every pixel is right.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kit.prediction.drawing import draw
from kit.system.objects import components
from kit.system.segments import Segments

if TYPE_CHECKING:
    from kit.models.mask_rcnn import Detections

STUFF_AREA = 64 * 64  # pixels, of the authors' code
THING_AREA = 2500  # pixels, of components: the smaller ones of a network's map are mostly noise


def draw_things(
    detections: "Detections", size: tuple[int, int], least_score: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The things of a network in an image of `size` (H, W): their label image int32 (H, W), and the class of each.

    detections: their classes from 1 are the classes from 0 here, so that things come before stuff. Boxes are not
    compared again: the network did that.
    """
    drawn = draw(detections, size, least_score=least_score, box_iou=1.0)
    return drawn.labels, np.asarray(detections.classes.cpu())[drawn.kept] - 1


def merge(
    objects: np.ndarray,
    classes: Sequence[int],
    semantic: np.ndarray,
    stuff: Collection[int],
    stuff_area: int = STUFF_AREA,
) -> Segments:
    """Objects first, then stuff where no object is: Segments with the labels 1, 2, …, int32 (H, W), 0 = void.

    objects: a label image int32 (H, W), 0 = none, and 1 … n. classes: (n,) of each object. semantic: (H, W) the class
    of each pixel, of the same numbers; where it says a thing and no object is, the pixel is void. stuff: the classes of
    stuff. stuff_area: a class with fewer pixels left is left out.
    Raises ValueError where the shapes differ, and where there is an object without a class.
    """
    classes = np.asarray(classes, np.int64).reshape(-1)
    if objects.shape != semantic.shape:
        raise ValueError(f"objects {objects.shape} and the map of classes {semantic.shape} differ in size")
    if objects.size and int(objects.max()) > len(classes):
        raise ValueError(f"there is an object {objects.max()}, and classes of {len(classes)} objects")
    labels, added = np.array(objects, np.int32), []
    free = labels == 0
    for k in sorted(stuff):
        own = free & (semantic == k)
        if (pixels := np.count_nonzero(own)) and pixels >= stuff_area:
            added.append(k)
            labels[own] = len(classes) + len(added)
    return Segments.numbered(labels, [*classes.tolist(), *added])


def by_components(
    semantic: np.ndarray,
    things: Collection[int],
    stuff: Collection[int],
    thing_area: int = THING_AREA,
    stuff_area: int = STUFF_AREA,
) -> Segments:
    """A map of classes (H, W) alone: each connected component of a class of things is a thing.

    thing_area: components of fewer pixels are void. Pixels that touch at a corner are connected.
    """
    objects, classes = np.zeros(semantic.shape, np.int32), []
    for k in sorted(things):
        found = components(semantic == k, thing_area)
        objects += np.where(found > 0, found + np.int32(len(classes)), 0)
        classes += [k] * int(found.max(initial=0))
    return merge(objects, classes, semantic, stuff, stuff_area)
