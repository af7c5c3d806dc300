"""The confusion matrix, and IoU, Dice and accuracy from it.

Conventions, which every report repeats:
- matrix[t, p] counts the pixels of truth t predicted as p. A pixel with ignored truth is in no count.
- A class in neither truth nor prediction has no score: NaN in an array over classes, left out of a mean.
- One image's foreground, empty in truth and in prediction, scores IoU = Dice = 1.
- Parts of a data set (one group left out) are compared over one set of classes, that of the whole data: `whole`.

pixel_accuracy, mean_accuracy, mean_iou and frequency_weighted_iou are the four metrics of Long, Shelhamer and
Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5, with n_ij = matrix[i, j].
Functions of a matrix take any leading dimensions, so (N, K, K) scores N matrices at once. A matrix without a counted
pixel scores NaN.
"""

import numpy as np

from kit.system.kernels import kernel


def confusion_matrix(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count the pixels of each truth (rows) and prediction (columns): int64 (K, K).

    truth, prediction: integers or bools of one shape, any. Pixels whose truth is `ignore_index` are left out.
    Raises ValueError on shapes that differ, on truth outside 0 … K-1 that is not `ignore_index`, and on a
    prediction outside 0 … K-1 where truth is not ignored.
    """
    truth, prediction = _integers(truth, "truth"), _integers(prediction, "prediction")
    if truth.shape != prediction.shape:
        raise ValueError(f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}")
    if num_classes < 1:
        raise ValueError(f"num_classes is 1 or more, got {num_classes}")
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8 or num_classes > 256:
        return _confusion_of_any_integers(truth, prediction, num_classes, ignore_index)
    pairs = _count_pairs(truth, prediction)
    if 0 <= ignore_index <= 255:
        pairs[ignore_index] = 0
    _check_labels(np.flatnonzero(pairs[num_classes:].any(axis=1)) + num_classes, "truth", num_classes, ignore_index)
    _check_labels(np.flatnonzero(pairs[:, num_classes:].any(axis=0)) + num_classes, "prediction", num_classes)
    return pairs[:num_classes, :num_classes].copy()


def binary_scores(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """Return IoU and Dice of the ones of two masks, in one pass over them. Two empty masks score 1 and 1.

    truth, prediction: bool or uint8 of 0 and 1, of one shape. Raises ValueError on others. For masks with ignored
    pixels, use confusion_matrix and foreground_scores.
    """
    truth, prediction = _integers(truth, "truth"), _integers(prediction, "prediction")
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8 or truth.shape != prediction.shape:
        raise ValueError(
            "truth and prediction are masks of one shape, bool or uint8; "
            f"got {truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        )
    truth, prediction = np.ascontiguousarray(truth).reshape(-1), np.ascontiguousarray(prediction).reshape(-1)
    whole = truth.size // 8 * 8
    words = truth[:whole].view(np.uint64), prediction[:whole].view(np.uint64)
    hits, true, predicted, alien = _count_ones(*words, truth[whole:], prediction[whole:])
    if alien:
        _check_labels(np.setdiff1d(truth, (0, 1)), "truth", 2)
        _check_labels(np.setdiff1d(prediction, (0, 1)), "prediction", 2)
    if true + predicted == 0:
        return 1.0, 1.0
    return hits / (true + predicted - hits), 2 * hits / (true + predicted)


def level_histogram(truth: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Count the pixels of each truth (rows) and quantised probability (columns): int64 (2, 256).

    truth: uint8 of 0 and 1, 255 is ignored. levels: uint8 of the same shape. The result gives the matrix at every
    threshold without the pixels: the columns from the threshold on are predicted foreground.
    Raises ValueError on other dtypes, shapes that differ and other values in truth.
    """
    truth, levels = np.asarray(truth), np.asarray(levels)
    if truth.dtype != np.uint8 or levels.dtype != np.uint8 or truth.shape != levels.shape:
        raise ValueError(
            "truth and levels are uint8 of one shape, "
            f"got {truth.dtype} {truth.shape} and {levels.dtype} {levels.shape}"
        )
    pairs = _count_pairs(truth, levels)
    _check_labels(np.flatnonzero(pairs[2:255].any(axis=1)) + 2, "truth", 2, 255)
    return pairs[:2].copy()


def iou(matrix: np.ndarray) -> np.ndarray:
    """Return intersection over union of each class: float64 (..., K)."""
    hits, truth, prediction = _sums(matrix)
    return _ratio(hits, truth + prediction - hits)


def dice(matrix: np.ndarray) -> np.ndarray:
    """Return 2 * intersection / (truth + prediction) of each class, the F1 score: float64 (..., K)."""
    hits, truth, prediction = _sums(matrix)
    return _ratio(2 * hits, truth + prediction)


def mean_iou(matrix: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """Return the mean IoU over the classes that are in truth or prediction: float64 (...).

    whole: (K, K), the matrix of the whole data of which `matrix` is a part. The mean is then over the classes of the
    whole. A class that is absent from the part keeps the IoU that it has in the whole.
    """
    return mean_known(iou(matrix), None if whole is None else iou(whole))


def mean_dice(matrix: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """Return the mean Dice over the classes that are in truth or prediction: float64 (...). whole: as in mean_iou."""
    return mean_known(dice(matrix), None if whole is None else dice(whole))


def pixel_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the share of pixels predicted right: float64 (...)."""
    hits, truth, _ = _sums(matrix)
    return _ratio(hits.sum(axis=-1), truth.sum(axis=-1))


def mean_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the mean over the classes in truth of the share of their pixels predicted right: float64 (...)."""
    hits, truth, _ = _sums(matrix)
    return mean_known(_ratio(hits, truth))


def frequency_weighted_iou(matrix: np.ndarray) -> np.ndarray:
    """Return the mean IoU weighted by how many pixels of truth each class has: float64 (...)."""
    hits, truth, prediction = _sums(matrix)
    weighted = truth * _ratio(hits, truth + prediction - hits, empty=0.0)
    return _ratio(weighted.sum(axis=-1), truth.sum(axis=-1))


def foreground_scores(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return IoU and Dice of class 1, and pixel accuracy, of an image's matrix (..., 2, 2): float64 (...) each.

    An empty truth predicted empty scores 1, also where every pixel is ignored. The result is never NaN.
    """
    hits, truth, prediction = _sums(matrix)
    if hits.shape[-1] != 2:
        raise ValueError(f"foreground_scores takes a matrix (..., 2, 2), got {np.shape(matrix)}")
    overlap, total = hits[..., 1], truth[..., 1] + prediction[..., 1]
    return (
        _ratio(overlap, total - overlap, empty=1.0),
        _ratio(2 * overlap, total, empty=1.0),
        _ratio(hits.sum(axis=-1), truth.sum(axis=-1), empty=1.0),
    )


def _integers(labels: np.ndarray, what: str) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype == np.bool_:
        return labels.view(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{what} holds class numbers, got {labels.dtype}: take the argmax or a threshold first")
    return labels


def _check_labels(wrong: np.ndarray, what: str, num_classes: int, ignore_index: int | None = None) -> None:
    if len(wrong):
        shown = ", ".join(map(str, wrong[:20])) + (f" and {len(wrong) - 20} more" if len(wrong) > 20 else "")
        ignored = "" if ignore_index is None else f", and {ignore_index} to ignore"
        raise ValueError(f"{what} holds {shown}; expected classes 0 to {num_classes - 1}{ignored}")


def _confusion_of_any_integers(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int
) -> np.ndarray:
    counted = truth != ignore_index
    truth, prediction = truth[counted], prediction[counted]
    _check_labels(np.unique(truth[(truth < 0) | (truth >= num_classes)]), "truth", num_classes, ignore_index)
    _check_labels(np.unique(prediction[(prediction < 0) | (prediction >= num_classes)]), "prediction", num_classes)
    pairs = truth.astype(np.int64) * num_classes + prediction.astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _count_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Count each pair of bytes in two uint8 arrays of one shape: int64 (256, 256)."""
    first, second = np.ascontiguousarray(first).reshape(-1), np.ascontiguousarray(second).reshape(-1)
    whole = first.size // 8 * 8
    pairs = np.zeros((256, 256), np.int64)
    _add_pairs(first, second, first[:whole].view(np.uint64), second[:whole].view(np.uint64), pairs)
    return pairs


@kernel
def _add_pairs(first, second, first_words, second_words, pairs):
    """Add the counts of the pairs to `pairs`.

    first_words, second_words: the same bytes, eight at a time. Eight equal neighbours in both arrays are one addition,
    because most of a mask is uniform. Other neighbours go to two tables in turn, because a count that has just been
    written is slow to read again.
    """
    repeat = np.uint64(0x0101010101010101)
    odd = np.zeros_like(pairs)
    for word in range(first_words.size):
        begin = word * 8
        a, b = first[begin], second[begin]
        if first_words[word] == a * repeat and second_words[word] == b * repeat:
            pairs[a, b] += 8
        else:
            for i in range(begin, begin + 8, 2):
                pairs[first[i], second[i]] += 1
                odd[first[i + 1], second[i + 1]] += 1
    for i in range(first_words.size * 8, first.size):
        pairs[first[i], second[i]] += 1
    pairs += odd


@kernel
def _count_ones(truth, prediction, truth_rest, prediction_rest):
    """Count the ones in both masks, in truth and in prediction: eight bytes at a time, then the rest.

    Returns hits, ones of truth, ones of prediction, and whether any byte is above 1. A byte of a sum of words holds
    255 at most, so no more than 255 words are added before their bytes are.
    """
    hits = true = predicted = np.int64(0)
    alien = np.uint64(0)
    for begin in range(0, truth.size, 248):
        both = ones = twos = np.uint64(0)
        some_truth, some_prediction = truth[begin : begin + 248], prediction[begin : begin + 248]
        for i in range(some_truth.size):
            both += some_truth[i] & some_prediction[i]
            ones += some_truth[i]
            twos += some_prediction[i]
            alien |= some_truth[i] | some_prediction[i]
        for shift in range(0, 64, 8):
            hits += np.int64((both >> np.uint64(shift)) & np.uint64(255))
            true += np.int64((ones >> np.uint64(shift)) & np.uint64(255))
            predicted += np.int64((twos >> np.uint64(shift)) & np.uint64(255))
    odd = np.uint8(0)
    for i in range(truth_rest.size):
        hits += truth_rest[i] & prediction_rest[i]
        true += truth_rest[i]
        predicted += prediction_rest[i]
        odd |= truth_rest[i] | prediction_rest[i]
    return hits, true, predicted, (alien & np.uint64(0xFEFEFEFEFEFEFEFE)) != 0 or odd > 1


def _sums(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the diagonal, the sums of rows (truth) and of columns (prediction), (..., K) each."""
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a confusion matrix is (..., K, K), got {matrix.shape}")
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Divide, with `empty` where the denominator is 0."""
    filled = np.full(np.shape(denominator), empty)
    return np.divide(numerator, denominator, out=filled, where=denominator > 0)[()]


def mean_known(scores: np.ndarray, filling: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the last axis of the scores that are not NaN; NaN where all are.

    filling: (K,), the scores that stand in for NaN.
    """
    scores = scores if filling is None else np.where(np.isnan(scores), filling, scores)
    known = ~np.isnan(scores)
    return _ratio(np.where(known, scores, 0.0).sum(axis=-1), known.sum(axis=-1))
