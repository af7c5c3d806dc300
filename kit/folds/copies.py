"""Copies among the images of a data set: the same pixels, or changed copies that their pixels confirm.

Candidates are pairs whose perceptual hashes are near (kit.folds.hashes); kit.folds.verify decides. How near is found
on the data itself: nearer than most images are to their nearest other one, or as near as a changed copy of a few of
these images is to its original.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kit.data.resize import single_threaded_cv2
from kit.folds.hashes import VIEWS, distances_of, hash_views, turned
from kit.folds.looks import Look, as_bytes, grey_of, resized
from kit.folds.verify import compare
from kit.system.files import spread
from kit.system.threads import ordered_map

FENCE = 2.0  # standard deviations below the median of the nearest distances, both robust
NEAREST = 12  # candidates of an image, at most
UNLABELLED = "without a mask"  # the place of images that are neither trained on nor predicted
BATCH = 16  # pairs whose pixels are read together
ROWS = 128  # of the matrix of distances that a thread holds
CHANGED = 24  # images that are changed to see how far their hashes move
ALIKE = 0.8  # correlation of the small squares below which no pixels are read again
WAYS = (
    "",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored",
    "mirrored and turned by 90°",
    "mirrored and turned by 180°",
    "mirrored and turned by 270°",
)


@dataclass(frozen=True)
class Copy:
    """Two images of which one is a copy of the other.

    same: pixel by pixel. change: what was done to it, in words. places: where the two stand, as "fold 0", "test".
    leaks: the places differ, so that a score would be taken on an image that was trained on; not where one of them has
    no mask.
    """

    first: str
    second: str
    same: bool
    change: str
    places: tuple[str, str]
    leaks: bool
    correlation: float = 1.0
    worst: float = 0.0


def find_copies(
    looks: Mapping[str, Look],
    places: Mapping[str, str],
    read: Callable[[str], np.ndarray],
    threads: int = 4,
) -> list[Copy]:
    """All copies among the images of `looks`; those that leak first.

    places: of each image, where it stands. read: gives the image (H, W, C) of an id. Constant images are left out: two
    black images are no leak. Of images with little contrast only the same pixels are found.
    """
    ids = [id for id, one in looks.items() if not one.is_constant]
    firsts, copies = _same_pixels(ids, looks, places)
    firsts = [id for id in firsts if not looks[id].is_flat]
    if len(firsts) > 1:
        pairs = _candidates([looks[id].hashes for id in firsts], _moves(firsts, looks, read), threads)
        pairs = [(firsts[i], firsts[j], view) for i, j, view in pairs]
        pairs = [pair for pair in pairs if _agree(looks[pair[0]], looks[pair[1]], pair[2]) >= ALIKE]
        with single_threaded_cv2():
            copies += _confirmed(pairs, lambda pair: _verified(pair, looks, places, read), threads)
    copies += _through_others(copies, places)
    return sorted(copies, key=lambda copy: (not copy.leaks, not copy.same, copy.worst, copy.first, copy.second))


def _same_pixels(
    ids: Sequence[str], looks: Mapping[str, Look], places: Mapping[str, str]
) -> tuple[list[str], list[Copy]]:
    """The first image of each content, and every further one as its copy."""
    firsts: dict[bytes, str] = {}
    copies = []
    for id in ids:
        first = firsts.setdefault(looks[id].content, id)
        if first != id:
            both = places[first], places[id]
            copies.append(Copy(first, id, True, "", both, _leaks(*both)))
    return list(firsts.values()), copies


def _leaks(one: str, other: str) -> bool:
    """Whether a copy in two places makes a score too high."""
    return one != other and UNLABELLED not in (one, other)


def _confirmed(
    pairs: Sequence[tuple[str, str, int]], verify: Callable[[tuple[str, str, int]], Copy | None], threads: int
) -> list[Copy]:
    """The pairs that their pixels confirm, the nearest first; none between images that are connected already."""
    found: list[Copy] = []
    for first in range(0, len(pairs), BATCH):
        known = _clusters(found)
        open_pairs = [(a, b, view) for a, b, view in pairs[first : first + BATCH] if b not in known.get(a, ())]
        found += filter(None, ordered_map(verify, open_pairs, threads))
    return found


def _clusters(copies: Sequence[Copy]) -> dict[str, set[str]]:
    """Of each image that has copies: all that are connected to it, and itself."""
    cluster: dict[str, set[str]] = {}
    for one in copies:
        merged = cluster.get(one.first, {one.first}) | cluster.get(one.second, {one.second})
        cluster |= dict.fromkeys(merged, merged)
    return cluster


def _through_others(copies: Sequence[Copy], places: Mapping[str, str]) -> list[Copy]:
    """Copies of copies that leak: an image whose confirmed copies all stand where it does, and theirs elsewhere."""
    cluster = _clusters(copies)
    leaking = {id for one in copies if one.leaks for id in (one.first, one.second)}
    found = []
    for id in sorted(cluster.keys() - leaking):
        others = sorted(other for other in cluster[id] if _leaks(places[other], places[id]))
        if others:
            both = places[others[0]], places[id]
            found.append(Copy(others[0], id, False, "both are copies of a third image", both, True))
    return found


def _candidates(hashes: Sequence[np.ndarray], moves: float, threads: int) -> list[tuple[int, int, int]]:
    """Pairs (i, j, view) whose distance is an outlier, nearest first: this view of i is near to all of j.

    moves: bits by which a changed copy of the same data is away from its original.
    """
    every = np.stack(hashes)
    n = len(every)
    nearest = np.full(n, every.shape[1] * 256)
    best, best_row, best_view = np.full(n, n * 256), np.zeros(n, int), np.zeros(n, int)  # of each column
    kept: dict[tuple[int, int], tuple[int, int, int, int]] = {}

    def keep(bits: int, i: int, j: int, view: int) -> None:
        if bits < kept.get((min(i, j), max(i, j)), (n * 256,))[0]:
            kept[min(i, j), max(i, j)] = bits, i, j, view

    def rows(first: int) -> tuple[int, np.ndarray, np.ndarray]:
        return first, *distances_of(every, first, min(first + ROWS, n))

    for first, distances, views in ordered_map(rows, range(0, n, ROWS), threads):
        at = np.arange(len(distances))
        distances[at, first + at] = np.iinfo(np.int16).max  # an image and itself
        columns = np.argpartition(distances, min(NEAREST, n - 1) - 1, axis=1)[:, :NEAREST]
        nearest[first + at] = np.minimum(nearest[first + at], distances.min(axis=1))
        for row, found in enumerate(columns.tolist()):
            for j in found:
                if first + row != j:
                    keep(int(distances[row, j]), first + row, j, int(views[row, j]))
        rows_of = distances.argmin(axis=0)
        closer = np.flatnonzero(distances[rows_of, np.arange(n)] < best)
        best[closer] = distances[rows_of[closer], closer]
        best_row[closer], best_view[closer] = first + rows_of[closer], views[rows_of[closer], closer]
    nearest = np.minimum(nearest, best)
    for j in range(n):
        keep(int(best[j]), int(best_row[j]), j, int(best_view[j]))
    limit = max(moves, fence(nearest))
    return [pair[1:] for pair in sorted(kept.values()) if pair[0] <= limit]


def fence(values: np.ndarray) -> float:
    """The value below which one is an outlier of `values`: the median less FENCE robust standard deviations."""
    middle = float(np.median(values))
    return middle - FENCE * 1.4826 * float(np.median(np.abs(values - middle)))


def _moves(ids: Sequence[str], looks: Mapping[str, Look], read: Callable[[str], np.ndarray]) -> float:
    """The bits by which the hashes of most changed copies of some images differ from the originals."""
    found = []
    for id in spread(list(ids), CHANGED):
        image = as_bytes(read(id))
        image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
        image = resized(image, tuple(min(side, 512) for side in image.shape[:2]))
        found += [_nearest_view(looks[id].hashes, changed) for changed in map(_own_hash, _changes(image))]
    return float(np.quantile(found, 0.9))


def _changes(image: np.ndarray) -> list[np.ndarray]:
    """An image u8 (H, W, C) compressed, brightened, and cut between two of the windows that are hashed."""
    height, width = image.shape[:2]
    packed = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 50))[1]
    decoded = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED).reshape(image.shape)
    bright = np.clip(image.astype(np.float32) * 1.2, 0, 255).astype(np.uint8)
    top, left = round(height * 0.0125), round(width * 0.035)
    return [decoded, bright, image[top : top + round(height * 0.95), left : left + round(width * 0.95)]]


def _own_hash(image: np.ndarray) -> np.ndarray:
    """The hash u64 (4,) of an image u8 (H, W, C) as it is."""
    return hash_views(grey_of(image), VIEWS[:1])[0]


def _nearest_view(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.bitwise_count(first ^ second).sum(axis=1).min())


def _agree(first: Look, second: Look, view: int) -> float:
    """The correlation of the small squares of two images, in a view; blurred, as the window may lie a little aside."""
    side = len(first.square)
    top, left, rows, columns = (round(share * side) for share in VIEWS[view].window)
    shown = resized(np.ascontiguousarray(first.square[top : top + rows, left : left + columns]), (side, side))
    a, b = (
        cv2.GaussianBlur(np.ascontiguousarray(one, np.float32), (0, 0), 2.0)
        for one in (turned(shown, VIEWS[view].symmetry), second.square)
    )
    if min(a.std(), b.std()) < 1e-3:
        return 0.0
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1])


def _verified(
    pair: tuple[str, str, int],
    looks: Mapping[str, Look],
    places: Mapping[str, str],
    read: Callable[[str], np.ndarray],
) -> Copy | None:
    """The pair as a copy, where its pixels confirm it."""
    first, second, view = pair
    match = compare(read(first), read(second), VIEWS[view])
    if not match.is_copy:
        return None
    (first, one), (second, other) = sorted([(first, places[first]), (second, places[second])])
    sizes = [f"{height} × {width}" for height, width, _ in (looks[first].shape, looks[second].shape)]
    shown = VIEWS[view]
    words = [WAYS[shown.symmetry], "cut" if shown.window != VIEWS[0].window else ""]
    words += [f"{sizes[0]} and {sizes[1]} pixels" if sizes[0] != sizes[1] else ""]
    change = ", ".join(filter(None, words)) or "the same view, other pixels"
    return Copy(first, second, False, change, (one, other), _leaks(one, other), match.correlation, match.worst)
