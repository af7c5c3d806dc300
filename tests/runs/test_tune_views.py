"""Views that are tuned with the rule: what is kept of each set, what is chosen, and who obeys."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from salt_drawn import SIZE, Salt, bright_network, competition_of, opened, salt_run
from torch import nn

from kit.bundle.weights import copy_run
from kit.cli.tune import Tune, table
from kit.ledger.recording import tuned_of
from kit.prediction import TTA, VIEWS, Predictor, Rule
from kit.prediction.saved import read_ruled, read_saved
from kit.prediction.views import View
from kit.runs import Submission, read_run, submit
from kit.runs.predict import Request, predict
from kit.runs.saving import save_predictor, saved_run
from kit.runs.tuning import tune_run, write_tuned
from kit.runs.view_stores import predict_views, set_name, view_sets
from kit.scoring import MeanDice
from kit.submission import rle

METRIC = MeanDice()


class Slanted(nn.Module):
    """Sure of the left side and unsure of the right one, so that a mirror image mends it."""

    def __init__(self):
        super().__init__()
        self.bright = bright_network()

    def forward(self, images):
        return self.bright(images) + torch.linspace(6, -6, images.shape[3])


def submitted(run, keep_test=False):
    """The text of the CSV."""
    asked = Submission(
        competition_of(run.dataset, metric=METRIC), folder=run.folder.parent / "csv", keep_test=keep_test
    )
    return submit(run, asked, Slanted).read_text()


@pytest.fixture(scope="module")
def slanted(tmp_path_factory):
    """A run without views, its CSV, and its images as files."""
    folder = tmp_path_factory.mktemp("slanted")
    run = salt_run(folder / "mine", Salt(20), network=Slanted, metric=METRIC, tta=TTA())
    save_predictor(run, saved_run(run, Slanted, competition_of(run.dataset, metric=METRIC), METRIC))
    before = submitted(run)
    for name, ids in (("images", run.dataset.ids), ("test", run.dataset.test_ids)):
        (folder / name).mkdir()
        for id in ids:
            content = cv2.imencode(".png", np.ascontiguousarray(run.dataset.read_image(id)[..., ::-1]))[1]
            (folder / name / f"{id}.png").write_bytes(content.tobytes())
    return run, before


@pytest.fixture(scope="module")
def tuned(slanted):
    """Tuned with views, and the CSV from after; test predictions were kept."""
    run = slanted[0]
    read, ttas = read_run(run.folder), view_sets(("none", "hflip", "flips"))
    predict_views(read, run.folder.parent / "images", ttas, "cpu")
    found = tune_run(read, ("threshold", "min_area"), ttas)
    write_tuned(found)
    return found, submitted(opened(run.folder, Salt(20), tta=TTA()))


def by_hand(network, image, views, scales=(1,)):
    """The mean of the sigmoids of views and scales, in 256 steps, with torch alone."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.from_numpy(((image / 255 - mean) / deviation).astype(np.float32).transpose(2, 0, 1))[None]
    probs = []
    for scale in scales:
        size = [round(side * scale) for side in SIZE]
        how = {"mode": "bilinear", "align_corners": False, "antialias": True}
        small = nn.functional.interpolate(pixels, size, **how) if scale != 1 else pixels
        for axes in views:
            one = network(small.flip(axes)).sigmoid().flip(axes)
            probs.append(nn.functional.interpolate(one, SIZE, **how) if scale != 1 else one)
    return np.floor(256 * torch.stack(probs).mean(0)[0].detach().numpy()).clip(0, 255).astype(np.uint8)


def test_the_levels_of_a_set_are_those_of_its_views(slanted, tmp_path):
    run = slanted[0]
    mine = shutil.copytree(run.folder, tmp_path / "mine")
    read, images = read_run(mine), run.folder.parent / "images"
    ttas = view_sets(("none", "hflip"), (0.5,))
    assert [set_name(tta) for tta in ttas] == ["none", "hflip", "none_0.5_1.0", "hflip_0.5_1.0"]
    folders = predict_views(read, images, ttas, "cpu")
    assert folders == [mine / "views" / name for name in ("hflip", "none_0.5_1.0", "hflip_0.5_1.0")]  # oof/ has the own
    network = Slanted().eval()
    for name, views, scales in (("hflip", [[], [3]], [1]), ("hflip_0.5_1.0", [[], [3]], [0.5, 1])):
        for id in run.dataset.ids[::7]:
            levels = cv2.imread(str(mine / f"views/{name}/{id}.png"), cv2.IMREAD_UNCHANGED)
            expected = by_hand(network, run.dataset.read_image(id), views, scales)[0]
            assert np.abs(levels.astype(int) - expected).max() <= 1  # rounding of a float32
    one = mine / "views/hflip/salt_003.png"
    before, content = one.stat().st_mtime_ns, one.read_bytes()
    predict_views(read, images, ttas, "cpu")
    assert one.stat().st_mtime_ns == before  # nothing is predicted twice
    path = mine / "fold0/finished.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "other weights"}))
    one.write_bytes(b"")
    predict_views(read_run(mine), images, ttas, "cpu")
    assert one.read_bytes() == content


def test_the_views_that_mend_the_network_are_chosen_and_scored_on_other_folds(slanted, tuned):
    found, run = tuned[0], slanted[0]
    assert found.used, found.why
    assert found.views.best == TTA(VIEWS["hflip"])
    assert set(found.views.picks.values()) == {TTA(VIEWS["hflip"])}
    facts = json.loads((run.folder / "rule.json").read_text())
    assert (facts["format"], facts["views"]) == (2, {"views": "hflip", "scales": [1.0]})
    assert facts["views_tried"]["times"] == 2
    network, sums, picked = Slanted().eval(), [], []
    for id in run.dataset.ids:
        truth, rule = run.dataset.read_mask(id), found.found.picks[int(run.folds[run.dataset.ids.index(id)])]
        levels = by_hand(network, run.dataset.read_image(id), [[], [3]])
        sums.append(METRIC.counts(truth, run.rule.mask(levels, SIZE)))
        picked.append(METRIC.counts(truth, rule.mask(levels, SIZE)))
    assert facts["views_tried"]["tried"]["hflip"] == pytest.approx(METRIC.score(np.sum(sums, axis=0)), abs=2e-3)
    assert facts["cross_fitted"] == pytest.approx(METRIC.score(np.sum(picked, axis=0)), abs=2e-3)
    assert facts["views_tried"]["tried"]["none"] == pytest.approx(facts["before"]["score"])
    assert facts["cross_fitted"] > facts["before"]["score"] + 0.1
    text = "\n".join(table(facts, run.dataset.classes))
    assert "views: hflip, 2 times the prediction (the run's own: none)" in text
    assert "without fold 0: " in text


def masks_of(text):
    return {row["id"]: rle.decode(row["rle"], SIZE, order="F") for row in csv.DictReader(text.splitlines())}


def test_the_csv_predict_bundle_and_load_obey(slanted, tuned, tmp_path):
    found, after = tuned
    run, before = slanted
    rule, network = found.found.best, Slanted().eval()
    assert before != after
    predict(Request(run.folder, run.folder.parent / "test", tmp_path / "out.csv", devices=("cpu",)))
    assert masks_of((tmp_path / "out.csv").read_text()).keys() == masks_of(after).keys()
    for id, mask in masks_of(after).items():
        np.testing.assert_array_equal(masks_of((tmp_path / "out.csv").read_text())[id], mask)
        levels = by_hand(network, run.dataset.read_image(id), [[], [3]])
        assert (rule.mask(levels, SIZE) != mask).mean() < 2e-3
    assert Predictor.load(run.folder, device="cpu").tta == TTA(VIEWS["hflip"])
    copy_run(run.folder, read_ruled(run.folder), [0], tmp_path / "bundle")
    assert read_saved(tmp_path / "bundle").tta == TTA(VIEWS["hflip"])
    written = json.loads(next((run.folder / "written").glob("*.json")).read_text())["tuned"]
    assert written == {**found.found.best.facts, "views": {"views": "hflip", "scales": [1.0]}}
    assert tuned_of(run.folder, read_run(run.folder).key) is not None


def test_kept_test_predictions_stay_those_of_the_recipe(slanted, tuned, tmp_path):

    mine = shutil.copytree(slanted[0].folder, tmp_path / "mine")
    run = opened(mine, Salt(20), tta=TTA())
    assert submitted(run, keep_test=True) == tuned[1]
    store = read_run(mine).tests(0)
    for id in run.dataset.test_ids[:3]:
        expected = by_hand(Slanted().eval(), run.dataset.read_image(id), [[]])
        assert np.abs(store.read(id).astype(int) - expected).max() <= 1


def test_images_that_are_others_or_lacking_are_refused(slanted, tmp_path):
    run = slanted[0]
    odd = shutil.copytree(run.folder.parent / "images", tmp_path / "images")
    for path in odd.glob("*.png"):
        path.write_bytes(cv2.imencode(".png", 255 - cv2.imread(str(path)))[1].tobytes())
    mine = shutil.copytree(run.folder, tmp_path / "mine")
    with pytest.raises(ValueError, match=r"gives other predictions of salt_0\d\d than the run has kept"):
        predict_views(read_run(mine), odd, view_sets(("d4",)), "cpu")
    (odd / "salt_007.png").unlink()
    with pytest.raises(ValueError, match=r"images lacks 1 image that .*mine has held out:\n\s*salt_007"):
        predict_views(read_run(mine), odd, view_sets(("d4",)), "cpu")


def test_flags_that_lack_others_are_refused(slanted, capsys):
    folder = slanted[0].folder
    for flags, said in (
        ({"views": ("d4",)}, "--views needs the images that the run was trained on"),
        ({"scales": (0.5,)}, "--scales: about views, and none are tuned without --views"),
        ({"views": ("d4",), "images": folder, "scales": (9.0,)}, "--scales are factors of the network's size"),
    ):
        assert Tune(folder, **flags).run() == 1
        assert said in capsys.readouterr().out


def test_views_of_a_rule_alone_are_the_recipes_own(slanted, tmp_path):
    mine = shutil.copytree(slanted[0].folder, tmp_path / "mine")
    found = tune_run(read_run(mine), ("threshold",))
    assert not {"views", "views_tried"} & found.facts.keys()
    assert found.facts["format"] == 1
    assert View() in read_ruled(mine).tta.views
    assert isinstance(found.found.best, Rule)
