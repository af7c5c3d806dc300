"""The sentences of the report that say what its numbers mean."""

import numpy as np

from kit.report.results import Results
from kit.scoring.intervals import ESTIMAND


def conventions(results: Results) -> list[str]:
    """Return one sentence or two for each convention, in the order in which the page shows them."""
    size = results.size
    saw = "each image at that size" if size is None else f"images of {size[0]} × {size[1]} (height × width)"
    return [
        f"Scored at each image's own size. The network saw {saw}. Test-time augmentation: {results.tta}.",
        _classes(results),
        *_rule(results),
        *(["Ignored pixels (255 in the truth) are in neither intersection nor union."] if _has_255(results) else []),
        "Over the data set: from the summed confusion matrix, so every pixel weighs the same. "
        "Mean over images: every image weighs the same.",
        _intervals(results),
        *_lonely_classes(results),
        *results.notes,
    ]


def _classes(results: Results) -> str:
    matrices, count = results.matrices, len(results.classes)
    truths = matrices[:, :, 1] if results.overlaps else matrices[:, 1:]
    empty = int((truths.sum(axis=(1, 2)) == 0).sum())
    absent = [results.classes[k] for k in np.flatnonzero(np.isnan(results.of_classes.iou(matrices.sum(axis=0))))]
    of_what = f"means over the {count} classes" if results.averaged else "those of the foreground"
    if results.overlaps:
        of_what = f"means over the {count} classes, which may overlap" if count > 1 else "those of the one class"
    fixed = " An interval keeps this set of classes, and the mean of a fold is over the classes in that fold."
    return (
        f"IoU and Dice are {of_what}. An empty mask predicted empty scores 1; {empty} of {len(matrices)} images have "
        "an empty mask. A class absent from truth and prediction is left out of means over classes; over the whole set "
        f"that is {', '.join(absent) or 'none'}." + (fixed if results.averaged else "")
    )


def _has_255(results: Results) -> bool:
    """Whether masks may hold ignored pixels."""
    return results.task in {"binary", "multiclass"}


def _rule(results: Results) -> list[str]:
    """What makes masks of predictions, where it is not the usual threshold alone."""
    rule, sentences = results.rule, []
    if rule.separate:
        each = ", ".join(f"{name} {cut:g}" for name, cut in zip(results.classes, rule.threshold, strict=True))
        sentences.append(f"A class is predicted where its probability reaches its threshold: {each}.")
    elif rule.threshold != 0.5:
        sentences.append(f"The foreground is predicted where its probability reaches {rule.threshold:g}.")
    if rule.objects:
        sentences.append(
            "Objects are the connected components of the predicted foreground, so objects that touch are one. Dice and "
            "IoU compare foreground with foreground, pixel by pixel."
        )
    if rule.min_area > 1:
        sentences.append(
            f"Predicted components of fewer than {rule.min_area} pixels are left out; the curves over thresholds hold "
            "them."
        )
    return [" ".join(sentences)] if sentences else []


def _intervals(results: Results) -> str:
    groups = results.images["group"].nunique()
    if groups < 3:
        count = "one group" if groups == 1 else "two groups"
        return f"No intervals: {count} only, and an interval needs three. Images of one group are alike."
    units = "images, each a group of its own" if groups == len(results.images) else "groups"
    return (
        f"Intervals: 95 %, cluster jackknife over {groups} {units}, with a t distribution. They are about {ESTIMAND}; "
        "the chance of another training run is not in them."
    )


def _lonely_classes(results: Results) -> list[str]:
    """For means over classes: classes of one group alone, whose spread over groups no interval can show."""
    matrices, groups = results.matrices, results.images["group"].to_numpy()
    if not results.averaged or len(set(groups)) < 3:
        return []
    present = (
        matrices.sum(axis=1) + matrices.sum(axis=2) > 0
        if not results.overlaps
        # (n, K), in either
        else (matrices[:, :, 1].sum(axis=2) + matrices[:, :, 0, 1] > 0)
    )
    lonely = [name for name, images in zip(results.classes, present.T, strict=True) if len(set(groups[images])) == 1]
    if not lonely:
        return []
    return [
        f"In one group only: {', '.join(lonely)}. Without this group the class keeps its score of the whole set, so "
        "the interval of a mean over classes does not show how it varies."
    ]
