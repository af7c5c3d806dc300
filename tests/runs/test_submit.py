"""Submissions: the mean of the folds' networks, resumed anywhere, with the same bytes."""

import contextlib
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import f1_score
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import SIZE, finish_two_folds, mask_by_hand, new_run, train

from kit.data.dataset import Dataset
from kit.prediction import TTA
from kit.recipe import finish
from kit.runs import Submission, load, predict_oof, submit
from kit.runs.oof import prediction_key
from kit.submission.dialect import Dialect
from kit.submission.rle import decode, encode
from kit.submission.tables import read_rows, write
from kit.system.files import run_lock

CARVANA_LIKE = Dialect(key="{id}.jpg")


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return finish_two_folds(tmp_path_factory.mktemp("two"))


def copy_of(two_folds, folder, dataset=None):
    return new_run(shutil.copytree(two_folds, folder), dataset)


def make(run, folder, fold="all", network=tiny_network, facts=None, **how):
    """Submit a run's test images; the CSV's path."""
    competition = tiny_competition(run.dataset, **facts or {})
    return submit(run, Submission(competition, folder=folder, **how), network, fold)


def decoded(path, dialect, size=(45, 61)):
    return {id: decode(rle, size, dialect.order) for id, _, rle in map(dialect.parse, read_rows(path, dialect))}


def masks(path, size=(45, 61)):
    """{id: mask} of a CSV."""
    return decoded(path, CARVANA_LIKE, size)


def networks(run, folds=(0, 1)):
    return [load(run, fold, tiny_network()) for fold in folds]


def rows_folder(run):
    [folder] = [path for path in run.folder.glob("test/*/") if not path.name.startswith("fold")]
    return folder


def test_a_submission_is_the_mean_of_the_finished_folds(tmp_path, two_folds, capsys):
    run = copy_of(two_folds, tmp_path / "tiny")
    path = make(run, tmp_path)
    assert path == tmp_path / "tiny.csv"
    found = masks(path)
    assert list(found) == run.dataset.test_ids
    filled = 0
    for id, mask in found.items():
        image = run.dataset.read_image(id)
        assert (mask != mask_by_hand(networks(run), image, SIZE)).sum() <= 2  # a level may be rounded the other way
        filled += mask.mean() > 0.05
        assert (mask != mask_by_hand(networks(run, [0]), image, SIZE)).sum() > 2  # one fold alone gives another
    assert filled
    assert f"submission: {path}, folds 0, 1" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [(15, 20), (24, 40), (90, 70)])
def test_masks_have_the_size_that_the_dialect_asks_for(tmp_path, two_folds, size, order):
    run = copy_of(two_folds, tmp_path / "tiny")
    dialect = Dialect(key="{id}.jpg", order=order, size=size)
    found = decoded(make(run, tmp_path, facts={"dialect": dialect}), dialect, size)
    assert list(found) == run.dataset.test_ids
    for id, mask in found.items():
        by_hand = mask_by_hand(networks(run), run.dataset.read_image(id), SIZE, size)
        assert (mask != by_hand).sum() <= 2  # a level may be rounded the other way
    assert any(0.05 < mask.mean() < 1 for mask in found.values())


@pytest.mark.slow
def test_the_report_says_where_the_leaderboard_scores_another_size(tmp_path, two_folds):
    run, said = copy_of(two_folds, tmp_path / "tiny"), "The CSV holds masks of 24 × 40 (height × width)"
    for size in ((24, 40), None):
        competition = tiny_competition(run.dataset, dialect=Dialect(key="{id}.jpg", size=size))
        finish(run, "all", None, tiny_network, Submission(competition, folder=tmp_path))
        conventions = json.loads((run.folder / "report.json").read_text())["conventions"]
        assert any(line.startswith(said) for line in conventions) == (size is not None)


@pytest.mark.parametrize("keep_test", [False, True])
def test_folds_side_by_side_predict_the_test_images_once_each(tmp_path, two_folds, keep_test):
    run = copy_of(two_folds, tmp_path / "tiny")
    expected = make(copy_of(two_folds, tmp_path / "whole/tiny"), tmp_path / "whole").read_bytes()
    finished = (run.folder / "fold1/finished.json").read_text()
    (run.folder / "fold1/finished.json").unlink()
    first = make(run, tmp_path, fold=0, keep_test=keep_test)
    assert first.name == "tiny_fold0.csv"
    loaded = []

    def network():
        loaded.append(0)
        return tiny_network()

    (run.folder / "fold1/finished.json").write_text(finished)
    assert make(run, tmp_path, fold=1, keep_test=keep_test, network=network).read_bytes() == expected
    assert len(loaded) == (1 if keep_test else 2)  # what fold 0 predicted was kept, or is made again, once
    assert len(list(run.folder.glob("test/fold*/*.png"))) == (10 if keep_test else 0)


def test_a_fold_whose_neighbours_are_missing_is_submitted_alone(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "tiny")
    run = type(run)(**{**vars(run), "folds": np.arange(12) // 3 % 4})  # four folds, of which two are finished
    assert make(run, tmp_path, fold=2) is None
    for fold in (0, 1):
        facts = json.loads((run.folder / f"fold{fold}/finished.json").read_text())
        key = prediction_key(run, [fold])
        (run.folder / f"fold{fold}/finished.json").write_text(json.dumps(facts | {"key": key}))
    assert make(run, tmp_path, fold=1).name == "tiny_fold1.csv"
    assert make(run, tmp_path, fold="all").name == "tiny.csv"


def test_a_submission_of_one_fold_or_of_drawn_data_says_so_in_its_name(tmp_path, two_folds):
    dataset = TinyDataset()
    dataset.drawn = True
    run = copy_of(two_folds, tmp_path / "tiny_drawn", dataset)
    assert make(run, tmp_path).name == "tiny_drawn.csv"
    rows = rows_folder(run)
    (run.folder / "fold0/finished.json").unlink()
    assert make(run, tmp_path).name == "tiny_fold1_drawn.csv"
    assert rows_folder(run) != rows  # the earlier ensemble's rows are gone
    assert make(new_run(run.folder, TinyDataset(tests=0)), tmp_path) is None


def test_drawn_submissions_are_scored_against_their_truth(tmp_path, two_folds, capsys):
    dataset, truth_csv = TinyDataset(), tmp_path / "test_masks.csv"
    rows = [(f"{id}.jpg", encode(dataset._disc(id))) for id in dataset.test_ids]
    write(rows[1:], truth_csv, CARVANA_LIKE)
    path = make(copy_of(two_folds, tmp_path / "run", dataset), tmp_path, facts={"truth_csv": truth_csv})
    found = masks(path)
    expected = np.mean([f1_score(dataset._disc(id).ravel(), found[id].ravel()) for id in dataset.test_ids[1:]])
    assert f"scored against test_masks.csv: mean Dice {expected:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [{"dialect": Dialect(("id", "rle"))}, {"dialect": Dialect(key="{id}.jpg", order="F")}, {"test_ids": ["test_03"]}],
)
def test_a_corrected_dialect_or_other_test_images_give_other_rows(tmp_path, two_folds, change):
    run = copy_of(two_folds, tmp_path / "tiny")
    before, rows = make(run, tmp_path).read_bytes(), rows_folder(run)
    path = make(run, tmp_path, facts=change)
    assert path.read_bytes() != before
    assert rows_folder(run) != rows
    dialect = change.get("dialect", CARVANA_LIKE)
    expected = mask_by_hand(networks(run), run.dataset.read_image("test_03"), SIZE)
    found = decoded(path, dialect)
    assert list(found) == change.get("test_ids", run.dataset.test_ids)
    assert (found["test_03"] != expected).sum() <= 2


def test_other_test_images_start_anew(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "tiny")
    make(run, tmp_path)
    assert json.loads((run.folder / "test.json").read_text())["images"] == 5
    assert json.loads((run.folder / "test.json").read_text())["networks"] == 2
    more = new_run(run.folder, TinyDataset(tests=6))
    assert len(masks(make(more, tmp_path))) == 6
    assert json.loads((run.folder / "test.json").read_text())["images"] == 6


@pytest.mark.parametrize(
    ("folder", "csv"),
    [
        ("wide", "tiny_wide.csv"),
        ("tiny_wide", "tiny_wide.csv"),
        ("tinyish", "tiny_tinyish.csv"),
        ("tiny_drawn", "tiny_drawn.csv"),
    ],
)
def test_a_submission_of_another_run_folder_has_another_name(tmp_path, two_folds, folder, csv, monkeypatch):
    run = copy_of(two_folds, tmp_path / folder)
    assert make(run, tmp_path).name == csv
    monkeypatch.chdir(run.folder)
    assert make(new_run(type(tmp_path)()), tmp_path).name == csv  # --run-dir .


@pytest.mark.parametrize("keep_test", [False, True])
def test_a_submission_has_the_same_bytes_whatever_the_batch_and_after_a_stop(
    tmp_path, two_folds, monkeypatch, keep_test
):
    expected = make(copy_of(two_folds, tmp_path / "tiny"), tmp_path / "whole").read_bytes()
    for count in (1, 2, 3, 16):
        run = copy_of(tmp_path / "tiny", tmp_path / str(count))
        shutil.rmtree(run.folder / "test")
        monkeypatch.setattr("kit.prediction.predictor.images_at_once", lambda *given, count=count: count)
        run.dataset.broken = {run.dataset.test_ids[2]}
        with pytest.raises(ValueError, match=r"1 image could not be predicted(.|\n)*test_02(.|\n)*on_bad_image=.empty"):
            make(run, tmp_path, keep_test=keep_test)
        run.dataset.broken = set()
        assert make(run, tmp_path, keep_test=keep_test).read_bytes() == expected
        last = make(run, tmp_path, network=lambda: pytest.fail("loaded though all is done"), keep_test=keep_test)
        assert last.read_bytes() == expected


@pytest.mark.parametrize("keep_test", [False, True])
def test_fault_61_an_unreadable_test_image_gets_an_empty_mask_when_asked_for(tmp_path, two_folds, capsys, keep_test):
    whole = masks(make(copy_of(two_folds, tmp_path / "whole/tiny"), tmp_path / "whole"))
    run = copy_of(two_folds, tmp_path / "tiny")
    run.dataset.broken = {"test_01", "test_04"}
    found = masks(make(run, tmp_path, on_bad_image="empty", keep_test=keep_test))
    assert list(found) == run.dataset.test_ids
    for id, mask in found.items():
        np.testing.assert_array_equal(mask, 0 if id in run.dataset.broken else whole[id])
    said = capsys.readouterr().out
    assert "2 of 5 test images cannot be read: their masks are empty" in said
    assert "test_04" in said
    run.dataset.broken = {"test_04"}  # one was mended
    found = masks(make(run, tmp_path, on_bad_image="empty", keep_test=keep_test))
    np.testing.assert_array_equal(found["test_01"], whole["test_01"])


def test_a_submission_that_the_linter_refuses_is_an_error(tmp_path, two_folds):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("img,rle_mask\n" + "".join(f"test_{n:02}.jpg,\n" for n in range(6)))
    with pytest.raises(ValueError, match=r"1 problem in .*\.csv:(.|\n)*test_05\.jpg"):
        make(copy_of(two_folds, tmp_path / "tiny"), tmp_path, facts={"sample_csv": sample})


def test_two_folds_that_end_at_once_predict_the_test_images_one_after_the_other(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "run")
    expected = make(run, tmp_path).read_bytes()
    folder = rows_folder(run)
    part = folder / "part-0.csv"
    part.unlink()
    with ThreadPoolExecutor(1) as pool:
        with run_lock(folder):  # as the other run holds it
            second = pool.submit(make, run, tmp_path / "second")
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert not part.exists()
        assert second.result(timeout=600).read_bytes() == expected


def test_no_csv_is_written_where_no_test_image_can_be_read(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "tiny")
    run.dataset.broken = set(run.dataset.test_ids)
    with pytest.raises(ValueError, match="none of the 5 test images can be read"):
        make(run, tmp_path, on_bad_image="empty")
    assert not (tmp_path / "tiny.csv").exists()


def test_predictions_are_kept_when_that_is_asked_for_after_the_csv_was_written(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "tiny")
    before = make(run, tmp_path).read_bytes()
    assert not list(run.folder.glob("test/fold*"))
    assert make(run, tmp_path, keep_test=True).read_bytes() == before
    assert len(list(run.folder.glob("test/fold*/*.png"))) == 10
    lost = sorted(run.folder.glob("test/fold1*/*.png"))[2]
    whole = lost.read_bytes()
    lost.unlink()
    assert make(run, tmp_path, keep_test=True).read_bytes() == before
    assert lost.read_bytes() == whole


def test_kept_predictions_go_when_their_network_is_trained_anew_and_stay_with_other_views(tmp_path, two_folds):
    run = copy_of(two_folds, tmp_path / "tiny")
    make(run, tmp_path, keep_test=True)
    stores = {path.name for path in run.folder.glob("test/fold*")}
    assert len(stores) == 2
    other = new_run(run.folder, tta=TTA())
    for fold in (0, 1):
        predict_oof(other, fold, tiny_network)
    make(other, tmp_path, keep_test=True)
    assert stores < {path.name for path in run.folder.glob("test/fold*")}
    train(run, 1, seed=7)
    for fold in (0, 1):
        predict_oof(run, fold, tiny_network)
    make(run, tmp_path, keep_test=True)
    left = {path.name for path in run.folder.glob("test/fold*")}
    assert {name for name in left if name.startswith("fold0")} > {name for name in stores if name.startswith("fold0")}
    assert len([name for name in left if name.startswith("fold1")]) == 1
    assert not left & {name for name in stores if name.startswith("fold1")}


def test_rows_of_a_killed_neighbour_stay_until_its_csv_is_written(tmp_path, two_folds):
    """Both folds of one run: fold 1 is stopped in its submission, then fold 0 ends."""
    run = copy_of(two_folds, tmp_path / "tiny")
    run = type(run)(**{**vars(run), "folds": np.arange(12) // 3 % 4})  # two of four folds are finished
    for fold in (0, 1):
        predict_oof(run, fold, tiny_network)
    run.dataset.broken = {"test_02"}
    with pytest.raises(ValueError, match="1 image could not be predicted"):
        make(run, tmp_path, fold=1)
    killed = rows_folder(run)
    run.dataset.broken = set()
    make(run, tmp_path, fold=0)
    assert killed.is_dir()
    read = []
    image = run.dataset.read_image
    run.dataset.read_image = lambda id: read.append(id) or image(id)
    make(run, tmp_path, fold=1)
    assert read == ["test_02"]
    make(run, tmp_path, fold=0)
    assert not killed.exists()  # its rows are in its CSV


def test_rows_of_an_older_submission_leave_no_folder_on_a_network_disk(tmp_path, two_folds, monkeypatch):
    """NFS renames an open file that is removed, and removes it once it is closed: the folder stays till then."""
    run = copy_of(two_folds, tmp_path / "tiny")
    old = run.folder / "test/0123-of-another-dialect"
    old.mkdir(parents=True)
    (old / "rows").write_text("test_00,1 2\n")
    unlink = os.unlink

    def rename_lock(path, *, dir_fd=None):
        if path == "lock" and dir_fd is not None:
            os.rename("lock", ".nfs1", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            unlink(path, dir_fd=dir_fd)

    @contextlib.contextmanager
    def remove_when_closed(folder, **options):
        with run_lock(folder, **options):
            yield
        if (folder / ".nfs1").exists():
            renamed.append(folder)
            (folder / ".nfs1").unlink()

    renamed = []
    monkeypatch.setattr("os.unlink", rename_lock)
    monkeypatch.setattr(sys.modules[submit.__module__], "run_lock", remove_when_closed)
    make(run, tmp_path)
    assert renamed == [old]
    assert not old.exists()


def test_a_replaced_image_of_a_class_without_a_fingerprint_is_predicted_again(tmp_path, two_folds):
    class Plain(TinyDataset):
        test_fingerprint = Dataset.test_fingerprint
        turned = ()

        def read_image(self, id):
            image = super().read_image(id)
            return image[::-1].copy() if id in self.turned else image

    run = copy_of(two_folds, tmp_path / "tiny", Plain())
    for fold in (0, 1):
        predict_oof(run, fold, tiny_network)
    before = masks(make(run, tmp_path))
    Plain.turned = ("test_02",)
    after = masks(make(run, tmp_path))
    assert [id for id in before if not np.array_equal(before[id], after[id])] == ["test_02"]


def test_networks_of_an_edited_recipe_are_not_mixed_with_what_others_predicted(tmp_path, two_folds, monkeypatch):
    """Fold 0 is made again by the edited recipe, fold 1 is not; then the edit is undone."""
    first = copy_of(two_folds, tmp_path / "tiny")
    expected = make(first, tmp_path).read_bytes()
    shutil.rmtree(first.folder / "test")
    monkeypatch.setattr("kit.runs.provenance.recipe_code", lambda: "edited")

    def edited():
        net = tiny_network()
        net.register_forward_hook(lambda module, images, logits: -logits)
        return net

    run = new_run(first.folder)
    assert make(run, tmp_path, fold=0, network=edited) is None  # no fold was predicted by this recipe
    predict_oof(run, 0, edited)
    assert make(run, tmp_path, fold=0, network=edited, keep_test=True).name == "tiny_fold0.csv"
    monkeypatch.undo()
    back = new_run(first.folder)
    assert make(back, tmp_path, fold=1, keep_test=True).name == "tiny_fold1.csv"
    predict_oof(back, 0, tiny_network)
    assert make(back, tmp_path, keep_test=True).read_bytes() == expected


def test_the_time_says_of_how_many_networks_it_is(tmp_path, two_folds):
    """Of those that predicted, not of those that were kept. A command that predicted nothing has no time."""
    path = (run := copy_of(two_folds, tmp_path / "tiny")).folder / "test.json"
    make(run, tmp_path, keep_test=True)
    assert json.loads(path.read_text())["networks"] == 2
    shutil.rmtree(next(run.folder.glob("test/fold1-*")))
    make(run, tmp_path, keep_test=True)
    assert json.loads(path.read_text())["networks"] == 1
    before = path.read_bytes()
    shutil.rmtree(rows_folder(run))
    make(run, tmp_path, keep_test=True)
    assert path.read_bytes() == before
