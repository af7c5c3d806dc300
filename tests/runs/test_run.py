import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import TinyDataset, tiny_network
from tiny_run import ALONE, SIZE, finish_two_folds, flags, frame, mask_by_hand, new_run, train

import kit
from kit.data.check import check_dataset, data_identity
from kit.folds.keeping import keep_folds
from kit.prediction import TTA
from kit.report.of_run import report
from kit.runs import Count, Free, Weights, oof_masks, open_run, predict_oof, provenance, unfinished
from kit.runs.flags import read_flags
from kit.runs.folds import lock
from kit.runs.oof import finished
from kit.runs.run import begin
from kit.runs.training import new_fold_state
from kit.scoring.confusion import confusion_matrix, foreground_scores
from kit.system.files import write_atomic
from kit.training import adamw
from kit.training.state import resume, save


def test_config_says_what_was_asked_of_what_with_what(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["a recipe.py", "--lr", "0.1"])
    run = new_run(tmp_path, config={"image_size": [3, 4], "lr": 0.1, "workers": 2})
    begin(run)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["config"] == {"image_size": [3, 4], "lr": 0.1, "workers": 2}
    assert written["identity"].items() >= {"image_size": [3, 4], "lr": 0.1, "frame.resizing.size": "[24, 40]"}.items()
    assert written["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"commit", "python", "numpy", "device"} <= written["versions"].keys()
    assert written["command"].endswith(" 'a recipe.py' --lr 0.1")
    begin(run)  # the same again


def checkpoint_of(folder):
    """A fold in training, as far as the run folder can tell."""
    (folder / "fold0").mkdir()
    (folder / "fold0/last.pt").write_bytes(b"")


def test_a_package_that_goes_by_another_name_stops_no_run(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.setattr(provenance, "_version", provenance._version.__wrapped__)
    assert provenance.versions(torch.device("cpu"))["torch"] == "unknown"


def test_before_a_checkpoint_there_is_nothing_to_mix_up_and_a_mistyped_flag_can_be_mended(tmp_path):
    config, dataset = {"lr": 0.1, "folds": 2}, TinyDataset()
    for k in (2, 4):
        folds = keep_folds(tmp_path, dataset, ALONE, lambda k=k: np.arange(12) // 3 % k)
        begin(new_run(tmp_path, config=config | {"folds": k}))
        assert folds.max() == k - 1
    assert json.loads((tmp_path / "config.json").read_text())["config"]["folds"] == 4
    assert pd.read_csv(tmp_path / "folds.csv")["fold"].max() == 3


def test_a_run_goes_on_with_other_hardware_but_no_other_numbers(tmp_path):
    config = {"lr": 0.1, "fold": 0, "workers": 0}
    begin(new_run(tmp_path, config=config))
    checkpoint_of(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"config\.json was made by another configuration \(then -> now\): lr 0\.1 -> 0\.2"
    ):
        begin(new_run(tmp_path, config=config | {"lr": 0.2}))
    with pytest.raises(ValueError, match=r"data\.images and masks \w+ -> \w+"):
        begin(new_run(tmp_path, TinyDataset(size=(45, 62)), config=config))
    assert (tmp_path / "config.json").read_bytes() == before
    begin(new_run(tmp_path, TinyDataset(tests=6), config=config))  # test images may come later
    other = config | {"fold": "all", "workers": 3}
    begin(new_run(tmp_path, config=other))
    assert json.loads((tmp_path / "config.json").read_text())["config"] == other


def test_a_checkpoint_of_another_split_is_refused(tmp_path):
    """Else the fold would be scored on pictures that its network has learnt."""
    run, model = new_run(tmp_path), tiny_network()
    save(new_fold_state(run, 0, model, adamw(model, lr=0.1)), run.fold_folder(0), ALONE)
    resume(new_fold_state(run, 0, model, adamw(model, lr=0.1)), run.fold_folder(0))
    swapped = dataclasses.replace(run, folds=1 - run.folds)
    with pytest.raises(ValueError, match=r"last\.pt was made by another configuration .*held out \w+ -> \w+"):
        resume(new_fold_state(swapped, 0, model, adamw(model, lr=0.1)), run.fold_folder(0))


@dataclasses.dataclass(frozen=True)
class Config:
    run_dir: Path
    fold: int = 0
    epochs: Count = 1
    batch_size: Count = 2
    image_size: tuple[Count, Count] | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int | None = 0
    encoder_weights: Weights = "none"
    tta: Free[str] = "none"
    scales: Free[tuple[float, ...]] = (1.0,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": -1, "image_size": (0, 8)}, "--batch-size -1, --image-size 0 8"),
    ],
)
def test_numbers_below_one_are_refused(tmp_path, wrong, said):
    config = dataclasses.replace(Config(tmp_path), **wrong)
    with pytest.raises(ValueError, match=f"{said}: expected 1 or more"):
        open_run(config, TinyDataset(), list, frame(), TTA(), "tiny.py")
    assert not list(tmp_path.iterdir())


def test_a_recipe_marks_which_flags_decide_a_number(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    (tmp_path / "b.pth").write_bytes(b"weights")
    (tmp_path / "c.pth").write_bytes(b"others")
    found = [read_flags(Config(tmp_path, encoder_weights=str(tmp_path / f"{name}.pth"))) for name in "abc"]
    assert found[0].identity == found[1].identity != found[2].identity  # by content, not by path
    assert found[0].values != found[1].values
    fixed = {"epochs", "batch_size", "image_size", "seed", "encoder_weights"}
    assert set(found[0].identity) == set(found[0].defaults) == fixed
    assert found[0].defaults == {
        "epochs": 1, "batch_size": 2, "image_size": None, "seed": 0, "encoder_weights": "none"
    }  # fmt: skip
    free = dataclasses.replace(Config(tmp_path), tta="d4", scales=(1.0, 2.0), device="cuda", fold=3, workers=2)
    assert read_flags(free).identity == read_flags(Config(tmp_path)).identity


def test_a_run_of_before_a_flag_is_resumed_where_the_flag_has_its_default(tmp_path):
    old = new_run(tmp_path)
    begin(old)
    checkpoint_of(tmp_path)
    values = {**old.flags.identity, "label_smoothing": 0.0}
    newer = dataclasses.replace(old.flags, identity=values, defaults={"label_smoothing": 0.0, "lr": 7})
    begin(dataclasses.replace(old, flags=newer))
    other = dataclasses.replace(newer, identity={**values, "label_smoothing": 0.1})
    with pytest.raises(ValueError, match=r"label_smoothing 0\.0 -> 0\.1\. Go back"):
        begin(dataclasses.replace(old, flags=other))


def test_folds_are_made_once_and_kept(tmp_path):
    dataset = SimpleNamespace(ids=["007", "NA", "a,b", "x"], groups=["1", "1", "null", "02"])
    made = keep_folds(tmp_path, dataset, ALONE, lambda: np.array([0, 0, 1, 0]))
    assert made.tolist() == [0, 0, 1, 0]
    assert (tmp_path / "folds.csv").read_text() == 'id,group,fold\n007,1,0\nNA,1,0\n"a,b",null,1\nx,02,0\n'
    checkpoint_of(tmp_path)
    assert keep_folds(tmp_path, dataset, ALONE, lambda: made).tolist() == [0, 0, 1, 0]
    with pytest.raises(ValueError, match=r"2 folds of 3, 1 images and is frozen: fold0 .*, and 4 images in another"):
        keep_folds(tmp_path, dataset, ALONE, lambda: 1 - made)
    for change in ({"ids": ["007", "NA", "x", "a,b"]}, {"groups": ["1", "1", "null", "2"]}):
        with pytest.raises(ValueError, match=r"folds\.csv lists other ids or groups"):
            keep_folds(tmp_path, SimpleNamespace(**vars(dataset) | change), ALONE, lambda: made)


def test_folds_that_leak_are_refused_made_or_kept(tmp_path):
    dataset = SimpleNamespace(ids=["a", "b", "c"], groups=["1", "1", "2"])
    with pytest.raises(ValueError, match="1: folds 0, 1"):
        keep_folds(tmp_path, dataset, ALONE, lambda: np.array([0, 1, 0]))
    assert not (tmp_path / "folds.csv").exists()
    (tmp_path / "folds.csv").write_text("id,group,fold\na,1,0\nb,1,1\nc,2,0\n")  # as edited by hand
    checkpoint_of(tmp_path)
    with pytest.raises(ValueError, match="1: folds 0, 1"):
        keep_folds(tmp_path, dataset, ALONE, list)


def test_a_fold_is_held_by_one_run(tmp_path):
    run = new_run(tmp_path)
    refused = pytest.raises(BlockingIOError, match=f"another run is at work in {tmp_path / 'fold0'}")
    with lock(run, 0), lock(run, 1), refused, lock(run, 0):
        pass
    with lock(run, 0):
        pass


def test_oof_is_each_held_out_image_by_the_network_that_has_not_seen_it(tmp_path):
    run = new_run(tmp_path)
    assert run.held_out(0) == run.dataset.ids[:3] + run.dataset.ids[6:9]
    assert sorted(run.held_out(0) + run.trained_on(0)) == sorted(run.dataset.ids)
    assert finished(run) == []
    for fold in (0, 1):
        model = train(run, fold, seed=fold)
        predict_oof(run, fold, tiny_network)
        assert finished(run) == [0, 1][: fold + 1]
        table = pd.read_csv(tmp_path / f"fold{fold}/oof.csv")
        assert table["id"].tolist() == run.held_out(fold)
        assert table["group"].tolist() == [id.split("_")[0] for id in run.held_out(fold)]
        for row in table.itertuples():
            truth = run.dataset.read_mask(row.id)
            mask = mask_by_hand([model], run.dataset.read_image(row.id), SIZE)
            iou, dice, accuracy = foreground_scores(confusion_matrix(truth, mask, 2))
            assert (row.iou, row.dice, row.accuracy) == pytest.approx((iou, dice, accuracy), abs=2e-3)
            assert row.area == pytest.approx(truth.mean())
            assert row.fold == fold


def test_oof_goes_on_where_it_was_stopped_and_starts_anew_with_other_weights(tmp_path):
    class Counting(TinyDataset):
        reads = ()

        def read_image(self, id):
            self.reads += (id,)
            return super().read_image(id)

    run = new_run(tmp_path, Counting())
    train(run, 0, seed=0)
    predict_oof(run, 0, tiny_network)
    assert run.dataset.reads == tuple(run.held_out(0))
    whole = (tmp_path / "fold0/oof.csv").read_bytes()
    predict_oof(run, 0, tiny_network)
    assert len(run.dataset.reads) == 6  # finished: nothing to do
    lost = run.held_out(0)[4]
    (tmp_path / "fold0/finished.json").unlink()
    (tmp_path / f"oof/{lost}.png").unlink()
    predict_oof(run, 0, tiny_network)
    assert run.dataset.reads[6:] == (lost,)
    assert (tmp_path / "fold0/oof.csv").read_bytes() == whole
    train(run, 0, seed=1)
    predict_oof(run, 0, tiny_network)
    assert run.dataset.reads[7:] == tuple(run.held_out(0))
    assert (tmp_path / "fold0/oof.csv").read_bytes() != whole
    other_views = new_run(tmp_path, run.dataset, tta=TTA())
    predict_oof(other_views, 0, tiny_network)
    assert len(run.dataset.reads) == 7 + 6 + 6
    assert (finished(other_views), finished(run)) == ([0], [])


def test_other_weights_take_the_finished_mark_back_first(tmp_path):
    run = new_run(tmp_path)
    train(run, 0, seed=0)
    predict_oof(run, 0, tiny_network)
    run.dataset.broken = {run.held_out(0)[5]}
    train(run, 0, seed=1)
    with pytest.raises(ValueError, match="1 image could not be predicted"):
        predict_oof(run, 0, tiny_network)
    assert finished(run) == []  # the old scores are of other weights
    assert sum(id in run.store for id in run.held_out(0)) == 5  # all others were predicted


def test_folds_of_other_settings_are_left_out_of_the_report_and_told(tmp_path, capsys):
    run = new_run(tmp_path)
    for fold in (0, 1):
        train(run, fold, seed=fold)
        predict_oof(run, fold, tiny_network)
    other = new_run(tmp_path, tta=TTA())
    predict_oof(other, 1, tiny_network)
    report(other)
    assert "left out: fold 0, predicted by other settings" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["folds"]["finished"] == [1]
    for change in ({"flags": flags({"lr": 9.0})}, {"folds": run.folds[::-1].copy()}):
        assert finished(dataclasses.replace(run, **change)) == []


def test_report_is_over_the_finished_folds(tmp_path, capsys):
    run = new_run(tmp_path)
    train(run, 1, seed=1)
    predict_oof(run, 1, tiny_network)
    report(run)
    assert json.loads((tmp_path / "report.json").read_text())["folds"] == {"planned": 2, "finished": [1]}
    train(run, 0, seed=0)
    predict_oof(run, 0, tiny_network)
    report(run)
    measured = json.loads((tmp_path / "report.json").read_text())
    pooled = pd.read_csv(tmp_path / "oof.csv")
    assert measured["folds"]["finished"] == [0, 1]
    assert pooled["id"].tolist() == run.held_out(0) + run.held_out(1)
    assert measured["pooled"]["dice_mean"]["value"] == pytest.approx(pooled["dice"].mean())
    assert measured["seconds"]["training"] == 4.0
    assert measured["seconds"]["waiting for images in training"] == 1.0
    assert "<html" in (tmp_path / "report.html").read_text()
    assert str(tmp_path / "report.html") in capsys.readouterr().out


def test_a_damaged_prediction_is_made_again_once_it_is_deleted(tmp_path):
    """As the message says: delete it and run the same command again."""
    run = new_run(shutil.copytree(finish_two_folds(tmp_path / "two"), tmp_path / "run"))
    path = run.store.path(run.held_out(1)[2])
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    with pytest.raises(ValueError, match="is damaged; delete it and run the same command again"):
        list(oof_masks(run))
    path.unlink()
    assert finished(run) == [0]
    assert list(unfinished(run, "all")) == [1]
    predict_oof(run, 1, tiny_network)
    assert path.read_bytes() == whole
    assert finished(run) == [0, 1]


def test_a_new_flag_with_its_default_leaves_finished_folds_finished(tmp_path):
    run = new_run(finish_two_folds(tmp_path / "two"))
    values = {**run.flags.identity, "crop": None}
    newer = dataclasses.replace(run.flags, identity=values, defaults={"crop": None})
    assert finished(dataclasses.replace(run, flags=newer)) == [0, 1]
    set_flag = dataclasses.replace(newer, identity={**values, "crop": [8, 8]})
    assert finished(dataclasses.replace(run, flags=set_flag)) == []


def test_a_configuration_is_frozen_while_a_fold_is_at_work_and_free_after_it_was_stopped(tmp_path):
    """Before the first checkpoint too: config.json must be of what trains."""
    first, second = new_run(tmp_path, config={"lr": 0.1}), new_run(tmp_path, config={"lr": 0.2})
    for run in (first, second):
        keep_folds(tmp_path, run.dataset, ALONE, lambda: first.folds)
    begin(first)
    with lock(first, 0):
        with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=r"lr 0\.1 -> 0\.2"):
            pool.submit(begin, second).result()
        begin(first)
    begin(second)  # the first one was stopped: a mistyped flag can be mended
    with pytest.raises(ValueError, match=r"lr 0\.2 -> 0\.1"):
        next(unfinished(first, 0))  # it started before the other one wrote
    assert not (tmp_path / "fold0/origin.json").exists()


def facts_of(dataset):
    """What open_run hands to a run of this data."""
    facts = check_dataset(dataset)
    return {"data": data_identity(dataset, facts), "contents": facts.contents}


def test_a_refusal_names_the_images_and_masks_that_changed(tmp_path):
    class Mended(TinyDataset):
        def read_image(self, id):
            return 255 - super().read_image(id) if id == "car1_02" else super().read_image(id)

        def read_mask(self, id):
            return np.roll(super().read_mask(id), 3, axis=1) if id in {"car1_02", "car3_01"} else super().read_mask(id)

        def fingerprint(self):
            return "mended"

    begin(new_run(tmp_path, **facts_of(TinyDataset())))
    begin(new_run(tmp_path, Mended(), **facts_of(Mended())))  # nothing is trained yet
    begin(new_run(tmp_path, **facts_of(TinyDataset())))
    checkpoint_of(tmp_path)
    begin(new_run(tmp_path, **facts_of(TinyDataset())))
    changed = r"\nnow read differently:\n  car1_02: the image and the mask\n  car3_01: the mask$"
    with pytest.raises(ValueError, match=rf"(?s)config\.json .*data\.images and masks \w+ -> \w+\..*{changed}"):
        begin(new_run(tmp_path, Mended(), **facts_of(Mended())))
    (tmp_path / "contents.csv").write_text("a file of something else\n")
    with pytest.raises(ValueError, match=r"images and masks \w+ -> \w+\.") as refused:
        begin(new_run(tmp_path, Mended(), **facts_of(Mended())))
    assert "read differently" not in str(refused.value)


def test_a_refusal_says_that_kit_is_another_one(tmp_path):
    begin(new_run(tmp_path))
    checkpoint_of(tmp_path)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept["versions"]["kit"] == kit.__version__
    commit = kept["versions"]["commit"]
    if commit == "unknown":
        pytest.skip("kit lies in no checkout of git, so its commit is unknown")

    def refusal(**versions):
        write_atomic(tmp_path / "config.json", json.dumps(kept | {"versions": kept["versions"] | versions}))
        with pytest.raises(ValueError, match="lr") as refused:
            begin(new_run(tmp_path, config={"fold": 0, "lr": 0.3}))
        return str(refused.value)

    said = f"The run began with kit 0.0.9 of commit 0123abcdef, and this is kit {kit.__version__} of commit {commit}: "
    assert f"\n{said}" in refusal(kit="0.0.9", commit="0123abcdef")
    assert "The run began with kit 0123abcdef, and this" in refusal(kit="unknown", commit="0123abcdef")
    assert "The run began" not in refusal()
    assert "The run began" not in refusal(kit="unknown", commit="unknown")
