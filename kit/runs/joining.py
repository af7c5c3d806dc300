"""Several runs joined image by image, to compare or blend them; what does not fit is refused with the difference.

runs = join_runs([read_run("runs/a"), read_run("runs/b")])      the same images in the same order
"""

from collections.abc import Sequence

import numpy as np

from kit.data.run_masks import RunMask
from kit.runs.finished import FinishedRun
from kit.system.files import counted, list_some

HINT = "; runs are joined where their folds are made alike: as many, from a seed that is not --seed"


def join_runs(runs: Sequence[FinishedRun], *, same_folds: bool = True) -> list[FinishedRun]:
    """The runs with the folds that all have finished, and with the images in the order of the first run.

    Their ids, groups, folds, classes, task, metric and true masks must be the same. Networks, sizes and channels may
    differ. same_folds=False: runs whose images lie in other folds are joined too, with the images that all of them
    hold out; that is enough to compare scores, and nothing may be chosen on them fold by fold.
    Raises ValueError naming two runs and the first difference.
    """
    shared = _shared_folds if same_folds or not _have_other_folds(runs) else _shared_images
    first, *others = shared(runs)
    joined = [first]
    for other in others:
        if found := next((text for text in _differences(first, other, same_folds) if text), ""):
            raise ValueError(f"{first.folder} and {other.folder} cannot be joined: {found}")
        rows = {id: row for row, id in enumerate(other.ids)}
        joined.append(other.of_rows([rows[id] for id in first.ids]))
    return joined


def _shared_folds(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    common = sorted(set.intersection(*(set(run.folds) for run in runs)))
    if not common:
        folds = "; ".join(f"{run.folder}: {', '.join(map(str, run.folds))}" for run in runs)
        raise ValueError(f"no fold is finished in all of the runs ({folds}): train one of them in the others too")
    return [run.of_folds(common) for run in runs]


def _have_other_folds(runs: Sequence[FinishedRun]) -> bool:
    """Whether an image of the first run is in another fold of another run, or none of them is in that run."""
    first, *others = (dict(zip(run.ids, run.fold_of.tolist(), strict=True)) for run in runs)
    same = [[first[id] == fold for id, fold in other.items() if id in first] for other in others]
    return not all(own and all(own) for own in same)


def _shared_images(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    shared = set.intersection(*(set(run.ids) for run in runs))
    if not shared:
        raise ValueError(f"no image is held out in all of the runs {', '.join(str(run.folder) for run in runs)}")
    return [run.of_rows([row for row, id in enumerate(run.ids) if id in shared]) for run in runs]


def _differences(one: FinishedRun, other: FinishedRun, same_folds: bool) -> list[str]:
    """What differs, a text each; "" where nothing does."""
    pairs = {
        "task": [run.saved.task for run in (one, other)],
        "classes": [", ".join(run.saved.classes) for run in (one, other)],
        "metric": [f"{run.metric.name} {sorted(vars(run.metric).items())}" for run in (one, other)],
    }
    texts = [f"{name}: {a} in the first, {b} in the second" if a != b else "" for name, (a, b) in pairs.items()]
    if any(texts) or (ids := _other_ids(one, other)):
        return texts if any(texts) else [ids]
    moved = [_moved(one, other, what) for what in ("group", *(["fold"] if same_folds else []))]
    return [*moved, _other_truth(one, other)]


def _other_ids(one: FinishedRun, other: FinishedRun) -> str:
    for a, b, which in ((one, other, "first"), (other, one, "second")):
        if lacking := sorted({*a.ids} - {*b.ids}):
            hint = HINT * (one.data == other.data)  # other images of one data set are held out
            return f"{counted(len(lacking), 'image')} of the {which} alone:{list_some(lacking, 5)}{hint}"
    return ""


def _moved(one: FinishedRun, other: FinishedRun, what: str) -> str:
    tables = [dict(zip(run.ids, run.scores.images[what].tolist(), strict=True)) for run in (one, other)]
    moved = [id for id in one.ids if tables[0][id] != tables[1][id]]
    if not moved:
        return ""
    return f"another {what} of {counted(len(moved), 'image')}:{list_some(moved, 5)}{HINT * (what == 'fold')}"


def _other_truth(one: FinishedRun, other: FinishedRun) -> str:
    """The images whose true masks differ, where the names of the data differ."""
    if one.data == other.data:
        return ""
    for run in (one, other):
        run.check_truth()
    moved = [id for id in one.ids if not _is_same(one.truth(id), other.truth(id))]
    return f"other true masks of {counted(len(moved), 'image')}:{list_some(moved, 5)}" if moved else ""


def _is_same(one: np.ndarray | RunMask, other: np.ndarray | RunMask) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return (one.shape, one.order, one.edges.keys()) == (other.shape, other.order, other.edges.keys()) and all(
        np.array_equal(edges, other.edges[label]) for label, edges in one.edges.items()
    )
