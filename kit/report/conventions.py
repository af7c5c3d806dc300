"""The sentences of the report that say what its numbers mean."""

import numpy as np

from kit.report.results import Results
from kit.scoring.confusion import iou
from kit.scoring.intervals import ESTIMAND

VIEWS = {  # of kit.prediction, by name
    "hflip": "the mean of the predictions of the image and of its mirror image",
    "flips": "the mean of the predictions of the image and of its three mirror images",
    "d4": "the mean of the predictions of the image in its eight turned and mirrored positions",
}


def conventions(results: Results) -> list[str]:
    """Return one sentence or two for each convention, in the order in which the page shows them."""
    size = results.size
    saw = "each image at that size" if size is None else f"images of {size[0]} × {size[1]} (height × width)"
    views = VIEWS.get(results.tta.partition(" ")[0])
    meant = f" ({views})" if views else ""
    return [
        f"Scored at each image's own size. The network saw {saw}. Test-time augmentation: {results.tta}{meant}.",
        _classes(results),
        "Ignored pixels (255 in the truth) are in neither intersection nor union.",
        "Over the data set: from the summed confusion matrix, so every pixel weighs the same. "
        "Mean over images: every image weighs the same.",
        _intervals(results),
        *_lonely_classes(results),
        *results.notes,
    ]


def _classes(results: Results) -> str:
    matrices = results.matrices
    num_classes = matrices.shape[-1]
    empty = int((matrices[:, 1:].sum(axis=(1, 2)) == 0).sum())
    absent = [results.classes[k] for k in np.flatnonzero(np.isnan(iou(matrices.sum(axis=0))))]
    of_what = "those of the foreground" if num_classes == 2 else f"means over the {num_classes} classes"
    fixed = " An interval keeps this set of classes, and the mean of a fold is over the classes in that fold."
    return (
        f"IoU and Dice are {of_what}. An empty mask predicted empty scores 1; {empty} of {len(matrices)} images have "
        "an empty mask. A class absent from truth and prediction is left out of means over classes; over the whole set "
        f"that is {', '.join(absent) or 'none'}." + (fixed if num_classes > 2 else "")
    )


def _intervals(results: Results) -> str:
    groups = results.images["group"].nunique()
    if groups < 3:
        count = "one group" if groups == 1 else "two groups"
        return f"No intervals: {count} only, and an interval needs three. Images of one group are alike."
    units = "images, each a group of its own" if groups == len(results.images) else "groups"
    return (
        f"Intervals: 95 %, cluster jackknife over {groups} {units}, with a t distribution. They are about {ESTIMAND}; "
        "the chance of another training run is not in them. Degrees of freedom (df) say on how many groups an interval "
        "rests in effect, less one: where a few groups decide the score, they are few and the interval is wide."
    )


def _lonely_classes(results: Results) -> list[str]:
    """For means over classes: classes of one group alone, whose spread over groups no interval can show."""
    matrices, groups = results.matrices, results.images["group"].to_numpy()
    if matrices.shape[-1] == 2 or len(set(groups)) < 3:
        return []
    present = matrices.sum(axis=1) + matrices.sum(axis=2) > 0  # (n, K), in truth or prediction
    lonely = [name for name, images in zip(results.classes, present.T, strict=True) if len(set(groups[images])) == 1]
    if not lonely:
        return []
    return [
        f"In one group only: {', '.join(lonely)}. Without this group the class keeps its score of the whole set, so "
        "the interval of a mean over classes does not show how it varies."
    ]
