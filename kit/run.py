"""A recipe's run folder: what was asked, which folds there are and are finished, and what is made of them.

runs/<recipe>/config.json            the configuration, versions, commit, the data's fingerprint
runs/<recipe>/folds.csv              id,group,fold
runs/<recipe>/fold<k>/finished.json  written last: fold k is trained, predicted and scored
runs/<recipe>/oof.csv, report.html   over the finished folds
submissions/<recipe>.csv             the mean of their networks
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from kit import checkpoint, distributed, submission
from kit.data import Competition, PictureDataset, collate_pictures, loading
from kit.distributed import World
from kit.files import raise_all, run_lock, write_atomic
from kit.folds import check_leaks
from kit.oof import OOFStore, Scores, score
from kit.predict import TTA, mask_at, pictures_at_once, predict
from kit.report import Results, summary, write_report
from kit.rle import decode, encode
from kit.submission_parts import RowParts, rows_in_order

# What may differ when a run is continued: it changes where and how fast, or what is done after training.
FREE = {"fold", "data_dir", "run_dir", "device", "workers", "cache", "compile", "tta", "scales", "test"}


@dataclass(frozen=True)
class Run:
    """One run folder and what all its folds share."""

    folder: Path
    name: str  # of the recipe, and of the CSV
    competition: Competition
    folds: np.ndarray  # (n,) the fold in which competition.ids[i] is held out
    config: dict  # plain values
    tta: TTA
    size: tuple[int, int] | None  # the network's; None for each picture's own
    world: World
    dtype: torch.dtype
    workers: int = 0
    channels: int = 1  # of the logits
    drawn: bool = False

    def begin(self) -> None:
        """Write config.json. Raises ValueError with the difference if a fold was trained otherwise or on other data."""
        path = self.folder / "config.json"
        if path.exists() and _is_trained(self.folder):
            checkpoint.check_identity(path, self.identity, _read_json(path)["identity"])
        self.world.wait()
        if self.world.main:
            facts = {"config": self.config, "command": command(), "versions": versions(self.world.device)}
            write_atomic(path, json.dumps({"identity": self.identity, **facts}, indent=2) + "\n")
        self.world.wait()

    @functools.cached_property  # reading the sizes of 100,000 files takes its time
    def identity(self) -> dict:
        """What a checkpoint must share with this run to be continued by it."""
        return {**{k: v for k, v in self.config.items() if k not in FREE}, "data": self.competition.fingerprint()}

    @contextlib.contextmanager
    def lock(self, fold: int) -> Iterator[None]:
        """Hold a fold's folder against a second run. Raises BlockingIOError when another holds it."""
        with run_lock(self.fold_folder(fold)) if self.world.main else contextlib.nullcontext():
            yield

    def fold_folder(self, fold: int) -> Path:
        """runs/<recipe>/fold<k>."""
        return self.folder / f"fold{fold}"

    def held_out(self, fold: int) -> list[str]:
        """The ids that fold k holds out, in the competition's order."""
        return [id for id, own in zip(self.competition.ids, self.folds, strict=True) if own == fold]

    def trained_on(self, fold: int) -> list[str]:
        """All other ids."""
        return [id for id, own in zip(self.competition.ids, self.folds, strict=True) if own != fold]

    def finished(self) -> list[int]:
        """The folds that are trained, predicted and scored by this configuration, split and test-time augmentation."""
        return [k for k in self._scored() if self._finished_key(k) == self._prediction_key([k])]

    def _scored(self) -> list[int]:
        """The folds that are finished by whatever settings."""
        return [k for k in range(int(self.folds.max()) + 1) if self._finished_key(k)]

    def _finished_key(self, fold: int) -> str | None:
        return _read_json(self.fold_folder(fold) / "finished.json").get("key")

    @property
    def store(self) -> OOFStore:
        """The quantised out-of-fold predictions of all folds."""
        return OOFStore(self.folder / "oof", self.channels)

    def predict_oof(self, fold: int, model: nn.Module) -> None:
        """Predict the pictures that `fold` holds out and score them; goes on where it was stopped.

        model: with the weights of last.safetensors. The last epoch's, not the best's: choosing the epoch by
        the held-out score would flatter that very score.
        """
        folder, started = self.fold_folder(fold), time.perf_counter()
        key = self._prediction_key([fold])
        if self._finished_key(fold) == key:
            return
        self.world.wait()  # until every process has read finished.json
        if self.world.main and _read_json(folder / "oof.json").get("key") != key:
            (folder / "finished.json").unlink(missing_ok=True)
            self.store.forget(self.held_out(fold))
            write_atomic(folder / "oof.json", json.dumps({"key": key}))
        self.world.wait()
        left = [id for id in self.held_out(fold) if id not in self.store]
        self.world.wait()  # until every process has seen what is left: shares of it are even, and no id is in two
        todo = self.world.share(left)
        for id, _, levels in predict([model], self._pictures(todo), self.tta, self.world.device, self.dtype):
            self.store.write(id, levels)
        self.world.wait()
        if self.world.main:
            ids, groups = self.held_out(fold), dict(zip(self.competition.ids, self.competition.groups, strict=True))
            score(self.competition, self.store, ids, [groups[id] for id in ids], fold).write(folder)
            done = {"key": key, "seconds": round(time.perf_counter() - started, 2)}
            write_atomic(folder / "finished.json", json.dumps(done))
        self.world.wait()

    def report(self) -> None:
        """Pool the finished folds: oof.csv, report.json, report.html, and a short table on the screen."""
        if self.world.main:
            finished = self.finished()  # once: it reads the weights of every fold
            other = ", ".join(str(k) for k in self._scored() if k not in finished)
            if other:
                print(f"left out: fold {other}, predicted by other settings; run it again with these")
            print(summary(self._write_report()))
            print(f"report: {self.folder / 'report.html'}", flush=True)

    def submit(self, load: Callable[[int], nn.Module], submissions: Path) -> Path | None:
        """Predict the test pictures with the mean of every finished fold's network, and write and lint the CSV.

        load(fold) -> the network with that fold's weights. Goes on where it was stopped. Returns the CSV's path,
        None where there is nothing to predict. Raises ValueError listing what the linter found.
        """
        test_ids, folds, started = self.competition.test_ids, self.finished(), time.perf_counter()
        if not test_ids:
            return None
        parts = self.folder / "test" / self._prediction_key(folds)
        rows = {self.competition.csv_name(id): id for id in test_ids}
        with self._alone(parts), RowParts(parts, self.world.rank) as kept:
            left = [id for name, id in rows.items() if name not in kept.done]
            self.world.wait()  # until every process has seen what is left: shares of it are even, no id is in two
            todo = self.world.share(left)
            models = [load(fold) for fold in folds] if todo else []
            pictures = predict(models, self._pictures(todo), self.tta, self.world.device, self.dtype)
            for id, size, levels in tqdm(pictures, "test", total=len(todo), leave=False, disable=self.world.quiet):
                kept.add(self.competition.csv_name(id), encode(mask_at(levels, size), self.competition.order))
        self.world.wait()
        if not self.world.main:
            return None
        if todo:  # else all was done by an earlier command, and timed there
            seconds = {"seconds": round(time.perf_counter() - started, 2), "pictures": len(todo)}
            write_atomic(self.folder / "test.json", json.dumps(seconds))
            self._write_report()
        which = f"_fold{folds[0]}" if len(folds) == 1 else ""
        path = submissions / f"{self.name}{which}{'_drawn' if self.drawn else ''}.csv"
        submission.write(rows_in_order(parts, list(rows)), path, self.competition.columns)
        self._forget_parts(parts)
        sample, shape = self.competition.sample_csv, lambda name: self.competition.shape(rows[name])
        print(f"submission: {path}, {len(rows)} rows, folds {', '.join(map(str, folds))}", flush=True)
        raise_all(submission.lint(path, sample, shape, self.competition.order), f"problems in {path}")
        self._score_submission(path, rows)
        return path

    def _score_submission(self, path: Path, ids: dict[str, str]) -> None:
        """Score the submission again from its own text, where the truth is known. ids: of the names in the CSV."""
        if self.competition.truth_csv is not None:
            columns, order = self.competition.columns, self.competition.order
            truth = dict(submission.read_rows(self.competition.truth_csv, columns))

            def read_truth(name: str) -> np.ndarray | None:
                return decode(truth[name], self.competition.shape(ids[name]), order) if name in truth else None

            scores = submission.score(path, read_truth, order, columns)
            if scores["images"]:
                name = self.competition.truth_csv.name
                print(f"scored against {name}: mean Dice {scores['mean_dice']:.4f}", flush=True)

    def _forget_parts(self, keep: Path) -> None:
        """Remove the rows of earlier ensembles, 1 GB each for all of Carvana, but where a run is at work on them."""
        for folder in self.folder.joinpath("test").iterdir():
            if folder != keep:
                with contextlib.suppress(BlockingIOError), run_lock(folder):
                    shutil.rmtree(folder)

    def _write_report(self) -> dict:
        with run_lock(self.folder / "report.lock", wait=600):  # another fold may finish at the same time
            scores = Scores.join([Scores.read(self.fold_folder(fold)) for fold in self.finished()])
            write_atomic(self.folder / "oof.csv", scores.images.to_csv(index=False))
            return write_report(self._results(scores), self.folder)

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Hold `folder` against the run of another fold, which may come to the same test pictures; waits for it."""
        with run_lock(folder, wait=-1) if self.world.main else contextlib.nullcontext():
            self.world.wait()
            yield

    def _pictures(self, ids: Sequence[str]) -> DataLoader:
        """Batches of pictures whose shape depends on the network's size and the views alone."""
        count = pictures_at_once(self.tta) if self.size else 1
        pictures = PictureDataset(self.competition, ids, self.size)
        return DataLoader(pictures, count, collate_fn=collate_pictures, **loading(self.workers, self.world))

    def _prediction_key(self, folds: Sequence[int]) -> str:
        """A name for what decides a prediction and its score: weights, configuration, data, split, size, views."""
        weights = [hashlib.sha256((self.fold_folder(k) / "last.safetensors").read_bytes()).hexdigest() for k in folds]
        rest = (self.identity, self.folds.tolist(), self.size, self.tta)
        return hashlib.sha256(repr((weights, rest)).encode()).hexdigest()[:16]

    def _results(self, scores: Scores) -> Results:
        folds = self.finished()
        history = {fold: _read_lines(self.fold_folder(fold) / "metrics.jsonl") for fold in folds}
        lines = [line for fold in folds for line in history[fold]]
        scoring = [_read_json(self.fold_folder(fold) / "finished.json")["seconds"] for fold in folds]
        test = _read_json(self.folder / "test.json")
        seconds = {
            "training": sum(line["seconds"] for line in lines),
            "validation after each epoch": sum(line["val_seconds"] for line in lines),
            "out-of-fold prediction and scoring": sum(scoring),
        } | ({f"prediction of {test['pictures']} test pictures": test["seconds"]} if test else {})
        return Results(
            title=self.name,
            drawn=self.drawn,
            command=command(),
            config=self.config,
            versions=versions(self.world.device),
            tta=str(self.tta),
            size=self.size,
            images=scores.images,
            matrices=scores.matrices,
            levels=scores.levels,
            history=history,
            seconds=seconds,
            folds=int(self.folds.max()) + 1,
            read_image=self.competition.read_image,
            read_truth=self.competition.read_mask,
            read_prediction=lambda id: mask_at(self.store.read(id), self.competition.read_mask(id).shape),
        )


def keep_folds(folder: Path, competition: Competition, world: World, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The folds (n,) in `folder`/folds.csv: made by `make()`, and kept once a fold is in training.

    Raises ValueError when a group stands in two folds, or the file is of other ids.
    """
    path, ids = folder / "folds.csv", {"id": competition.ids, "group": competition.groups}
    if world.main and not (path.exists() and _is_trained(folder)):
        folds = make()
        check_leaks(competition.groups, folds)
        write_atomic(path, pd.DataFrame({**ids, "fold": folds}).to_csv(index=False))
    world.wait()
    table = pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False)
    if table["id"].tolist() != ids["id"] or table["group"].tolist() != ids["group"]:
        raise ValueError(f"{path} lists other ids or groups than the data now has; choose another --run-dir")
    check_leaks(ids["group"], table["fold"])
    return table["fold"].to_numpy()


def launch(main: Callable[[], None]) -> None:
    """Run a recipe: a bad input is told in one message (exit 1), Ctrl-C leaves the last checkpoint (exit 130).

    $KIT_TRACEBACK=1 shows where an error was raised.
    """
    try:
        main()
        distributed.stop()  # not after an error: other processes may wait in the group, and torchrun ends them
    except KeyboardInterrupt:
        print("\nstopped. The last checkpoint is intact; the same command goes on from it.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("KIT_TRACEBACK"):
            raise
        print(f"error: {error}\n(KIT_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
        sys.exit(1)


def plain(config: object) -> dict:
    """A recipe's Config as JSON holds it: paths as text, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def command() -> str:
    """The command line of this process."""
    return " ".join([Path(sys.executable).name, *sys.argv])


def versions(device: torch.device) -> dict[str, str]:
    """What a number depends on besides the configuration: versions, commit, hardware."""
    names = ["torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy", "opencv-python-headless"]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    found = {name: importlib.metadata.version(name) for name in names}
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **found,
        "device": f"{gpu}, {os.cpu_count()} cores",
    }


def commit() -> str:
    """The commit of kit's own checkout, with a + when files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # else the commit could be that of a project around an installed kit
        return "unknown"
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _is_trained(folder: Path) -> bool:
    """Whether a fold in this run folder has a checkpoint."""
    return any(folder.glob("fold*/last.pt")) or any(folder.glob("fold*/finished.json"))


def _read_json(path: Path) -> dict:
    """The file's content, {} where it is absent. Raises ValueError naming a damaged file."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); delete it and run the same command again") from error


def _read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
