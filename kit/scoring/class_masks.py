"""The two masks of each class, of masks of any task: for scores that look at borders and so need pixels."""

from collections.abc import Iterator

import numpy as np


def class_masks(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, *, first: int = 0, ignore_index: int = 255
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each class from `first` to num_classes - 1 with its true and its predicted mask, bool (H, W).

    truth, prediction: of one shape. u8 (H, W) of classes: a pixel with ignored truth is in no mask. bool (H, W, K) of
    classes that overlap: K is num_classes and all of them are yielded. Label images int32 (H, W): class 1 is any
    object. Raises ValueError on other dtypes or shapes, and on classes that are not below num_classes.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.dtype != prediction.dtype:
        found = f"{truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        raise ValueError(f"truth and prediction have one shape and dtype, got {found}")
    if truth.dtype == np.bool_ and truth.ndim == 3 and truth.shape[2] == num_classes:
        yield from ((k, truth[..., k], prediction[..., k]) for k in range(num_classes))
    elif truth.dtype == np.int32 and truth.ndim == 2 and num_classes == 2:
        yield from ((k, (truth > 0) == k, (prediction > 0) == k) for k in range(first, 2))
    elif truth.dtype == np.uint8 and truth.ndim == 2:
        scored = truth != ignore_index
        for labels, what in ((truth[scored], "truth"), (prediction[scored], "prediction")):
            if labels.size and labels.max() >= num_classes:
                raise ValueError(f"{what} holds class {labels.max()}, expected 0 to {num_classes - 1}")
        yield from ((k, truth == k, (prediction == k) & scored) for k in range(first, num_classes))
    else:
        raise ValueError(
            f"masks are u8 (H, W) of classes, bool (H, W, {num_classes}) of overlapping classes, or int32 (H, W) of "
            f"objects with two classes; got {truth.dtype} {truth.shape} and {num_classes} classes"
        )


def mean_counts(scores: np.ndarray) -> np.ndarray:
    """The counts of a mean over images and classes: the sum of `scores` (K,), of which NaN counts as 1, and K."""
    return np.array([np.where(np.isnan(scores), 1.0, scores).sum(), float(len(scores))])
