"""Run: a run folder, and what all its folds share.

runs/<run>/config.json            the configuration, versions, commit, the data's key
runs/<run>/contents.csv           checksums of all images and masks: a refusal names those that changed
runs/<run>/folds.csv              id,group,fold; frozen when the first fold begins
runs/<run>/settings.json          plan, optimizer and loss, the same for all folds
runs/<run>/fold<k>/origin.json    the recipe, command and versions with which training began
runs/<run>/fold<k>/finished.json  written last: fold k is trained, predicted and scored
runs/<run>/fold<k>/kept/          the weights of the last epochs, where the plan keeps them
runs/<run>/full<seed>/            a network trained on all data: see full.py
runs/<run>/oof/, test/            predictions; oof.csv (with the metric of each image), report.html: of finished folds
runs/<run>/views/                 out-of-fold predictions by other views, where views were tuned
runs/<run>/written/               with which tuned rule each CSV was written
"""

import contextlib
import errno
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from kit.data.check import check_dataset, data_identity
from kit.data.dataset import Dataset
from kit.data.normalise import normalisation_of
from kit.data.regions import has_regions
from kit.data.tasks import Task, task_of
from kit.folds.keeping import is_at_work, is_begun, is_trained, keep_folds, locked_folds, read_folds
from kit.prediction.bands import check_slides
from kit.prediction.frame import Frame
from kit.prediction.predictor import check_tile
from kit.prediction.rule import Rule, channels_of, rule_for
from kit.prediction.slides import store_of
from kit.prediction.store import Store
from kit.prediction.views import TTA
from kit.runs.allowed import audit_once
from kit.runs.changes import changed_contents, changed_kit, write_contents
from kit.runs.flags import Flags, read_flags
from kit.runs.provenance import origin
from kit.runs.settings import settings_of
from kit.system.files import write_atomic
from kit.system.run_folder import Fold, fold_name, is_full, read_json
from kit.training.checkpoint import OtherRun, check_identity
from kit.training.loaders import default_workers
from kit.training.loop import best_dtype
from kit.training.processes import World, start


@dataclass(frozen=True)
class Config:
    """The flags that open_run reads. Every recipe has them, in a Config of its own; a short script may use this one."""

    fold: int | Literal["all", "full"] = 0  # the fold to hold out; full: none, train on all images
    run_dir: Path = Path("runs/mine")
    seed: int = 0
    device: str = "auto"  # a GPU if there is one; or cpu, cuda, cuda:1, mps
    workers: int | None = None  # processes that load data; None: none on a CPU, up to eight for a GPU


@dataclass(frozen=True)
class Run:
    """A run. A fold is a number, or of a network that is trained on all images "full0", after its seed.

    folder and name: of the recipe, and so of the CSV. folds: (n,) the fold in which dataset.ids[i] is held out.

    A fold of -1 means that an image is never held out. frame, tta: how images are predicted. rule: how predictions
    become masks; None is the usual one of the data set's task.
    data: what training is given, as kit.data.check.data_identity names it. contents: of each image and mask, as
    kit.data.check.Facts holds it; empty where unknown. shared: its warning about pixels of several objects.
    world, dtype, workers: this process, the dtype of its forward pass, how many processes load its data.
    """

    folder: Path
    name: str
    dataset: Dataset
    folds: np.ndarray
    flags: Flags
    data: dict[str, str]
    frame: Frame
    tta: TTA
    world: World
    dtype: torch.dtype
    workers: int = 0
    seed: int = 0
    contents: tuple[str, ...] = ()
    shared: str = ""
    rule: Rule | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", rule_for(self.task, self.rule))
        check_tile(self.frame, self.rule)

    @property
    def task(self) -> Task:
        """What the masks of the data set are."""
        return task_of(self.dataset)

    @property
    def channels(self) -> int:
        """Of the predictions that are kept: one for a single foreground, else one a class; see channels_of."""
        return channels_of(self.task, self.rule)

    @property
    def own_rule(self) -> tuple[Rule, ...]:
        """The rule, where it is not the task's usual one: a part of the names of what it decides."""
        return () if self.rule == rule_for(self.task) else (self.rule,)

    @property
    def num_folds(self) -> int:
        """How many folds there are."""
        return int(self.folds.max()) + 1

    @functools.cached_property
    def identity(self) -> dict:
        """What a checkpoint must share with this run to be resumed by it."""
        return {**self.flags.identity, **self.data, **settings_of("frame", self.frame)}

    @functools.cached_property  # as it was when the run began: the recipe may be edited while it trains
    def origin(self) -> dict:
        """The recipe, command and versions of this process."""
        return origin(self.world.device)

    @property
    def store(self) -> Store:
        """The out-of-fold predictions of all folds, and the rule that makes masks of them."""
        return store_of(self.dataset, self.folder / "oof", self.channels, self.rule)

    def fold_folder(self, fold: Fold) -> Path:
        """runs/<run>/fold<k>; runs/<run>/full<seed>."""
        return self.folder / fold_name(fold)

    def held_out(self, fold: Fold) -> list[str]:
        """The ids that fold k holds out, in the data set's order; of a full fit none."""
        if is_full(fold):
            return []
        return [id for id, own in zip(self.dataset.ids, self.folds, strict=True) if own == fold]

    def trained_on(self, fold: Fold) -> list[str]:
        """All other ids."""
        if is_full(fold):
            return list(self.dataset.ids)
        return [id for id, own in zip(self.dataset.ids, self.folds, strict=True) if own != fold]

    def is_begun(self, fold: Fold) -> bool:
        """Whether the fold's training has a checkpoint. Its network then needs no weights to begin with."""
        return (self.fold_folder(fold) / "last.pt").exists()

    def history(self, fold: Fold) -> list[dict]:
        """The lines of the fold's metrics.jsonl."""
        return [json.loads(line) for line in (self.fold_folder(fold) / "metrics.jsonl").read_text().splitlines()]


LOOKING: list[list] = []  # where open_run leaves data set and folds in place of opening a run


@contextlib.contextmanager
def looking() -> Iterator[list[tuple[Dataset, Callable[[], np.ndarray]]]]:
    """In this block open_run opens nothing: it ends the script by SystemExit, and leaves data set and folds here."""
    LOOKING.append([])
    try:
        yield LOOKING[-1]
    finally:
        LOOKING.pop()


def open_run(
    config: Config,
    dataset: Dataset,
    make_folds: Callable[[], np.ndarray],
    frame: Frame,
    tta: TTA,
    recipe: str,
    *,
    rule: Rule | None = None,
    audit: bool | str = False,
) -> Run:
    """Check the flags and all of the data, make the folds once, and open the run folder. recipe: the script's __file__.

    rule: how predictions become masks, for the report and the CSV; None: thresholds of 0.5, of task instances also the
    connected components. It may change when a run is resumed.
    A full fit belongs to the folds that are there: it needs their folder, and config.json and folds.csv stay theirs.
    audit: True looks for copies across folds and in dataset.test_ids first, once for a run folder, and raises
    ValueError where there are any. A text allows them: it is the reason, which the report shows.

    Raises ValueError where flags, data or an older run in the folder do not fit; nothing is written then.
    """
    if LOOKING:
        LOOKING[-1].append((dataset, make_folds))
        raise SystemExit(0)
    if has_regions(dataset):
        check_slides(frame, tta, rule_for(task_of(dataset), rule))
    flags, world, full = read_flags(config), start(config.device), config.fold == "full"
    if full:
        flags = _flags_of_folds(config.run_dir, flags)
    workers = default_workers(world.device, config.workers)
    with world.main_first():  # it writes what it found to the cache; the others read that
        facts = check_dataset(dataset)
    run = Run(
        folder=config.run_dir,
        name=Path(recipe).stem,
        dataset=dataset,
        folds=read_folds(config.run_dir / "folds.csv", dataset)
        if full
        else keep_folds(config.run_dir, dataset, world, make_folds),
        flags=flags,
        data=data_identity(dataset, facts),
        frame=replace(frame, normalise=normalisation_of(dataset, facts, frame.statistics)),
        tta=tta,
        world=world,
        dtype=best_dtype(world.device),
        workers=workers,
        seed=config.seed,
        contents=facts.contents,
        shared=facts.shared,
        rule=rule,
    )
    planned(run, config.fold)  # before config.json is written
    if audit:
        world.agree(lambda: _audit(run, "" if audit is True else audit))
    if full:
        world.agree(lambda: check_config(run))
    else:
        begin(run)
    return run


def _audit(run: Run, allowed: str) -> None:
    """Audit the data once. A folder of another run raises ValueError first: its audit.json stays."""
    if is_trained(run.folder) or is_at_work(run.folder):
        check_config(run)
    audit_once(run.folder, run.dataset, run.folds, run.data, allowed)


def _flags_of_folds(folder: Path, flags: Flags) -> Flags:
    """The flags with the seed of the folds: the run is theirs. Raises ValueError where no fold has begun."""
    kept = read_json(folder / "config.json").get("identity", {})
    if not (kept and is_begun(folder)):
        raise ValueError(
            f"--fold full trains on all images for as many epochs as the folds, and {folder} has no fold yet: train "
            "one first, as by --fold 0, so that its score says what to expect"
        )
    return replace(flags, identity={**flags.identity, **{k: kept[k] for k in ("seed",) if k in kept}})


def planned(run: Run, wanted: int | Literal["all", "full"]) -> list[Fold]:
    """The folds asked for. Raises ValueError where there is no such fold."""
    if wanted == "all":
        return list(range(run.num_folds))
    if wanted == "full":
        return [f"full{run.seed}"]
    if wanted not in range(run.num_folds):
        there = f"are folds 0 to {run.num_folds - 1}, all, or full"
        raise ValueError(
            f"--fold {wanted}: there {there if run.num_folds > 1 else 'is only fold 0, the data set’s own split'}"
        )
    return [wanted]


def begin(run: Run) -> None:
    """Write config.json. Raises ValueError with the difference if a fold was trained otherwise or on other data.

    A fold that another process trains now counts too, before its first checkpoint. On a disk that cannot be written
    to, the config.json of a trained run stays as it is: the run can still predict.
    """
    run.world.agree(lambda: _write_config(run))


def _write_config(run: Run) -> None:
    path = run.folder / "config.json"
    is_kept = path.exists() and is_trained(run.folder)
    if is_kept:
        check_config(run)
    with read_only_allowed(is_kept), locked_folds(run.folder):
        if is_at_work(run.folder):
            check_config(run)
        facts = {"identity": run.identity, "config": run.flags.values, **run.origin}
        write_atomic(path, json.dumps(facts, indent=2) + "\n")
        write_contents(run.folder, run.dataset.ids, run.contents)


def check_config(run: Run) -> None:
    """Raise ValueError with the difference if config.json is of another configuration or of other data.

    It names the images and masks that changed, and kit's own version where that is another one.
    """
    path = run.folder / "config.json"
    if not path.exists():
        return
    kept = read_json(path)
    try:
        check_identity(path, run.identity, kept.get("identity", {}), run.flags.defaults)
    except OtherRun as error:
        changed = changed_contents(run.folder, run.dataset.ids, run.contents)
        raise OtherRun(f"{error}{changed}{changed_kit(kept.get('versions', {}), run.origin['versions'])}") from None


@contextlib.contextmanager
def read_only_allowed(allowed: bool) -> Iterator[None]:
    """Pass over the errors of a read-only folder or disk, where `allowed`. A full disk stays an error."""
    try:
        yield
    except OSError as error:
        if not allowed or error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
