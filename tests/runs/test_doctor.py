"""The label doctor on a finished run: labels that were spoilt on purpose are named, and no others."""

import csv
import json

import numpy as np
import pytest
from any_data import Shapes, nearest_colour, run_recipe
from tasks_data import Overlapping
from tiny import tiny_network
from tiny_run import finished_run

from kit.cli.audit import Audit
from kit.losses import bce_dice, cross_entropy
from kit.prediction.store import Store
from kit.report.of_run import write_run_report
from kit.runs import read_run
from kit.runs.allowed import keep_reason
from kit.runs.doctor import COLUMNS, doctor, write_labels
from kit.scoring.contradictions import contradictions


def sure(truth):
    """Levels of a network that agrees with the truth and is sure."""
    return np.where(truth > 0, 250, 4).astype(np.uint8)[None]


@pytest.fixture
def run(tmp_path):
    run = finished_run(tmp_path / "mine")
    for id in run.dataset.ids:
        run.store.write(id, sure(run.dataset.read_mask(id)))
    return run


def test_regions_are_where_confident_predictions_contradict():
    truth = np.zeros((60, 80), np.uint8)
    truth[10:30, 10:30] = 1
    probs = np.zeros((3, 60, 80), np.float32)
    probs[0] = 1 - truth
    probs[1] = truth
    assert contradictions(truth, probs) == []
    probs[:, 40:56, 40:60] = np.array([0.02, 0.03, 0.95])[:, None, None]  # not labelled
    probs[:, 10:30, 10:20] = np.array([0.0, 0.05, 0.95])[:, None, None]  # labelled 1, looks like 2
    probs[:, 0:3, :] = np.array([0.0, 1.0, 0.0])[:, None, None]  # a thin strip
    probs[:, 50:60, 0:20] = np.array([0.3, 0.7, 0.0])[:, None, None]  # not sure
    found = contradictions(truth, probs)
    assert [(one.labelled, one.predicted) for one in found] == [(0, 2), (1, 2)]
    np.testing.assert_allclose(found[0].box, (40 / 60, 40 / 80, 16 / 60, 20 / 80))
    np.testing.assert_allclose(found[0].score, 0.93 * np.sqrt(16 * 20 / 4800), rtol=1e-5)
    truth[:] = 255
    assert contradictions(truth, probs) == []
    with pytest.raises(ValueError, match="differ in height or width"):
        contradictions(truth[1:], probs)


def test_spoilt_labels_are_the_only_ones_in_doubt(run, tmp_path):
    assert doctor(read_run(run.folder)) == []
    missing, extra = run.held_out(0)[0], run.held_out(1)[2]
    disc = run.dataset.read_mask(missing) > 0
    size = run.dataset.size
    store = Store(run.folder / "oof")
    store.write(missing, sure(np.zeros(size, np.uint8)))  # the network sees no disc where one is labelled
    more = run.dataset.read_mask(extra).copy()
    more[:14, -14:] = 1
    store.write(extra, sure(more))
    found = doctor(read_run(run.folder))
    regions = [one for one in found if one.kind != "image"]
    assert {(one.id, one.kind, one.labelled, one.predicted) for one in regions} == {
        (missing, "extra", "disc", "blue"),
        (extra, "missing", "blue", "disc"),
    }
    rows, columns = np.nonzero(disc)
    box = next(one.box for one in regions if one.id == missing)
    expected = (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
    np.testing.assert_allclose(box, expected, atol=3)
    assert [one.id for one in found if one.kind == "image"] == sorted(
        [missing, extra], key=lambda id: -_best(found, id)
    )
    write_labels(found, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert [(row["id"], row["kind"]) for row in table] == [(one.id, one.kind) for one in found]


@pytest.mark.parametrize(
    ("dataset", "network", "loss"),
    [
        (Shapes(), nearest_colour, cross_entropy),
        pytest.param(Overlapping(3), lambda: tiny_network(3), bce_dice, marks=pytest.mark.slow),
    ],
    ids=["multiclass", "multilabel"],
)
def test_each_class_that_is_predicted_elsewhere_is_in_doubt(dataset, network, loss, tmp_path):
    run = run_recipe(dataset, tmp_path, network, loss)
    found = read_run(run.folder)
    store, classes = Store(run.folder / "oof", len(dataset.classes)), len(dataset.classes)
    for id in found.ids:
        truth = found.truth(id)
        layers = truth if truth.ndim == 3 else truth[..., None] == np.arange(classes)
        store.write(id, np.where(np.moveaxis(layers, 2, 0), 252, 1).astype(np.uint8))
    assert doctor(found) == []
    id = found.ids[0]
    levels = store.read(id)
    levels[:, :12, :12] = np.array([1] * (classes - 1) + [254], np.uint8)[:, None, None]
    store.write(id, levels)
    regions = [one for one in doctor(found) if one.kind != "image"]
    truth = found.truth(id)[:12, :12]
    expected = not truth[..., -1].all() if truth.ndim == 3 else (truth != classes - 1).any()
    assert expected
    assert {one.predicted for one in regions} >= {dataset.classes[-1]}
    assert {one.id for one in regions} == {id}


def test_the_command_writes_doubts_and_draws_them(run, capsys, tmp_path):
    Store(run.folder / "oof").write(run.dataset.ids[0], sure(np.zeros(run.dataset.size, np.uint8)))
    assert Audit(str(run.folder), json=True, out=tmp_path / "audit").run() == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["kind"]) for one in facts["labels"]] == [
        (run.dataset.ids[0], "image"),
        (run.dataset.ids[0], "extra"),
    ]
    page = (tmp_path / "audit/audit.html").read_text()
    assert f"{run.dataset.ids[0]}: a region of" in page
    assert page.count('src="data:image/jpeg') == 2  # truth and prediction
    assert len((tmp_path / "audit/labels.csv").read_text().splitlines()) == 3
    assert Audit(of_run=run.folder).run() == 0
    assert "is predicted blue" in capsys.readouterr().out


def test_an_allowed_leak_is_a_note_of_the_report(run):
    keep_reason(run.folder, "both show one car", ["car0_01 and car1_02 (fold 0 and fold 1): a copy (mirrored)"])
    write_run_report(run)
    assert "The reason given: both show one car. Found: car0_01 and car1_02" in (run.folder / "report.html").read_text()


def _best(found, id):
    return max(one.score for one in found if one.id == id)
