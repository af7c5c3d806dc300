"""Folds of neighbours: slices of a volume, frames of a film, tiles along a strip are held out as runs, not one by one.

Neighbours look alike. A slice that is held out between two slices that are trained on gets a score that another volume
will not reach. In a run only the first and the last slice have a trained neighbour.

There is no gap of slices that are in neither part. Folds are one number a sample, so a slice that one fold leaves out
could not be trained on by the other folds either; and a gap on both sides of a run of 4 takes 2 of 16 training slices
of the U-Net paper's stack. Longer runs have the same effect: fewer of the held-out slices are next to a trained one.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from kit.folds.kfold import check_count
from kit.system.files import list_some


def contiguous_kfold(places: Sequence[float], k: int, volumes: Sequence[Hashable] | None = None) -> np.ndarray:
    """Folds (n,) that cut each volume into k runs of neighbours, whose lengths differ by one sample at most.

    places: the place of each sample within its volume, as the number of a slice; only their order counts. volumes: the
    volume of each sample; None: all are of one. There is no seed: of one volume, fold 0 is the first run. Of several
    volumes the runs are shared out so that folds are of about one size. With as many volumes as folds or more, hold out
    whole volumes instead: group_kfold(volumes, k, seed).
    Raises ValueError where two samples of a volume have one place, for a place that is no number, and where there are
    so few samples that a fold would be empty.
    """
    places = np.asarray(places, float)
    names = [0] * len(places) if volumes is None else list(volumes)
    if places.ndim != 1 or len(names) != len(places):
        raise ValueError(f"got places of shape {places.shape} and {len(names)} volumes, expected one of each a sample")
    check_count(k, len(places))
    stacks: dict[Hashable, list[int]] = {}
    for index, name in enumerate(names):
        stacks.setdefault(name, []).append(index)
    _check_places(places, stacks)
    folds, sizes = np.full(len(places), -1), np.zeros(k, int)
    for stack in sorted(stacks.values(), key=len, reverse=True):
        runs = np.arange(len(stack)) * k // len(stack)
        counts = np.bincount(runs, minlength=k)
        shift = min(range(k), key=lambda shift: int(np.sum((sizes + np.roll(counts, shift)) ** 2)))
        order = sorted(stack, key=lambda index: places[index])
        folds[order] = (runs + shift) % k
        sizes += np.roll(counts, shift)
    if not sizes.all():
        raise ValueError(
            f"{k} folds of volumes of {list(map(len, stacks.values()))} samples leave one empty; make fewer"
        )
    return folds


def _check_places(places: np.ndarray, stacks: dict[Hashable, list[int]]) -> None:
    if bad := np.flatnonzero(~np.isfinite(places)).tolist():
        raise ValueError(f"places are numbers, those at the positions {', '.join(map(str, bad[:20]))} are not")
    twice = []
    for name, stack in stacks.items():
        found, counts = np.unique(places[stack], return_counts=True)
        where = "" if len(stacks) == 1 else f" of volume {name}"
        twice += [
            f"place {place:g}{where}: {count} samples" for place, count in zip(found, counts, strict=True) if count > 1
        ]
    if twice:
        raise ValueError(f"two samples of a volume have one place, so that neither comes first:{list_some(twice)}")
