"""The sentences of the report that say what its numbers mean."""

from collections.abc import Sequence

import numpy as np

from kit.prediction.rule import FIRST, Rule
from kit.report.results import Results
from kit.scoring.intervals import ESTIMAND

VIEWS = {  # of kit.prediction, by name
    "hflip": "the mean of the predictions of the image and of its mirror image",
    "flips": "the mean of the predictions of the image and of its three mirror images",
    "d4": "the mean of the predictions of the image in its eight turned and mirrored positions",
}
JOINED = {  # where networks find objects one by one
    "hflip": "the objects found in the image and in its mirror image, joined",
    "flips": "the objects found in the image and in its three mirror images, joined",
    "d4": "the objects found in the image in its eight turned and mirrored positions, joined",
}


def conventions(results: Results) -> list[str]:
    """Return one sentence or two for each convention, in the order in which the page shows them."""
    size = results.size
    saw = "each image at that size" if size is None else f"images of {size[0]} × {size[1]} (height × width)"
    views = (JOINED if results.rule.detected else VIEWS).get(results.tta.partition(" ")[0])
    meant = f" ({views})" if views else ""
    return [
        f"Scored at each image's own size. The network saw {saw}. Test-time augmentation: {results.tta}{meant}.",
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
    sentences = rule_sentences(results.rule, results.classes)
    if results.rule.detected:
        if results.rule.has_components or results.rule.top_area:
            sentences.append("The curve over thresholds of scores is without what is left out by area.")
    elif not results.rule.by_pixel and (results.rule.has_components or results.rule.facts.keys() - FIRST):
        sentences.append("The curves over thresholds are without this.")
    return [" ".join(sentences)] if sentences else []


def rule_sentences(rule: Rule, classes: Sequence[str]) -> list[str]:
    """What a rule does, in words, where it is not the usual threshold alone. classes: of the data set."""
    sentences = []
    if rule.separate:
        each = ", ".join(f"{name} {cut:g}" for name, cut in zip(classes, rule.threshold, strict=True))
        sentences.append(f"A class is predicted where its probability reaches its threshold: {each}.")
    elif rule.detected:
        sentences.append(
            f"The network finds objects one by one; those with a score of {rule.threshold:g} or more are kept, and a "
            "pixel is of the best-scoring one. Dice and IoU compare foreground with foreground, pixel by pixel."
        )
    elif rule.threshold != 0.5:
        sentences.append(f"The foreground is predicted where its probability reaches {rule.threshold:g}.")
    if rule.border and rule.seed is not None:
        least = f" of {rule.seed_area} pixels or more" if rule.seed_area > 1 else ""
        sentences.append(
            "Objects grow over the foreground by a watershed from seeds: the connected parts"
            f"{least} where the probability of object less that of border reaches {rule.seed:g}. A component without "
            "one is an object. Dice and IoU compare foreground with foreground, pixel by pixel."
        )
    elif rule.objects and not rule.detected:
        sentences.append(
            "Objects are the connected components of the predicted foreground, so objects that touch are one. Dice and "
            "IoU compare foreground with foreground, pixel by pixel."
        )
    if rule.top_area:
        of = "A class is" if len(classes) > 2 or rule.separate else "The foreground is"
        of, reach = ("All objects are", "have a score of") if rule.detected else (of, "reach")
        sentences.append(f"{of} left out of an image where fewer than {rule.top_area} pixels {reach} {rule.top:g}.")
    if rule.fill_holes > 1:
        sentences.append(f"Holes of fewer than {rule.fill_holes} pixels are filled.")
    if isinstance(rule.min_area, tuple):
        names = classes if rule.separate else classes[1:]
        each = ", ".join(f"{name} {area}" for name, area in zip(names, rule.min_area, strict=True))
        sentences.append(f"Predicted components of fewer pixels are left out, of {each}.")
    elif rule.min_area > 1:
        parts = "objects" if rule.detected or (rule.border and rule.seed is not None) else "components"
        sentences.append(f"Predicted {parts} of fewer than {rule.min_area} pixels are left out.")
    if rule.keep_largest:
        of = "object" if rule.detected else "component of each class"
        sentences.append(f"The largest {of} is kept alone.")
    return sentences


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
    if not results.averaged or len(set(groups)) < 3:
        return []
    if results.overlaps:
        present = matrices[:, :, 1].sum(axis=2) + matrices[:, :, 0, 1] > 0  # (n, K), in truth or prediction
    else:
        present = matrices.sum(axis=1) + matrices.sum(axis=2) > 0
    lonely = [name for name, images in zip(results.classes, present.T, strict=True) if len(set(groups[images])) == 1]
    if not lonely:
        return []
    return [
        f"In one group only: {', '.join(lonely)}. Without this group the class keeps its score of the whole set, so "
        "the interval of a mean over classes does not show how it varies."
    ]
