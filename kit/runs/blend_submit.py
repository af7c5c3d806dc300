"""The submission of a blend, from the test predictions that its runs have kept."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kit.data.resize import single_threaded_cv2
from kit.prediction.blended import blended, weights_of_networks
from kit.prediction.slides import mean_of_levels
from kit.prediction.store import Store
from kit.runs.blend_pool import Mixed, Progress
from kit.runs.finished import FinishedRun
from kit.runs.submit import RowsOf
from kit.scoring.blend_pools import THREADS
from kit.submission.dialect import Cells
from kit.submission.lint import lint
from kit.submission.problems import Problem
from kit.submission.rows import RowParts, ids_of_sample, rows_in_order
from kit.submission.tables import write
from kit.system.files import counted, list_some
from kit.system.threads import ordered_map


def lacking_tests(run: FinishedRun) -> str:
    """Why the kept test predictions of a run cannot be used, and what to do; "" where they are all there."""
    keep = "Run its recipe again with Submission(…, keep_test=True); finished folds are not trained again"
    if (run.folder / "soup.json").is_file():
        keep = "Make its averages again with the test images at hand (python -m kit soup)"
    if run.dialect is None:
        return f"{run.folder} has no competition, so there is no CSV to write: only the weights are kept"
    lost = [fold for fold in run.folds if run.tests(fold) is None]
    if lost or not run.test_sizes:
        folds = f"of {'folds' if len(lost) > 1 else 'fold'} {', '.join(map(str, lost))} " if lost else ""
        return f"{run.folder} has not kept the test predictions {folds}of its networks. {keep}"
    readable = [id for id in run.test_ids if id in run.test_sizes]
    for fold in run.folds:
        if missing := run.tests(fold).missing(readable):
            return (
                f"{run.folder} lacks the test predictions of fold {fold} for {counted(len(missing), 'image')}:"
                f"{list_some(missing, 5)}. {keep}"
            )
    return ""


def write_blend(
    runs: Sequence[FinishedRun],
    chosen: Mixed,
    out: Path,
    sample: Path | None = None,
    progress: Progress = lambda items, total: items,
) -> list[Problem]:
    """Write the CSV of a blend of `runs`; return what the linter says of it.

    chosen: weights of the runs, and how the blended levels become masks (RunsBlend.final). sample: its keys, all of
    them, in its order; without one the test ids of the first member. The networks of all finished folds of a run count
    alike. Test images that could not be read have empty masks. Raises ValueError where test predictions are missing,
    and where two members have other test images.
    """
    members = [runs[r] for r in chosen.mix.members]
    if reasons := [text for text in map(lacking_tests, members) if text]:
        raise ValueError("\n".join(reasons))
    _check_tests(members)
    first, take = members[0], _Rows(members, chosen)
    ids = list(first.test_ids) if sample is None else ids_of_sample(sample, first.dialect)
    known = set(first.test_ids)
    if unknown := [id for id in ids if id not in known]:
        raise ValueError(
            f"{counted(len(unknown), 'image')} of {sample} are no test images of {first.folder}:{list_some(unknown, 5)}"
        )
    there = [id for id in ids if id in first.test_sizes]
    if not there:
        raise ValueError(f"{first.folder} has kept no test prediction of an image that is asked for")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}") as parts, single_threaded_cv2():
        with RowParts(Path(parts)) as kept:
            for id, cells in progress(ordered_map(take, there, THREADS), len(there)):
                kept.add(id, cells)
        rows = rows_in_order(Path(parts), ids, first.dialect, sample, empty=set(ids) - set(there))
        write(rows, out, first.dialect)
    return lint(out, first.dialect, sample, first.test_sizes)


class _Rows:
    """Makes the rows of a test image, from the levels of all networks of all members."""

    def __init__(self, members: Sequence[FinishedRun], chosen: Mixed) -> None:
        self.sizes, self.dialect, self.rule = members[0].test_sizes, members[0].dialect, chosen.rule
        self.stores: list[Store] = [run.tests(fold) for run in members for fold in run.folds]
        own = np.array(chosen.mix.weights)[:, list(chosen.mix.members)]
        self.weights = weights_of_networks(own, [len(run.folds) for run in members])
        self.is_alone = len(members) == 1
        self.encode = RowsOf(self.dialect, chosen.rule, chosen.tuned)

    def __call__(self, id: str) -> tuple[str, list[Cells]]:
        levels = [store.read(id) for store in self.stores]
        size = self.sizes[id]
        if self.is_alone:  # as the run's own submission, to the last bit
            return self.encode(id, size, mean_of_levels(levels, self.rule))
        return self.encode(id, size, blended(levels, self.weights, self.dialect.mask_size(size), self.rule))


def _check_tests(members: Iterable[FinishedRun]) -> None:
    """Raise ValueError naming two members whose test images or dialects differ."""
    first, *others = members
    for other in others:
        if lacking := sorted({*first.test_ids} ^ {*other.test_ids}):
            raise ValueError(
                f"{first.folder} and {other.folder} have other test images: {counted(len(lacking), 'image')} of one "
                f"alone:{list_some(lacking, 5)}"
            )
        pair = f"{first.folder} and {other.folder}"
        if first.dialect != other.dialect:
            raise ValueError(f"{pair} write their CSV in other ways: {first.dialect}, {other.dialect}")
        if lacking := [id for id, size in first.test_sizes.items() if other.test_sizes.get(id, size) != size]:
            raise ValueError(f"{pair} have test images of other sizes:{list_some(lacking, 5)}")
        if lacking := sorted({*first.test_sizes} ^ {*other.test_sizes}):
            raise ValueError(f"one of {pair} could not read the test images:{list_some(lacking, 5)}")
