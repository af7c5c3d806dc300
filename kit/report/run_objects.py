"""The objects of a run's held-out images, from the kept truth and the kept predictions."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kit.data.resize import single_threaded_cv2
from kit.runs.run import Run
from kit.runs.truth import Truth
from kit.scoring.matching import Matching, match
from kit.scoring.object_errors import FoundObjects
from kit.system.files import counted

THREADS = 4


def objects_of(run: Run, ids: Sequence[str]) -> FoundObjects | None:
    """Those of some images, in this order; None where the run's masks are no objects."""
    if not run.task.has_objects:
        return None
    kept, store = Truth(run.folder, run.task), run.store

    def found(id: str) -> Matching:
        truth = kept.read(id)
        return match(truth, store.mask(id, truth.shape))

    with ThreadPoolExecutor(THREADS) as pool, single_threaded_cv2():
        return FoundObjects.join(pool.map(found, ids))


def kinds_of(run: Run, ids: Sequence[str]) -> tuple[str, ...] | None:
    """What the data set calls the kind of each image; None where it does not.

    Raises ValueError where it has another number of kinds than of images.
    """
    kinds = getattr(run.dataset, "kinds", None)
    if kinds is None:
        return None
    if len(kinds) != len(run.dataset.ids):
        found = f"{counted(len(kinds), 'kind')} of {counted(len(run.dataset.ids), 'image')}"
        raise ValueError(
            f"{run.name}: the data set names {found}; expected `kinds` to hold a text an image, in their order"
        )
    named = dict(zip(run.dataset.ids, map(str, kinds), strict=True))
    return tuple(named[id] for id in ids)
