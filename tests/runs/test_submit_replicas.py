"""A run on each drawn competition, up to its CSV: the lint accepts it, and it holds the masks that were predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from replicas import DRAW
from replicas.shared import BY_SIZE, drawn, open_folder
from tiny_run import ALONE, keep_trained, new_run
from torch import nn

from kit.data.normalise import Normalisation
from kit.data.resize import Resizing
from kit.folds.keeping import keep_folds
from kit.prediction import Frame
from kit.runs import Submission, load, predict_oof, submit
from kit.runs.oof import predictor
from kit.runs.run import begin
from kit.submission import Competition, errors_of, lint, read_rows, rle

SIZE = (48, 64)  # of the network
CENTRES = {"uint8": (0.5, 0.2), "uint16": (0.05, 0.05), "float32": (260.0, 15.0)}


def sharp_network(channels, outputs, seed=0):
    """One convolution whose logits are large, both ways."""
    torch.manual_seed(seed)
    model = nn.Conv2d(channels, outputs, 5, padding=2)
    with torch.no_grad():
        model.weight *= 8
        model.bias += torch.linspace(-1, 1, outputs)
    return model


def finished_run(folder, data):
    """A run of two folds, as if trained."""
    mean, std = ([number] * len(data.channels) for number in CENTRES[data.read_image(data.ids[0]).dtype.name])
    run = new_run(folder, data, frame=Frame(Resizing(SIZE), normalise=Normalisation(tuple(mean), tuple(std))))
    keep_folds(folder, data, ALONE, lambda: run.folds)
    begin(run)

    def network():
        return sharp_network(len(data.channels), run.channels)

    for fold in (0, 1):
        keep_trained(run, fold, sharp_network(len(data.channels), run.channels, seed=fold))
        predict_oof(run, fold, network)
    return run, network


def decoded(csv, replica):
    """{id: {class: [mask]}} of a CSV."""
    dialect, found = replica.dialect, {}
    for cells in read_rows(csv, dialect):
        id, index, text = dialect.parse(cells)
        mask = rle.decode(text, dialect.mask_size(replica.shape(id)), dialect.order)
        found.setdefault(id, {}).setdefault(index or 1, []).append(mask)
    return found


@pytest.mark.parametrize("name", BY_SIZE)
def test_the_csv_holds_the_predicted_masks(name, tmp_path):
    replica = DRAW["hubmap"](tmp_path / "data", paged=False) if name == "hubmap" else drawn(name)
    data = open_folder(replace(replica, groups=None))
    run, network = finished_run(tmp_path / "tiny", data)
    competition = Competition(data, replica.dialect, data.test_ids, sample_csv=replica.sample_csv)
    csv = submit(run, Submission(competition, folder=tmp_path), network)
    assert errors_of(lint(csv, competition)) == []
    found = decoded(csv, replica)
    assert sorted(found) == sorted(replica.hidden)
    networks, filled = [load(run, fold, network()) for fold in (0, 1)], 0
    for id, levels in predictor(run, networks).stream(data, data.test_ids, lambda id, size, levels: (id, levels), 0):
        mask = run.rule.mask(levels, replica.dialect.mask_size(replica.shape(id)))
        filled += mask.any() and not mask.all()
        if replica.task == "instances":
            objects = [each for each in found[id][1] if each.any()]
            assert len(objects) == len(np.unique(mask[mask > 0]))
            for each in objects:
                (number,) = np.unique(mask[each > 0])
                assert ((mask == number) == each).all()
        else:
            layers = np.moveaxis(mask, 2, 0) if replica.task == "multilabel" else [mask]
            for index, layer in enumerate(layers, start=1):
                (row,) = found[id][index]
                assert (row == layer).all()
    assert filled  # some masks are neither empty nor full
