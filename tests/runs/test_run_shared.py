"""What recipes share beyond the folds' own work: official splits, stages, loaders, scores of the recipe's own."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from tiny import TinyCompetition, tiny_network
from tiny_run import ALONE, SIZE, finish_two_folds, new_run, train, trained

from kit.folds.keeping import keep_folds
from kit.scoring.confusion import confusion_matrix


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return finish_two_folds(tmp_path_factory.mktemp("two"))


def official(folder, **changes):
    """A run of one fold: the last car is held out, the others are always trained on."""
    competition = TinyCompetition()
    run = new_run(folder, competition, **changes)
    return dataclasses.replace(run, folds=np.where(np.arange(12) < 9, -1, 0))


def test_an_official_split_has_one_fold_and_says_what_is_always_trained_on(tmp_path):
    run = official(tmp_path)
    assert run.held_out(0) == run.competition.ids[9:]
    assert run.trained_on(0) == run.competition.ids[:9]
    assert list(run.unfinished("all")) == [0]
    with pytest.raises(ValueError, match=r"--fold 1: there is only fold 0, the data set's own split"):
        next(run.unfinished(1))
    run.begin()
    run.predict_oof(0, train(run, 0, seed=1))
    run.report()
    assert list(run.unfinished("all")) == []
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images"] == 3
    assert any("9 images are in no fold and always trained on." in text for text in report["conventions"])


def test_an_official_split_may_share_a_group_and_a_made_fold_may_not(tmp_path):
    competition = TinyCompetition()
    folds = np.where(np.arange(12) < 10, -1, 0)
    assert keep_folds(tmp_path / "official", competition, ALONE, lambda: folds).tolist() == folds.tolist()
    run = dataclasses.replace(official(tmp_path / "run"), folds=folds)
    run.begin()
    run.predict_oof(0, train(run, 0, seed=1))
    run.report()
    conventions = json.loads((tmp_path / "run/report.json").read_text())["conventions"]
    assert any("Groups shared with the held-out ones: car3 (1)." in text for text in conventions)
    with pytest.raises(ValueError, match="1 groups stand in more than one fold"):
        keep_folds(tmp_path / "made", competition, ALONE, lambda: np.where(np.arange(12) < 10, 1, 0))


def test_scores_of_the_recipes_own_hold_for_the_folds_that_they_were_taken_from(tmp_path, two_folds):
    run = new_run(shutil.copytree(two_folds, tmp_path / "run"))
    run.report(lambda run: {"images counted": np.float64(len(run.scores().images))})
    assert json.loads((run.folder / "report.json").read_text())["further"] == {"images counted": 12.0}
    pairs = {id: (truth, found) for id, truth, found in run.oof_masks()}
    assert sorted(pairs) == sorted(run.competition.ids)
    for (_, row), matrix in zip(run.scores().images.iterrows(), run.scores().matrices, strict=True):
        np.testing.assert_array_equal(confusion_matrix(*pairs[row["id"]], 2), matrix)
    (run.fold_folder(1) / "finished.json").unlink()
    run.write_report()
    assert json.loads((run.folder / "report.json").read_text())["further"] == {}


def test_a_stage_takes_the_weights_of_a_finished_one_on_the_same_data(tmp_path, two_folds):
    run = new_run(tmp_path / "later")
    keep_folds(run.folder, run.competition, ALONE, lambda: run.folds)
    expected = trained(new_run(two_folds))(1).state_dict()
    loaded = run.load_stage(two_folds, 1, tiny_network(seed=5)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    with pytest.raises(FileNotFoundError, match="where fold 7 is not finished: run that stage first"):
        run.load_stage(two_folds, 7, tiny_network())
    other = new_run(tmp_path / "later", TinyCompetition(size=(45, 62)))
    with pytest.raises(ValueError, match="may have seen the held-out pictures"):
        other.load_stage(two_folds, 1, tiny_network())
    (run.folder / "folds.csv").write_text((run.folder / "folds.csv").read_text().replace(",0", ",1"))
    with pytest.raises(ValueError, match="may have seen the held-out pictures"):
        run.load_stage(two_folds, 1, tiny_network())


def test_loaders_read_at_the_networks_size_or_at_the_pictures_own(tmp_path):
    for size, shape in ((SIZE, SIZE), (None, (45, 61))):
        run = new_run(tmp_path, size=size)
        train_loader, val_loader = run.loaders(0, None, batch_size=2)
        assert next(iter(train_loader)).image.shape == (2, 3, *shape)
        assert next(iter(val_loader)).mask.shape == (2 if size else 1, *shape)
        assert [id for batch in val_loader for id in batch.id] == run.held_out(0)
        assert {id for batch in train_loader for id in batch.id} <= set(run.trained_on(0))
