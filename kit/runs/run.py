"""A recipe's run folder: what was asked, which folds there are and are finished, and what is made of them.

runs/<recipe>/config.json            the configuration, versions, commit, the data's fingerprint
runs/<recipe>/folds.csv              id,group,fold
runs/<recipe>/fold<k>/origin.json    the recipe, command and versions that training began with
runs/<recipe>/fold<k>/finished.json  written last: fold k is trained, predicted and scored
runs/<recipe>/oof.csv, report.html   over the finished folds
submissions/<recipe>.csv             the mean of their networks
"""

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kit.data.cache import sample_reader
from kit.data.dataset import Dataset
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches, SegmentationDataset, collate_samples, default_workers, loading
from kit.folds.keeping import freeze_folds, is_trained, keep_folds
from kit.prediction.predictor import TTA, mask_at, pictures_at_once, predict
from kit.prediction.store import OOFStore, Scores, score
from kit.report import measure as report
from kit.report.measure import Results
from kit.runs.provenance import merged, origin, plain
from kit.system.files import cache_folder, digest, run_lock, write_atomic
from kit.system.threads import Result
from kit.training import checkpoint
from kit.training.loop import Settings, TrainState, best_dtype, new_state
from kit.training.processes import EpochBatches, World, start

Augmentation = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]

COUNTS = {"epochs", "batch_size", "accumulate", "image_size", "crop"}  # flags of one or more
# What may differ when a run is continued: it changes where and how fast, or what is done after training.
FREE = {"fold", "data_dir", "sbd_dir", "run_dir", "device", "workers", "cache", "compile", "tta", "scales", "test"}


class Config(Protocol):
    """The flags that every recipe has."""

    fold: int | Literal["all"]
    data_dir: Path | None
    run_dir: Path
    epochs: int
    image_size: tuple[int, int] | None
    batch_size: int
    lr: float
    seed: int
    device: str
    workers: int | None


@dataclass(frozen=True)
class Run:
    """One run folder and what all its folds share."""

    folder: Path
    name: str  # of the recipe, and of the CSV
    competition: Dataset
    folds: np.ndarray  # (n,) the fold in which competition.ids[i] is held out, -1 for never
    config: dict  # plain values
    tta: TTA
    size: tuple[int, int] | None  # the network's; None for each picture's own
    world: World
    dtype: torch.dtype
    workers: int = 0
    seed: int = 0

    @property
    def channels(self) -> int:
        """Of the logits: one for a foreground, else one a class."""
        return 1 if self.competition.num_classes == 2 else self.competition.num_classes

    def begin(self) -> None:
        """Write config.json. Raises ValueError with the difference if a fold was trained otherwise or on other data."""
        path = self.folder / "config.json"
        if path.exists() and is_trained(self.folder):
            checkpoint.check_identity(path, self.identity, _read_json(path)["identity"])
        self.world.wait()
        if self.world.main:
            facts = {"identity": self.identity, "config": self.config, **self.origin}
            write_atomic(path, json.dumps(facts, indent=2) + "\n")
        self.world.wait()

    @functools.cached_property  # reading the sizes of 100,000 files takes its time
    def identity(self) -> dict:
        """What a checkpoint must share with this run to be continued by it."""
        return {**{k: v for k, v in self.config.items() if k not in FREE}, "data": self.competition.fingerprint()}

    @functools.cached_property  # as it was when the run began: the recipe may be edited while it trains
    def origin(self) -> dict:
        """The recipe, command and versions of this process."""
        return origin(self.world.device)

    def unfinished(self, wanted: int | Literal["all"]) -> Iterator[int]:
        """Those of `planned` that are not finished, one after the other, each held against a second run."""
        for fold in self.planned(wanted):
            if fold in self.finished():
                self.world.tell(f"fold {fold} is finished")
                self._check_recipe(fold)
                continue
            with self.lock(fold):
                freeze_folds(self.folder, fold, self.folds, self.world)
                self._check_recipe(fold)
                if wanted == "all":
                    self.world.tell(f"fold {fold}:")
                yield fold

    def _check_recipe(self, fold: int) -> None:
        """Keep what the fold's training begins with; later say so where the recipe's text has changed since."""
        path = self.fold_folder(fold) / "origin.json"
        if self.world.main and not (self.goes_on(fold) or path.with_name("finished.json").exists()):
            write_atomic(path, json.dumps(self.origin, indent=2) + "\n")
        elif _read_json(path).get("recipe", self.origin["recipe"]) != self.origin["recipe"]:
            self.world.tell(f"note: fold {fold} was begun before the recipe was edited; a new --run-dir trains it anew")

    def planned(self, wanted: int | Literal["all"]) -> Sequence[int]:
        """The folds asked for. Raises ValueError where there is no such fold."""
        folds = range(int(self.folds.max()) + 1)
        if wanted == "all":
            return folds
        if wanted not in folds:
            there = f"folds 0 to {folds[-1]}, or all" if len(folds) > 1 else "only fold 0, the data set's own split"
            raise ValueError(f"--fold {wanted}: there {'are' if len(folds) > 1 else 'is'} {there}")
        return [wanted]

    @contextlib.contextmanager
    def lock(self, fold: int) -> Iterator[None]:
        """Hold a fold's folder against a second run. Raises BlockingIOError when another holds it."""
        held = run_lock(self.fold_folder(fold), way_out=", or give this one another --run-dir")
        with held if self.world.main else contextlib.nullcontext():
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

    def loaders(
        self, fold: int, augment: Augmentation | None, batch_size: int, *, cache: bool = True, parts: int = 1
    ) -> tuple[DataLoader, DataLoader]:
        """What `fit` trains on and validates with: the pictures that `fold` leaves, augmented, and those it holds out.

        cache: keep the pictures at the network's size on the disk; at their own sizes they are read every time.
        parts: micro-batches a step.
        """
        read = sample_reader(self.competition, Resizing(self.size), cache_folder() if cache else None)
        held_out = SegmentationDataset(read, self.world.share(self.held_out(fold)))
        load = loading(self.workers, self.world)
        at_once = max(1, batch_size // (self.world.size * parts))  # as many as training holds in memory
        val_loader = DataLoader(held_out, at_once if self.size else 1, collate_fn=collate_samples, **load)
        train_set = SegmentationDataset(read, self.trained_on(fold), augment)
        return self.train_loader(train_set, batch_size, parts), val_loader

    def train_loader(self, samples: SegmentationDataset, batch_size: int, parts: int = 1) -> DataLoader:
        """This process's share of batches of `samples`, in an order that the seed and the epoch decide."""
        batches = EpochBatches(len(samples), batch_size, seed=self.seed, world=self.world, parts=parts)
        load = {"persistent_workers": self.workers > 0, **loading(self.workers, self.world)}
        return DataLoader(samples, batch_sampler=batches, collate_fn=collate_samples, **load)

    def new_state(
        self, fold: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema_decay: float | None = 0.999
    ) -> TrainState:
        """The fold's training before its first step, told from any other's, of another split too; see new_state."""
        held_out = hashlib.sha256("\n".join(self.held_out(fold)).encode()).hexdigest()[:16]
        return new_state(model, optimizer, self.dtype, {**self.identity, "fold": fold, "held out": held_out}, ema_decay)

    def settings(self, epochs: int, schedule: Callable[[float], float], clip: float = 1.0) -> Settings:
        """How `fit` trains on this machine and data. clip: the largest norm of the gradient."""
        return Settings(epochs, self.world, self.dtype, schedule, self.seed, self.competition.num_classes, clip)

    def goes_on(self, fold: int) -> bool:
        """Whether the fold's training was begun before, so that its network needs no weights to begin with."""
        return (self.fold_folder(fold) / "last.pt").exists()

    def history(self, fold: int) -> list[dict]:
        """The lines of the fold's metrics.jsonl."""
        return [json.loads(line) for line in (self.fold_folder(fold) / "metrics.jsonl").read_text().splitlines()]

    def load(self, fold: int, model: nn.Module) -> nn.Module:
        """Give `model` the weights that the fold's training ended with, on this run's device."""
        checkpoint.load_weights(self.fold_folder(fold) / "last.safetensors", model)
        return model.to(self.world.device)

    def load_stage(self, earlier: Path, fold: int, model: nn.Module) -> nn.Module:
        """Give `model` the weights that `fold` ended with in the run folder of an earlier stage of training.

        Raises FileNotFoundError while that fold is not finished; ValueError if it was trained on other data, lists or
        folds, for then it may have seen what is held out here.
        """
        if not (earlier / f"fold{fold}/finished.json").exists():
            raise FileNotFoundError(f"goes on from {earlier}, where fold {fold} is not finished: run that stage first")
        data = _read_json(earlier / "config.json").get("identity", {}).get("data")
        splits = [path / "folds.csv" for path in (earlier, self.folder)]
        if data != self.identity["data"] or not all(map(Path.exists, splits)) or digest(splits[0]) != digest(splits[1]):
            raise ValueError(
                f"{earlier} was trained on other data, lists or folds than this stage is scored on, so its network may "
                "have seen the held-out pictures. Give both stages the same flags for them"
            )
        checkpoint.load_weights(earlier / f"fold{fold}/last.safetensors", model)
        return model

    def finished(self) -> list[int]:
        """The folds that are trained, predicted and scored by this configuration, split and test-time augmentation."""
        return [k for k in self._scored() if self._finished_key(k) == self.prediction_key([k])]

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
        key = self.prediction_key([fold])
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
        for _ in self.predict([model], todo, lambda id, size, levels: self.store.write(id, levels)):
            pass
        self.world.wait()
        if self.world.main:
            ids, groups = self.held_out(fold), dict(zip(self.competition.ids, self.competition.groups, strict=True))
            score(self.competition, self.store, ids, [groups[id] for id in ids], fold).write(folder)
            done = {"key": key, "seconds": round(time.perf_counter() - started, 2)}
            write_atomic(folder / "finished.json", json.dumps(done))
        self.world.wait()

    def oof_masks(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Id, truth and out-of-fold prediction, u8 (H, W) each, of every held-out picture of the finished folds."""
        for id in [id for fold in self.finished() for id in self.held_out(fold)]:
            truth = self.competition.read_mask(id)
            yield id, truth, mask_at(self.store.read(id), truth.shape)

    def report(self, further: Callable[["Run"], dict[str, float]] | None = None) -> None:
        """Pool the finished folds: oof.csv, report.json, report.html, and a short table on the screen.

        further: gives scores of the recipe's own, by name.
        """
        if self.world.main:
            finished = self.finished()
            own = {"folds": finished, "scores": further(self) if further else {}}
            write_atomic(self.folder / "further.json", json.dumps(own, default=float))
            other = ", ".join(str(k) for k in self._scored() if k not in finished)
            if other:
                print(f"left out: fold {other}, predicted by other settings; run it again with these")
            print(report.summary(self.write_report()))
            print(f"report: {self.folder / 'report.html'}", flush=True)

    def scores(self) -> Scores:
        """Those of the finished folds, one after the other."""
        return Scores.join([Scores.read(self.fold_folder(fold)) for fold in self.finished()])

    def write_report(self) -> dict:
        """Write oof.csv, report.json and report.html anew; the content of report.json."""
        with run_lock(self.folder / "report.lock", wait=600):  # another fold may finish at the same time
            scores = self.scores()
            write_atomic(self.folder / "oof.csv", scores.images.to_csv(index=False))
            return report.write_report(self._results(scores), self.folder)

    def predict(
        self,
        models: Sequence[nn.Module],
        ids: Sequence[str],
        take: Callable[[str, tuple[int, int], np.ndarray], Result],
    ) -> Iterator[Result]:
        """What `take` makes of the id, original size and levels of each picture by the mean of `models`; see predict.

        The shape of a batch depends on the network's size, the views and the kind of device alone.
        """
        device = self.world.device
        count = pictures_at_once(self.tta, self.size, device) if self.size else 1
        batches = ImageBatches(
            self.competition, ids, Resizing(self.size), count, self.workers, pin=device.type == "cuda"
        )
        return predict(models, batches, self.tta, device, self.dtype, take, ahead=self.workers > 0)

    def prediction_key(self, folds: Sequence[int]) -> str:
        """A name for what decides a prediction and its score: weights, configuration, data, split, size, views."""
        weights = [digest(self.fold_folder(k) / "last.safetensors") for k in folds]
        rest = (self.identity, self.folds.tolist(), self.size, self.tta)
        return hashlib.sha256(repr((weights, rest)).encode()).hexdigest()[:16]

    def _split_notes(self) -> list[str]:
        """What the report must say of pictures that no fold holds out."""
        always = self.folds < 0
        if not always.any():
            return []
        groups = np.asarray(self.competition.groups)
        leaks = sorted(set(groups[always]) & set(groups[~always]))
        leak = f" Groups shared with the held-out ones: {', '.join(leaks[:5])} ({len(leaks)})." if leaks else ""
        return [f"The data set's own split: {always.sum()} images are in no fold and always trained on.{leak}"]

    def _results(self, scores: Scores) -> Results:
        folds = sorted({int(fold) for fold in scores.images["fold"]})
        history = {fold: self.history(fold) for fold in folds}
        lines = [line for fold in folds for line in history[fold]]
        begun = [_read_json(self.fold_folder(fold) / "origin.json") for fold in folds]
        origins = [*filter(None, begun), self.origin]
        scoring = [_read_json(self.fold_folder(fold) / "finished.json")["seconds"] for fold in folds]
        test, own = _read_json(self.folder / "test.json"), _read_json(self.folder / "further.json")
        further = own["scores"] if own.get("folds") == folds else {}  # else of fewer folds than are now there
        seconds = {
            "training": sum(line["seconds"] for line in lines),
            "waiting for pictures in training": sum(line["waited"] for line in lines),
            "validation after each epoch": sum(line["val_seconds"] for line in lines),
            "out-of-fold prediction and scoring": sum(scoring),
        } | ({f"prediction of {test['pictures']} test pictures": test["seconds"]} if test else {})
        return Results(
            title=self.name,
            drawn=self.competition.drawn,
            classes=self.competition.classes,
            notes=(*self.competition.notes, *self._split_notes()),
            further=further,
            command="\n".join(dict.fromkeys(one["command"] for one in origins)),
            config=self.config,
            versions=merged([one["versions"] for one in origins]),
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


def open_run(config: Config, competition: Dataset, make_folds: Callable[[], np.ndarray], tta: TTA, recipe: str) -> Run:
    """Check the flags and the data, make the folds once, and open the run folder. recipe: the script's __file__."""
    _check_flags(config)
    world = start(config.device)
    run = Run(
        folder=config.run_dir,
        name=Path(recipe).stem,
        competition=competition,
        folds=keep_folds(config.run_dir, competition, world, make_folds),
        config=plain(config),
        tta=tta,
        size=config.image_size,
        world=world,
        dtype=best_dtype(world.device),
        workers=default_workers(world.device, config.workers),
        seed=config.seed,
    )
    run.planned(config.fold)  # before config.json is written
    run.begin()
    return run


def _check_flags(config: Config) -> None:
    """Raise ValueError listing the flags whose number is below one."""
    flags = {name: value for name, value in vars(config).items() if name in COUNTS and value is not None}
    low = [f"--{name.replace('_', '-')} {value}" for name, value in flags.items() if np.min(value) < 1]
    if low:
        raise ValueError(f"{', '.join(low)}: a number of one or more is needed")


def _read_json(path: Path) -> dict:
    """The file's content, {} where it is absent. Raises ValueError naming a damaged file."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); delete it and run the same command again") from error
