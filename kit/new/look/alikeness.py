"""Are the images of a group more alike than images of different groups? The evidence for and against a grouping."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from kit.system.threads import threads_for

MOST_PAIRS = 400
THUMBNAIL = 8  # pixels a side
BINS = 8  # of the histogram of a channel


def describe(image: np.ndarray) -> np.ndarray:
    """A short vector of an image (H, W, C): a thumbnail and the histogram of each channel, f32."""
    channels = image[..., : min(3, image.shape[2])].astype(np.float32)
    low, high = channels.min(), channels.max()
    small = cv2.resize((channels - low) / max(high - low, 1e-9), (64, 64), interpolation=cv2.INTER_AREA)
    small = small.reshape(64, 64, -1)
    thumbnail = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    bins = [np.histogram(small[..., c], BINS, (0, 1))[0] / 512 for c in range(small.shape[2])]
    return np.concatenate([thumbnail, *bins]).astype(np.float32)


def alikeness(ids: Sequence[str], groups: Sequence[str], vector: Callable[[str], np.ndarray], seed: int = 0) -> float:
    """The chance that two images of one group are more alike than two of different groups: 0.5 says nothing, 1 always.

    vector(id): of `describe`, NaN for an image that is not read. At most MOST_PAIRS pairs of either kind are compared.
    NaN without any pair of one kind.
    """
    random = np.random.default_rng(seed)
    members: dict[str, list[str]] = {}
    for id, group in zip(ids, groups, strict=True):
        members.setdefault(group, []).append(id)
    several = [group for group, own in members.items() if len(own) > 1]
    if not several or len(members) < 2:
        return float("nan")
    chosen = [several[i] for i in random.integers(0, len(several), MOST_PAIRS)]
    within = [
        tuple(members[group][i] for i in random.choice(len(members[group]), 2, replace=False)) for group in chosen
    ]
    names = list(members)
    group_of, between = dict(zip(ids, groups, strict=True)), []
    for a, _ in within:  # each first image again, so that odd images weigh the same on both sides
        own = group_of[a]
        other = names[int(random.integers(len(names)))]
        while other == own:
            other = names[int(random.integers(len(names)))]
        between.append((a, members[other][int(random.integers(len(members[other])))]))
    needed = sorted({id for pair in (*within, *between) for id in pair})
    with ThreadPoolExecutor(threads_for()) as pool:
        vectors = dict(zip(needed, pool.map(vector, needed), strict=True))
    near, far = ([float(np.abs(vectors[a] - vectors[b]).sum()) for a, b in pairs] for pairs in (within, between))
    known = [x < y for x, y in zip(near, far, strict=True) if np.isfinite(x + y)]
    return float(np.mean(known)) if known else float("nan")
