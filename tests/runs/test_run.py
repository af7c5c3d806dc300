import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from tiny import TinyCompetition, tiny_network
from tiny_run import ALONE, SIZE, finish_two_folds, new_run, train, trained

from kit.data.normalise import IMAGENET_MEAN, IMAGENET_STD
from kit.data.resize import resize_image
from kit.prediction.predictor import TTA
from kit.runs.provenance import plain, versions
from kit.runs.run import keep_folds, open_run
from kit.runs.submit import submit
from kit.scoring.confusion import confusion_matrix, foreground_scores
from kit.submission import Dialect, read_rows, write
from kit.submission.rle import decode, encode
from kit.system.files import run_lock
from kit.training.loop import adamw, resume, save


def mask_by_hand(models, image, size):
    """Resize, normalise, mean of the sigmoids with and without mirror, 256 steps, enlarge, threshold."""
    small = resize_image(image, size).astype(np.float32) / 255
    pixels = torch.from_numpy(((small - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32).transpose(2, 0, 1))[None]
    with torch.no_grad():
        maps = [m(pixels).sigmoid() for m in models] + [m(pixels.flip(3)).sigmoid().flip(3) for m in models]
    levels = np.floor(256 * torch.stack(maps).mean(dim=0)[0, 0].numpy()).clip(0, 255).astype(np.float32)
    return (cv2.resize(levels, image.shape[1::-1]) >= 127.5).astype(np.uint8)


def test_config_says_what_was_asked_of_what_with_what(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Config:
        run_dir: Path
        image_size: tuple[int, int] = (3, 4)
        lr: float = 0.1

    run = new_run(tmp_path, config=plain(Config(tmp_path)))
    run.begin()
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["config"] == {"run_dir": str(tmp_path), "image_size": [3, 4], "lr": 0.1}
    assert written["identity"] == {"image_size": [3, 4], "lr": 0.1, "data": TinyCompetition().fingerprint()}
    assert written["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"commit", "python", "numpy", "device"} <= written["versions"].keys()
    assert "pytest" in written["command"]
    run.begin()  # the same again


def checkpoint_of(folder):
    """A fold in training, as far as the run folder can tell."""
    (folder / "fold0").mkdir()
    (folder / "fold0/last.pt").write_bytes(b"")


def test_a_package_that_goes_by_another_name_stops_no_run(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert versions(torch.device("cpu"))["torch"] == "unknown"


def test_before_a_checkpoint_there_is_nothing_to_mix_up_and_a_mistyped_flag_can_be_mended(tmp_path):
    config, competition = {"lr": 0.1, "folds": 2}, TinyCompetition()
    for k in (2, 4):
        folds = keep_folds(tmp_path, competition, ALONE, lambda k=k: np.arange(12) // 3 % k)
        new_run(tmp_path, config=config | {"folds": k}).begin()
        assert folds.max() == k - 1
    assert json.loads((tmp_path / "config.json").read_text())["config"]["folds"] == 4
    assert pd.read_csv(tmp_path / "folds.csv")["fold"].max() == 3


def test_a_run_goes_on_with_other_hardware_but_no_other_numbers(tmp_path):
    config = {"lr": 0.1, "fold": 0, "workers": 0, "cache": True, "scales": [1.0], "tta": "none"}
    new_run(tmp_path, config=config).begin()
    checkpoint_of(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"config\.json was made by another configuration \(then -> now\): lr 0\.1 -> 0\.2"
    ):
        new_run(tmp_path, config=config | {"lr": 0.2}).begin()
    with pytest.raises(ValueError, match=r"data \w+ -> \w+"):
        new_run(tmp_path, TinyCompetition(size=(45, 62)), config=config).begin()
    assert (tmp_path / "config.json").read_bytes() == before
    new_run(tmp_path, TinyCompetition(tests=6), config=config).begin()  # test pictures may come later
    other = config | {"fold": "all", "workers": 3, "cache": False, "scales": [1.0, 1.5], "tta": "d4", "device": "cuda"}
    new_run(tmp_path, config=other).begin()
    assert json.loads((tmp_path / "config.json").read_text())["config"] == other


def test_a_checkpoint_of_another_split_is_refused(tmp_path):
    """Else the fold would be scored on pictures that its network has learnt."""
    run, model = new_run(tmp_path), tiny_network()
    save(run.new_state(0, model, adamw(model, lr=0.1)), run.fold_folder(0), ALONE)
    resume(run.new_state(0, model, adamw(model, lr=0.1)), run.fold_folder(0))
    swapped = dataclasses.replace(run, folds=1 - run.folds)
    with pytest.raises(ValueError, match=r"last\.pt was made by another configuration .*held out \w+ -> \w+"):
        resume(swapped.new_state(0, model, adamw(model, lr=0.1)), run.fold_folder(0))


def test_an_edited_recipe_is_told_and_the_report_says_what_trained(tmp_path, two_folds, monkeypatch, capsys):
    recipe, folder = tmp_path / "recipe.py", shutil.copytree(two_folds, tmp_path / "run")
    recipe.write_text("lr = 0.1")
    monkeypatch.setattr("sys.argv", [str(recipe), "--fold", "0"])
    monkeypatch.setattr("kit.runs.provenance.commit", lambda: "abc")
    for fold in (0, 1):
        (folder / f"fold{fold}/finished.json").unlink()
    run = new_run(folder)
    assert list(run.unfinished(0)) == [0]
    run.predict_oof(0, trained(run)(0))
    assert list(run.unfinished(0)) == []
    assert capsys.readouterr().out == "fold 0 is finished\n"
    recipe.write_text("lr = 0.2")
    monkeypatch.setattr("sys.argv", [str(recipe), "--fold", "all"])
    monkeypatch.setattr("kit.runs.provenance.commit", lambda: "def")
    run = new_run(folder)  # another process
    assert list(run.unfinished("all")) == [1]
    told = capsys.readouterr().out
    assert told.startswith("fold 0 is finished\nnote: fold 0 was begun before the recipe was edited")
    assert "note: fold 1" not in told
    run.predict_oof(1, trained(run)(1))
    run.report()
    report = json.loads((folder / "report.json").read_text())
    assert [line.split()[2:] for line in report["command"].splitlines()] == [["--fold", "0"], ["--fold", "all"]]
    assert report["versions"]["commit"] == "abc and def"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": -1, "image_size": (0, 8)}, r"--batch-size -1, --image-size \(0, 8\)"),
    ],
)
def test_numbers_below_one_are_refused(tmp_path, flags, told):
    config = SimpleNamespace(epochs=1, batch_size=2, image_size=None, device="cpu", run_dir=tmp_path)
    with pytest.raises(ValueError, match=f"{told}: a number of one or more is needed"):
        open_run(SimpleNamespace(**vars(config) | flags), TinyCompetition(), list, TTA(), "tiny.py")
    assert not list(tmp_path.iterdir())


def test_folds_are_made_once_and_kept(tmp_path):
    competition = SimpleNamespace(ids=["007", "NA", "a,b", "x"], groups=["1", "1", "null", "02"])
    made = keep_folds(tmp_path, competition, ALONE, lambda: np.array([0, 0, 1, 0]))
    assert made.tolist() == [0, 0, 1, 0]
    assert (tmp_path / "folds.csv").read_text() == 'id,group,fold\n007,1,0\nNA,1,0\n"a,b",null,1\nx,02,0\n'
    checkpoint_of(tmp_path)
    again = keep_folds(tmp_path, competition, ALONE, lambda: pytest.fail("made again"))
    assert again.tolist() == [0, 0, 1, 0]
    for change in ({"ids": ["007", "NA", "x", "a,b"]}, {"groups": ["1", "1", "null", "2"]}):
        with pytest.raises(ValueError, match=r"folds\.csv lists other ids or groups"):
            keep_folds(tmp_path, SimpleNamespace(**vars(competition) | change), ALONE, list)


def test_folds_that_leak_are_refused_made_or_kept(tmp_path):
    competition = SimpleNamespace(ids=["a", "b", "c"], groups=["1", "1", "2"])
    with pytest.raises(ValueError, match="1: folds 0, 1"):
        keep_folds(tmp_path, competition, ALONE, lambda: np.array([0, 1, 0]))
    assert not (tmp_path / "folds.csv").exists()
    (tmp_path / "folds.csv").write_text("id,group,fold\na,1,0\nb,1,1\nc,2,0\n")  # as edited by hand
    checkpoint_of(tmp_path)
    with pytest.raises(ValueError, match="1: folds 0, 1"):
        keep_folds(tmp_path, competition, ALONE, list)


def test_a_fold_is_held_by_one_run(tmp_path):
    run = new_run(tmp_path)
    refused = pytest.raises(BlockingIOError, match=f"another run is at work in {tmp_path / 'fold0'}")
    with run.lock(0), run.lock(1), refused, run.lock(0):
        pass
    with run.lock(0):
        pass


def test_oof_is_each_held_out_picture_by_the_network_that_has_not_seen_it(tmp_path):
    run = new_run(tmp_path)
    assert run.held_out(0) == run.competition.ids[:3] + run.competition.ids[6:9]
    assert sorted(run.held_out(0) + run.trained_on(0)) == sorted(run.competition.ids)
    assert run.finished() == []
    for fold in (0, 1):
        model = train(run, fold, seed=fold)
        run.predict_oof(fold, model)
        assert run.finished() == [0, 1][: fold + 1]
        table = pd.read_csv(tmp_path / f"fold{fold}/oof.csv")
        assert table["id"].tolist() == run.held_out(fold)
        assert table["group"].tolist() == [id.split("_")[0] for id in run.held_out(fold)]
        for row in table.itertuples():
            truth = run.competition.read_mask(row.id)
            mask = mask_by_hand([model], run.competition.read_image(row.id), SIZE)
            iou, dice, accuracy = foreground_scores(confusion_matrix(truth, mask, 2))
            assert (row.iou, row.dice, row.accuracy) == pytest.approx((iou, dice, accuracy), abs=2e-3)
            assert row.area == pytest.approx(truth.mean())
            assert row.fold == fold


def test_oof_goes_on_where_it_was_stopped_and_starts_anew_with_other_weights(tmp_path):
    class Counting(TinyCompetition):
        reads = ()

        def read_image(self, id):
            self.reads += (id,)
            return super().read_image(id)

    run = new_run(tmp_path, Counting())
    model = train(run, 0, seed=0)
    run.predict_oof(0, model)
    assert run.competition.reads == tuple(run.held_out(0))
    whole = (tmp_path / "fold0/oof.csv").read_bytes()
    run.predict_oof(0, model)
    assert len(run.competition.reads) == 6  # finished: nothing to do
    lost = run.held_out(0)[4]
    (tmp_path / "fold0/finished.json").unlink()
    (tmp_path / f"oof/{lost}.png").unlink()
    run.predict_oof(0, model)
    assert run.competition.reads[6:] == (lost,)
    assert (tmp_path / "fold0/oof.csv").read_bytes() == whole
    run.predict_oof(0, train(run, 0, seed=1))
    assert run.competition.reads[7:] == tuple(run.held_out(0))
    assert (tmp_path / "fold0/oof.csv").read_bytes() != whole
    other_views = new_run(tmp_path, run.competition, tta=TTA())
    other_views.predict_oof(0, trained(run)(0))
    assert len(run.competition.reads) == 7 + 6 + 6
    assert (other_views.finished(), run.finished()) == ([0], [])


def test_other_weights_take_the_finished_mark_back_first(tmp_path):
    run = new_run(tmp_path)
    run.predict_oof(0, train(run, 0, seed=0))
    run.competition.broken = {run.held_out(0)[5]}
    with pytest.raises(ValueError, match="1 picture could not be predicted"):
        run.predict_oof(0, train(run, 0, seed=1))
    assert run.finished() == []  # the old scores are of other weights
    assert sum(id in run.store for id in run.held_out(0)) == 5  # all others were predicted


def test_folds_of_other_settings_are_left_out_of_the_report_and_told(tmp_path, capsys):
    run = new_run(tmp_path)
    for fold in (0, 1):
        run.predict_oof(fold, train(run, fold, seed=fold))
    other = new_run(tmp_path, tta=TTA())
    other.predict_oof(1, trained(run)(1))
    other.report()
    assert "left out: fold 0, predicted by other settings" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["folds"]["finished"] == [1]
    for change in ({"config": {"lr": 9.0}}, {"folds": run.folds[::-1].copy()}):
        assert dataclasses.replace(run, **change).finished() == []


def test_drawn_submissions_are_scored_against_their_truth(tmp_path, two_folds, capsys):
    competition = TinyCompetition()
    rows = [(competition.csv_name(id), encode(competition._disc(id))) for id in competition.test_ids]
    competition.truth_csv = tmp_path / "test_masks.csv"
    write(rows[1:], competition.truth_csv, Dialect())
    run = new_run(shutil.copytree(two_folds, tmp_path / "run"), competition)
    path = submit(run, trained(run), tmp_path)
    masks = [decode(rle, competition.size) for _, rle in read_rows(path, Dialect())]
    truths = [competition._disc(id) for id in competition.test_ids]
    expected = np.mean([f1_score(t.ravel(), m.ravel()) for t, m in list(zip(truths, masks, strict=True))[1:]])
    assert f"scored against test_masks.csv: mean Dice {expected:.4f}" in capsys.readouterr().out


def test_report_is_over_the_finished_folds(tmp_path, capsys):
    run = new_run(tmp_path)
    run.predict_oof(1, train(run, 1, seed=1))
    run.report()
    assert json.loads((tmp_path / "report.json").read_text())["folds"] == {"planned": 2, "finished": [1]}
    run.predict_oof(0, train(run, 0, seed=0))
    run.report()
    measured = json.loads((tmp_path / "report.json").read_text())
    pooled = pd.read_csv(tmp_path / "oof.csv")
    assert measured["folds"]["finished"] == [0, 1]
    assert pooled["id"].tolist() == run.held_out(0) + run.held_out(1)
    assert measured["pooled"]["dice_mean"]["value"] == pytest.approx(pooled["dice"].mean())
    assert measured["seconds"]["training"] == 4.0
    assert measured["seconds"]["waiting for pictures in training"] == 1.0
    assert "<html" in (tmp_path / "report.html").read_text()
    assert str(tmp_path / "report.html") in capsys.readouterr().out


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return finish_two_folds(tmp_path_factory.mktemp("two"))


def test_submission_is_the_mean_of_the_finished_folds(tmp_path, two_folds, capsys):
    run = new_run(shutil.copytree(two_folds, tmp_path / "tiny"))
    path = submit(run, trained(run), tmp_path)
    assert path == tmp_path / "tiny.csv"
    rows = dict(read_rows(path, Dialect()))
    assert list(rows) == [f"{id}.jpg" for id in run.competition.test_ids]
    models, filled = [trained(run)(fold) for fold in (0, 1)], 0
    for id in run.competition.test_ids:
        image = run.competition.read_image(id)
        expected, found = mask_by_hand(models, image, SIZE), decode(rows[f"{id}.jpg"], image.shape[:2], "C")
        assert (found != expected).sum() <= 2  # a level may be rounded the other way
        filled += found.mean() > 0.05
        assert (found != mask_by_hand(models[:1], image, SIZE)).sum() > 2  # one fold alone gives another
    assert filled
    said = capsys.readouterr().out
    assert f"submission: {path}, 5 rows, folds 0, 1" in said


def test_submission_of_one_fold_or_of_drawn_data_says_so_in_its_name(tmp_path, two_folds):
    competition = TinyCompetition()
    competition.drawn = True
    run = new_run(shutil.copytree(two_folds, tmp_path / "tiny_drawn"), competition)
    assert submit(run, trained(run), tmp_path).name == "tiny_drawn.csv"
    (run.folder / "fold0/finished.json").unlink()
    [rows] = run.folder.glob("test/*")
    assert submit(run, trained(run), tmp_path).name == "tiny_fold1_drawn.csv"
    [fewer] = run.folder.glob("test/*")  # the earlier ensemble's rows are gone
    assert fewer != rows
    assert submit(new_run(run.folder, TinyCompetition(tests=0)), trained(run), tmp_path) is None


def test_submission_has_the_competitions_columns(tmp_path, two_folds):
    competition = TinyCompetition()
    competition.columns = ("id", "rle")
    path = submit(
        new_run(shutil.copytree(two_folds, tmp_path / "tiny"), competition), trained(new_run(two_folds)), tmp_path
    )
    assert path.read_text().startswith("id,rle\n")


def test_submission_of_other_test_pictures_starts_anew(tmp_path, two_folds):
    run = new_run(shutil.copytree(two_folds, tmp_path / "tiny"))
    submit(run, trained(run), tmp_path)
    assert json.loads((run.folder / "test.json").read_text())["pictures"] == 5
    more = new_run(run.folder, TinyCompetition(tests=6))
    assert len(list(read_rows(submit(more, trained(more), tmp_path), Dialect()))) == 6
    assert json.loads((run.folder / "test.json").read_text())["pictures"] == 6


@pytest.mark.parametrize(
    ("folder", "csv"),
    [
        ("wide", "tiny_wide.csv"),
        ("tiny_wide", "tiny_wide.csv"),
        ("tinyish", "tiny_tinyish.csv"),
        ("tiny_drawn", "tiny_drawn.csv"),
    ],
)
def test_submission_of_another_run_folder_has_another_name(tmp_path, two_folds, folder, csv, monkeypatch):
    run = new_run(shutil.copytree(two_folds, tmp_path / folder))
    assert submit(run, trained(run), tmp_path).name == csv
    monkeypatch.chdir(run.folder)
    assert submit(new_run(Path()), trained(run), tmp_path).name == csv  # --run-dir .


def test_submission_has_the_same_bytes_whatever_the_batch_and_after_a_stop(tmp_path, two_folds, monkeypatch):
    expected = submit(new_run(two_folds), trained(new_run(two_folds)), tmp_path / "whole").read_bytes()
    for count in (1, 2, 3, 16):
        run = new_run(shutil.copytree(two_folds, tmp_path / str(count), ignore=shutil.ignore_patterns("test")))
        monkeypatch.setattr("kit.runs.run.pictures_at_once", lambda *given, count=count: count)
        run.competition.broken = {run.competition.test_ids[2]}
        with pytest.raises(ValueError, match=r"1 picture could not be predicted(.|\n)*test_02\.jpg: damaged"):
            submit(run, trained(run), tmp_path)
        run.competition.broken = set()
        [part] = run.folder.glob("test/*/part-0.csv")
        assert part.read_text().count("\n") == 8  # two lines an image
        assert submit(run, trained(run), tmp_path).read_bytes() == expected
        fails = submit(run, lambda fold: pytest.fail("loaded though all is done"), tmp_path)
        assert fails.read_bytes() == expected


def test_submission_that_the_linter_refuses_is_an_error(tmp_path, two_folds):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("img,rle_mask\n" + "".join(f"test_{n:02}.jpg,\n" for n in range(6)))
    competition = TinyCompetition()
    competition.sample_csv = sample
    run = new_run(two_folds, competition)
    with pytest.raises(ValueError, match=r"1 problem in .*tiny_two\d\.csv:(.|\n)*missing: 'test_05\.jpg'"):
        submit(run, trained(run), tmp_path)


def test_two_folds_that_end_at_once_predict_the_test_pictures_one_after_the_other(tmp_path, two_folds):
    run = new_run(shutil.copytree(two_folds, tmp_path / "run"))
    expected = submit(run, trained(run), tmp_path).read_bytes()
    [part] = run.folder.glob("test/*/part-0.csv")
    part.unlink()
    with ThreadPoolExecutor(1) as pool:
        with run_lock(part.parent):  # as the other run holds it
            second = pool.submit(submit, run, trained(run), tmp_path / "second")
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert not part.exists()
        assert second.result(timeout=30).read_bytes() == expected
