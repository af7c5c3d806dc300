"""Predictions of the test images by several folds' networks: made anew, or kept fold by fold."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from kit.data.dataset import Dataset
from kit.prediction.levels import mean_levels
from kit.prediction.predictor import Take, UnreadableImages
from kit.prediction.store import Store
from kit.runs.oof import prediction_key, predictor
from kit.runs.provenance import short_hash
from kit.runs.run import Run
from kit.runs.training import load
from kit.system.threads import Result


@dataclass(frozen=True)
class TestPredictions:
    """The mean of the levels of the networks of `folds`.

    network(): the architecture, without weights. keep: store the levels of every fold's network in
    runs/<run>/test/fold<k>-<key>/, so that a further fold, or blending, needs no network that predicted before.
    """

    run: Run
    dataset: Dataset
    folds: Sequence[int]
    network: Callable[[], nn.Module]
    keep: bool = False

    def stream(self, ids: Sequence[str], take: Take) -> Iterator[Result]:
        """take(id, (height, width), levels) of each image. Raises UnreadableImages at the end, as Predictor.stream."""
        if not ids:
            return iter(())
        if self.keep:
            return self._from_stores(ids, take)
        networks = [load(self.run, fold, self.network()) for fold in self.folds]
        return predictor(self.run, networks).stream(self.dataset, ids, take, self.run.workers)

    def store(self, fold: int) -> Store:
        """Where the predictions of a fold's network are kept; another network or other files have another folder."""
        key = f"{prediction_key(self.run, [fold])}-{short_hash(self.dataset.test_fingerprint())}"
        return Store(self.run.folder / "test" / f"fold{fold}-{key}", self.run.channels)

    def _from_stores(self, ids: Sequence[str], take: Take) -> Iterator[Result]:
        unreadable = self._fill_stores(ids)
        stores = [self.store(fold) for fold in self.folds]
        for id in ids:
            if all(id in store for store in stores):
                yield take(id, self.dataset.shape(id), mean_levels([store.read(id) for store in stores]))
        if unreadable:
            raise unreadable

    def _fill_stores(self, ids: Sequence[str]) -> UnreadableImages | None:
        """Predict what the stores lack, fold by fold; the images that cannot be read, None if all can."""
        unreadable = None
        for fold in self.folds:
            store = self.store(fold)
            missing = [id for id in ids if id not in store]
            if not missing:
                continue
            predict = predictor(self.run, [load(self.run, fold, self.network())])
            try:
                for _ in predict.stream(self.dataset, missing, _keeper(store), self.run.workers):
                    pass
            except UnreadableImages as error:
                unreadable = error
        return unreadable


def _keeper(store: Store) -> Take:
    return lambda id, size, levels: store.write(id, levels)
