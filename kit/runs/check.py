"""Checks of the network and of the competition against the data set, before the first step of training."""

import contextlib
import functools

import numpy as np
import torch
from torch import Tensor, nn

from kit.data.check import sample_ids
from kit.data.check_slides import slide_part
from kit.data.regions import has_regions
from kit.data.sample_checks import check_image, name_error
from kit.data.tasks import Task
from kit.prediction.detecting import is_detections
from kit.prediction.rule import channels_of
from kit.runs.run import Run
from kit.scoring.metrics import Metric, check_counts
from kit.submission.competition import Competition
from kit.system.files import counted, list_some

ANY_SIZE = (64, 64)  # of an image for networks without a size of their own


def check_network(run: Run, model: nn.Module) -> None:
    """Predict one black image. Raises ValueError where channels or classes are not those of the data set.

    With a rule of detected objects, where the network gives no Detections of one class.

    The network, its statistics and the random numbers stay as they are.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    size = run.frame.tile or run.frame.resizing.size or ANY_SIZE
    image = torch.zeros(1, len(run.dataset.channels), *size, device=device)
    model.eval()
    try:
        with torch.inference_mode(), _same_random_numbers(device):
            logits = model.forward(image)  # not model(image): that would compile a network after model.compile()
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"the network does not take an image of {counted(len(run.dataset.channels), 'channel')} "
            f"({', '.join(run.dataset.channels)}) and {size[0]}×{size[1]} pixels: {error}. "
            "Give it in_channels=len(dataset.channels), or another size of images"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    check = _check_detections if run.rule.detected else _check_logits
    check(run, logits, size)


def _same_random_numbers(device: torch.device) -> contextlib.AbstractContextManager:
    """Put the random numbers back in the end, of this device alone: fork_rng warns where there are several GPUs."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def check_metric(run: Run, metric: Metric | None) -> None:
    """Score a drawn mask that holds every class. Raises ValueError where the metric cannot count these classes."""
    if metric is None:
        return
    _check_parts(metric)
    count, what = run.dataset.num_classes, "a drawn mask of every class"
    classes = f"{_classes(count)} ({', '.join(run.dataset.classes)})"
    if getattr(metric, "num_classes", count) != count:
        raise ValueError(
            f"the metric {metric.name} is of {metric.num_classes} classes, the data set has {classes}: give it "
            f"num_classes={count}"
        )
    if has_regions(run.dataset) and not callable(getattr(metric, "counts_of_matrix", None)):
        raise ValueError(
            f"the metric {metric.name} has no counts_of_matrix(matrix), and slides are too large for whole masks: see "
            "kit/scoring/metrics.py"
        )
    mask, other, kind = _drawn_masks(run.task, count)
    try:
        check_counts(metric, [metric.counts(mask, other), metric.counts(mask, other)], [what, what])
    except Exception as error:  # whatever a metric of the user's own raises
        raise ValueError(
            f"the metric {metric.name} cannot score masks of {classes}: {error}. It must take truth and prediction "
            f"{kind}"
        ) from error


def _drawn_masks(task: Task, count: int) -> tuple[np.ndarray, np.ndarray, str]:
    """A truth and a prediction that hold every class, and in words what they are."""
    stripes = np.repeat(np.repeat(np.arange(max(2, count), dtype=np.uint8)[None], 8, axis=0), 8, axis=1)
    other = np.roll(stripes, 4, axis=1)
    if task.overlaps:
        masks = (np.stack([each >= k for k in range(count)], axis=2) for each in (stripes, other))
        return *masks, f"bool (H, W, {count})"
    if task.has_objects:
        return stripes.astype(np.int32) * 300, other.astype(np.int32), "int32 (H, W), a label an object"
    stripes[-1] = 255
    return stripes, other, f"u8 (H, W) of classes 0 to {count - 1}, and 255 in truth"


def check_tests(run: Run, competition: Competition) -> None:
    """Read a few test images. Raises ValueError listing their problems if none of them suits the network.

    All are read when they are predicted. What is wrong with every one of them is found here, before training; what is
    wrong with some is printed.
    """
    problems, dataset, ids = [], competition.dataset, sample_ids(competition.test_ids)
    if run.rule.detected and competition.dialect.size is not None:
        raise ValueError(
            f"the CSV has masks of {competition.dialect.size}, and a label image of objects is not resized: leave "
            "`size` out of the dialect, so that masks are written at the image's own size"
        )
    if has_regions(dataset) and competition.dialect.size is not None:
        raise ValueError(
            f"the CSV has masks of {competition.dialect.size}, and slides are written at their own size: leave `size` "
            "out of the dialect"
        )
    read = functools.partial(slide_part, dataset) if has_regions(dataset) else dataset.read_image
    for id in ids:
        try:
            check_image(id, read(id), run.dataset.channels, run.dataset.dtype)
        except Exception as error:  # whatever the data set's own code raises
            problems.append(name_error(id, error))
    if problems and len(problems) == len(ids):
        raise ValueError(f"none of the {len(ids)} test images that were tried can be predicted:{list_some(problems)}")
    if problems:
        run.world.say(f"{len(problems)} of {len(ids)} test images tried cannot be predicted:{list_some(problems)}")


def _check_parts(metric: object) -> None:
    """Raise ValueError unless the object has all parts of a metric."""
    if isinstance(metric, type):
        raise ValueError(f"the metric is the class {metric.__name__}, expected an object of it: {metric.__name__}()")
    found = {name: getattr(metric, name, None) for name in ("name", "ratio", "counts", "score")}
    parts = {"name": isinstance(found["name"], str), "ratio": isinstance(found["ratio"], bool)}
    parts |= {name: callable(found[name]) for name in ("counts", "score")}
    if missing := [name for name, is_there in parts.items() if not is_there]:
        raise ValueError(
            f"the metric {metric!r:.80} has no {', '.join(missing)}. A metric is a small class with name (text), ratio "
            "(True or False), counts(truth, prediction) and score(sums): see kit/scoring/metrics.py"
        )


def _check_detections(run: Run, found: object, size: tuple[int, int]) -> None:
    if not is_detections(found, 1):
        raise ValueError(
            f"in eval mode the network returns {_named(found)}, expected a list with a Detections "
            "(kit.models.mask_rcnn) for each image, because the rule is Rule(objects=True, detected=True)"
        )
    [one] = found
    count = len(one.scores)
    if tuple(one.boxes.shape) != (count, 4) or one.masks.ndim != 3 or len(one.masks) != count:
        raise ValueError(
            f"the network gives boxes {tuple(one.boxes.shape)}, scores {tuple(one.scores.shape)} and masks "
            f"{tuple(one.masks.shape)}: expected (D, 4), (D,) and (D, M, M)"
        )
    if count and not bool((one.classes == 1).all()):
        raise ValueError(
            f"the network gives objects of the classes {sorted(set(one.classes.tolist()))}, the data set has one class "
            f"of objects, {run.dataset.classes[1]}: give it num_classes=1"
        )


def _named(found: object) -> str:
    return f"{tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def _check_logits(run: Run, logits: object, size: tuple[int, int]) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 4 or tuple(logits.shape[2:]) != tuple(size):
        advice = ""
        if is_detections(logits, 1):
            advice = (
                ". It finds objects: give open_run rule=Rule(objects=True, detected=True), and a data set of objects"
            )
        raise ValueError(
            f"in eval mode the network returns {_named(logits)}, expected logits (N, K, {size[0]}, {size[1]}){advice}"
        )
    task, border = run.task, run.rule.border
    right = (channels_of(task, run.rule),) if border else task.logits
    if logits.shape[1] not in right:
        overlapping = " that may overlap, a logit each" if task.overlaps else ", and the rule borders" if border else ""
        raise ValueError(
            f"the network gives logits of {counted(logits.shape[1], 'channel')}, the data set has "
            f"{_classes(len(task.classes))} ({', '.join(task.classes)}){overlapping}: expected "
            f"{' or '.join(map(str, right))}. Give it num_classes={max(right)}"
            + (" (1 with a loss for one foreground)" if right == (1, 2) else "")
        )


def _classes(count: int) -> str:
    return f"{count} class{'es' * (count != 1)}"
