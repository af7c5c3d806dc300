"""Predictions of the test images by several folds' networks: made anew, or kept fold by fold."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kit.prediction.predictor import Take, UnreadableImages
from kit.prediction.slides import mean_of_levels, store_of, stream
from kit.prediction.store import Store
from kit.runs.oof import prediction_key, predictor
from kit.runs.run import Run
from kit.runs.training import load
from kit.submission.competition import Competition
from kit.system.files import digest, short_hash, write_atomic
from kit.system.run_folder import Fold, fold_name, is_full, read_json
from kit.system.threads import Result

SIZES = "test/sizes.csv"  # id,height,width of the test images, beside kept predictions of them
STORES = "test_stores.json"  # {fold: the folder of its predictions by the settings, networks and test images of now}


@dataclass(frozen=True)
class TestPredictions:
    """The mean of the levels of the networks of `folds`.

    tests: the fingerprint of the test images. network(): the architecture, without weights. keep: store the levels of
    every fold's network in runs/<run>/test/fold<k>-<weights>-<key>/, so that a further fold, or blending, needs no
    network that predicted before.
    """

    run: Run
    competition: Competition
    tests: str
    folds: Sequence[Fold]
    network: Callable[[], nn.Module]
    keep: bool = False

    def stream(self, ids: Sequence[str], take: Take) -> Iterator[Result]:
        """take(id, (height, width), levels) of each image. Raises UnreadableImages at the end, as Predictor.stream."""
        if not ids:
            return iter(())
        if self.keep:
            return self._from_stores(ids, take)
        networks = [load(self.run, fold, self.network()) for fold in self.folds]
        return stream(predictor(self.run, networks), self.competition.dataset, ids, take, self.run.workers)

    def store(self, fold: Fold) -> Store:
        """Where the predictions of a fold's network are kept; another network or other files have another folder."""
        weights = digest(self.run.fold_folder(fold) / "last.safetensors")[:8]
        key = short_hash((prediction_key(self.run, [fold]), self.run.origin["recipe"], self.tests))
        folder = self.run.folder / "test" / f"{fold_name(fold)}-{weights}-{key}"
        return store_of(self.competition.dataset, folder, self.run.channels, self.run.rule)

    def lacking(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` of which a prediction is to be kept and is not there; none where none are kept."""
        lacking = {id for fold in self.folds for id in self.store(fold).missing(ids)} if self.keep else set()
        return [id for id in ids if id in lacking]

    def fill(self, ids: Sequence[str]) -> None:
        """Predict and keep what is lacking of `ids`, where predictions are kept; unreadable images are left out."""
        if self.keep:
            self._fill_stores(ids)

    def passes(self, ids: Sequence[str]) -> int:
        """How many predictions of one network of one image `ids` still need."""
        return sum(len(self.store(fold).missing(ids)) if self.keep else len(ids) for fold in self.folds)

    def write_sizes(self, unreadable: Collection[str]) -> None:
        """Keep the sizes of the test images beside their predictions, so that masks need no image later."""
        ids = [id for id in self.competition.test_ids if id not in unreadable]
        rows = [(id, *self.competition.dataset.shape(id)[:2]) for id in ids]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("id", "height", "width"), *rows])
        write_atomic(self.run.folder / SIZES, text.getvalue())

    def name_stores(self) -> None:
        """Note which folders hold, or would hold, the predictions of now: others are of other views or test images."""
        named = {str(fold): self.store(fold).folder.name for fold in self.folds if not is_full(fold)}
        kept = read_json(self.run.folder / STORES)
        if {**kept, **named} != kept:
            write_atomic(self.run.folder / STORES, json.dumps({**kept, **named}))

    def forget_older(self) -> None:
        """Remove what networks predicted whose folds have other weights now."""
        for fold in self.folds:
            own = self.store(fold).folder
            for folder in own.parent.glob(f"{fold_name(fold)}-*"):
                if folder.name.split("-")[1] != own.name.split("-")[1]:
                    shutil.rmtree(folder, ignore_errors=True)  # another process may do it too

    def _from_stores(self, ids: Sequence[str], take: Take) -> Iterator[Result]:
        unreadable = self._fill_stores(ids)
        stores = [self.store(fold) for fold in self.folds]
        for id in ids:
            if id not in unreadable:
                levels = mean_of_levels([store.read(id) for store in stores], self.run.rule)
                yield take(id, self.competition.dataset.shape(id), levels)
        if unreadable:
            raise UnreadableImages(unreadable)

    def _fill_stores(self, ids: Sequence[str]) -> dict[str, str]:
        """Predict what the stores lack, fold by fold. Returns the problems of images that cannot be read, by id."""
        unreadable = {}
        for fold in self.folds:
            store = self.store(fold)
            missing = store.missing(ids)
            if not missing:
                continue
            predict = predictor(self.run, [load(self.run, fold, self.network())])
            try:
                for _ in stream(predict, self.competition.dataset, missing, _keeper(store), self.run.workers):
                    pass
            except UnreadableImages as error:
                unreadable |= error.problems
        return unreadable


def read_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """The sizes (height, width) of the test images of a run folder, by id; {} where none are kept."""
    path = folder / SIZES
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: (int(row["height"]), int(row["width"])) for row in csv.DictReader(file)}


def _keeper(store: Store) -> Take:
    return lambda id, size, levels: store.write(id, levels)
