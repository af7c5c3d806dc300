"""The averages of a run's epochs as networks, and what they score on held-out images: see soup.py."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from kit.data.dataset import Dataset
from kit.data.samples import ImageBatches
from kit.prediction.predictor import Predictor, Take
from kit.prediction.saved import load_network, network_maker, predictor_of
from kit.prediction.store import Store
from kit.runs.finished import FinishedRun
from kit.runs.view_stores import COMPARED, check_same
from kit.scoring.crossfit import score_of
from kit.scoring.metrics import check_counts
from kit.system.files import spread
from kit.system.run_folder import Fold, fold_name, is_full
from kit.training.averages import kept_path, mean_weights, renew_batch_norm
from kit.training.checkpoint import check_fit
from kit.training.loaders import default_workers
from kit.training.loop import best_dtype
from kit.training.processes import choose_device

AT_ONCE, SEEN = 8, 256  # images in a batch and images in all, of which batch normalisation takes its statistics
Epochs = tuple[int, ...]  # that are averaged; (): the run's own weights


class Averages:
    """The averages of a run's epochs on one device. images: as training reads them. known: counts by epochs."""

    def __init__(self, run: FinishedRun, images: Dataset, device: str = "auto") -> None:
        self.run, self.images, self.device = run, images, choose_device(device)
        self.known: dict[Epochs, np.ndarray] = {(): run.scores.counts}
        self._make, self._groups = network_maker(run.folder, run.saved), _folds_of_all(run.folder)

    def check(self) -> None:
        """Raise ValueError unless the run's own weights give the levels that it has kept."""
        fold = self.run.folds[0]
        network = load_network(self.run.folder, fold, self.run.saved).to(self.device)
        check_same(self.run, self.images, spread(self.held_out(fold), COMPARED), [network])

    def counts(self, epochs: Epochs) -> np.ndarray:
        """The metric's counts f64 (n, M) of the held-out images, each by the average of its fold."""
        if epochs not in self.known:
            found = {}
            for fold in self.run.folds:
                found |= self._counted(fold, self.network(fold, epochs))
            self.known[epochs] = check_counts(self.run.metric, [found[id] for id in self.run.ids], self.run.ids)
        return self.known[epochs]

    def best_of(self, epochs: Epochs, rows: np.ndarray) -> Epochs:
        """The best average on the images whose places are `rows`; of equal ones the first that is tried."""

        def value(one: Epochs) -> float:
            found = float(score_of(self.run.metric)(self.counts(one)[rows].sum(axis=0)))
            return -np.inf if np.isnan(found) else found

        order = sorted(epochs, key=lambda epoch: (-value((epoch,)), -epoch))  # the best first, then the latest
        greedy = (order[0],)
        for epoch in order[1:]:
            more = tuple(sorted((*greedy, epoch)))
            if value(more) >= value(greedy):
                greedy = more
        uniform = [epochs[-count:] for count in range(1, len(epochs) + 1)]
        return max([(), *uniform, *((epoch,) for epoch in order), greedy], key=value)

    def network(self, fold: Fold, epochs: Epochs) -> nn.Module:
        """The average of a fold with batch normalisation computed anew; of () the network as it predicts."""
        folder = self.run.folder / fold_name(fold)
        if not epochs:
            return load_network(self.run.folder, fold, self.run.saved).to(self.device)
        network, paths = self._make(), [kept_path(folder, epoch) for epoch in epochs]
        tensors = mean_weights(paths)
        check_fit(network, tensors, paths[0])
        network.load_state_dict(tensors)
        network = network.to(self.device).eval()
        if len(epochs) > 1:  # one epoch has its own statistics
            predictor = predictor_of(self.run.saved, [network])
            renew_batch_norm(network, self._batches(fold, predictor), predictor.networks[0])
        return network.eval()

    def predict(self, network: nn.Module, images: Dataset, ids: Sequence[str], store: Store) -> None:
        """Keep what a network predicts of some images, as the run predicts."""
        for _ in self._stream(network, images, ids, lambda id, _, levels: store.write(id, levels)):
            pass

    def held_out(self, fold: Fold) -> list[str]:
        """The ids that a fold holds out."""
        return [id for id, own in zip(self.run.ids, self.run.fold_of, strict=True) if own == fold]

    def _batches(self, fold: Fold, predictor: Predictor) -> Iterator[Tensor]:
        """Normalised training images of a fold, without augmentation."""
        there, frame = {*self.images.ids}, predictor.frame
        ids = [id for id, own in self._groups.items() if (is_full(fold) or own != fold) and id in there]
        count = AT_ONCE if frame.resizing.size else 1
        for batch in ImageBatches(self.images, spread(ids, SEEN), frame.resizing, count):
            if batch.ids:
                yield frame.normalise(batch.images[: len(batch.ids)].to(self.device))

    def _counted(self, fold: int, network: nn.Module) -> dict[str, np.ndarray]:
        def count(id: str, _: tuple[int, int], levels: np.ndarray) -> tuple[str, np.ndarray]:
            truth = self.run.truth(id)
            return id, np.asarray(self.run.metric.counts(truth, self.run.rule.mask(levels, truth.shape[:2])), float)

        return dict(self._stream(network, self.images, self.held_out(fold), count))

    def _stream(self, network: nn.Module, images: Dataset, ids: Sequence[str], take: Take) -> Iterator:
        predictor = predictor_of(self.run.saved, [network], best_dtype(self.device))
        return predictor.stream(images, ids, take, default_workers(self.device, None))


def _folds_of_all(folder: Path) -> dict[str, int]:
    """The fold of each image by id, -1 for one that is never held out."""
    with (folder / "folds.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: int(row["fold"]) for row in csv.DictReader(file)}
