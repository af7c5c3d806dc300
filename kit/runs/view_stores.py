"""Out-of-fold predictions with other views than the run's own, kept so that views can be tuned.

    runs/<run>/views/<set>/ID.png        levels of a held-out image with a set of views, as oof/ holds the run's own
    runs/<run>/views/<set>/folds.json    {fold: a name of the weights and code that predicted}

Each set is predicted as kit predict does it: the same networks, batches and steps, so a score that is measured here is
that of the CSV. A set costs as many forward passes as it has views, and as much disk as oof/.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kit.data.dataset import Dataset
from kit.datasets.images_alone import open_images
from kit.datasets.names import nfc
from kit.prediction.chosen import chosen_on
from kit.prediction.rule import channels_of
from kit.prediction.saved import load_network, predictor_of
from kit.prediction.store import Store
from kit.prediction.views import TTA, VIEWS
from kit.runs.finished import FinishedRun
from kit.system.files import counted, list_some, spread, write_atomic
from kit.system.run_folder import read_json
from kit.training.loaders import default_workers
from kit.training.loop import best_dtype
from kit.training.processes import choose_device

FOLDER, FOLDS = "views", "folds.json"
COMPARED, DIFFER = 4, 1.0  # images of a fold, and levels on average by which they may differ


def view_sets(names: Sequence[str], scales: Sequence[float] = ()) -> list[TTA]:
    """The sets of views of VIEWS by name; with scales each set also at all of these and 1 together."""
    sizes = tuple(sorted({1.0, *scales}))
    return [TTA(VIEWS[name], own) for own in dict.fromkeys([(1.0,), sizes]) for name in names]


def set_name(tta: TTA) -> str:
    """The name of a set's folder: d4, hflip_0.75_1.0."""
    name = next(name for name, views in VIEWS.items() if views == tta.views)
    return name if tta.scales == (1.0,) else "_".join([name, *map(str, tta.scales)])


def predict_views(run: FinishedRun, images: Path, wanted: Sequence[TTA], device: str = "auto") -> list[Path]:
    """Predict the held-out images with each set of views; resumes. The folders of the sets.

    images: the folder or zip of the run's training images. wanted: of view_sets; the run's own views are in oof/, and
    need no folder. It executes the Python that the run folder keeps in `code`. Raises ValueError where images are
    missing, cannot be read, or are not read as the run's data set reads them; for slides too.
    """
    if run.has_slides:
        raise ValueError(f"{run.folder} holds predictions of slides, whose views are not tuned")
    others = [tta for tta in dict.fromkeys(wanted) if tta != run.saved.tta]
    channels = channels_of(run.task, run.rule)
    stores = {tta: Store(run.folder / FOLDER / set_name(tta), channels, run.rule) for tta in others}
    for store in stores.values():
        _forget_stale(run, store)
    todo = {tta: set(store.missing(run.ids)) for tta, store in stores.items()}
    if any(todo.values()):
        dataset, target = open_training_images(run, images), choose_device(device)
        for fold in run.folds:
            ids = [id for id, own in zip(run.ids, run.fold_of, strict=True) if own == fold]
            network = load_network(run.folder, fold, run.saved).to(target)
            check_same(run, dataset, spread(ids, COMPARED), [network])
            for tta, store in stores.items():
                left = [id for id in ids if id in todo[tta]]
                _predict(run, dataset, left, [network], tta, store, f"fold {fold}, {tta}")
    return [store.folder for store in stores.values()]


def open_training_images(run: FinishedRun, images: Path) -> Dataset:
    """The images below a folder, or in a zip, as the run reads them. Raises ValueError where held-out ones lack."""
    dataset = open_images(images, run.saved.channels, run.saved.dtype, run.saved.images)
    there = {nfc(id) for id in dataset.ids}
    if lost := [id for id in run.ids if nfc(id) not in there]:
        raise ValueError(
            f"{images} lacks {counted(len(lost), 'image')} that {run.folder} has held out:{list_some(lost, 5)}\n"
            "Give the folder, or the zip, of the images that the run was trained on"
        )
    return dataset


def _forget_stale(run: FinishedRun, store: Store) -> None:
    """Remove what other weights or code predicted, and note whose predictions the store holds."""
    path, own = store.folder / FOLDS, {str(fold): chosen_on(run.folder, [fold]) for fold in run.folds}
    kept = read_json(path)
    stale = {fold for fold in own if kept.get(fold) != own[fold]}
    store.forget([id for id, fold in zip(run.ids, run.fold_of, strict=True) if str(fold) in stale])
    if stale:
        write_atomic(path, json.dumps({**kept, **own}))


def _predict(
    run: FinishedRun, dataset: Dataset, ids: Sequence[str], networks: list, tta: TTA, store: Store, what: str
) -> None:
    device = next(networks[0].parameters()).device
    predictor = predictor_of(run.saved, networks, best_dtype(device), tta)
    stream = predictor.stream(
        dataset, ids, lambda id, _, levels: store.write(id, levels), default_workers(device, None)
    )
    for _ in tqdm(stream, what, total=len(ids), leave=False, disable=None):
        pass


def check_same(run: FinishedRun, dataset: Dataset, ids: Sequence[str], networks: list) -> None:
    """Raise ValueError unless the run's own views give the levels that the run has kept."""
    device = next(networks[0].parameters()).device
    predictor = predictor_of(run.saved, networks, best_dtype(device))
    for id, levels in predictor.stream(dataset, ids, lambda id, _, levels: (id, levels)):
        kept = run.levels(id)
        if run.rule.detected:  # numbers of objects may change places where scores are near one another
            levels, kept = levels[:1], kept[:1]
        differ = np.abs(levels.astype(float) - kept).mean() if levels.shape == kept.shape else np.inf
        if differ > DIFFER:
            raise ValueError(
                f"the network of {run.folder} gives other predictions of {id} than the run has kept: levels differ by "
                f"{differ:.1f} of 256 on average. The images there are other files, or the run's data set reads them "
                "by code of its own, which only its recipe has"
            )
