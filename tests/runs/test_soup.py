"""Averages of a run's last epochs as a run of its own, against weights, statistics and masks that are made by hand."""

import json
import shutil

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from salt_drawn import SIZE, Salt, competition_of, opened, salt_run
from torch import nn
from torch.optim.swa_utils import update_bn

from kit.cli.soup import Soup as Command
from kit.cli.soup import table
from kit.ledger.status import status_of
from kit.prediction import TTA, Predictor
from kit.runs import Plan, join_runs, read_run, recipes_of
from kit.runs.averages import Averages
from kit.runs.blend import blend_runs
from kit.runs.blend_submit import lacking_tests
from kit.runs.run import begin
from kit.runs.saving import save_predictor, saved_run
from kit.runs.soup import make_soup
from kit.runs.training import _settings_of
from kit.scoring import MeanDice
from kit.training import adamw
from kit.training.averages import kept_path
from kit.training.checkpoint import OtherRun, save_weights

METRIC = MeanDice()
BIASES = {1: 9.0, 2: 30.0, 3: 9.0, 4: -9.0}  # of each epoch; the mean of the last two is 0
OWN = 6.0  # of the weights that the run predicts with


class Normed(nn.Module):
    """Foreground where an image is one deviation brighter than its training images are on average."""

    def __init__(self, bias=OWN):
        super().__init__()
        self.norm, self.sum = nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.sum.weight[:] = 5 / 3
            self.sum.bias[:] = bias - 5

    def forward(self, images):
        return self.sum(self.norm(images))


def normalised(image):
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return torch.from_numpy(((image / 255 - mean) / deviation).astype(np.float32).transpose(2, 0, 1))


def statistics(network, ids):
    update_bn(torch.stack([normalised(Salt().read_image(id)) for id in ids]).split(8), network)
    return network.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose folds keep four epochs, its test predictions, and all images as files."""
    folder = tmp_path_factory.mktemp("soup")
    data = Salt(20)
    own = statistics(Normed(), data.ids)

    def network():
        made = Normed()
        made.load_state_dict(own.state_dict())
        return made

    run = salt_run(folder / "mine", data, network=network, metric=METRIC, tta=TTA())
    save_predictor(run, saved_run(run, Normed, competition_of(run.dataset, metric=METRIC), METRIC))
    for fold in range(4):
        for epoch, bias in BIASES.items():
            path = kept_path(run.fold_folder(fold), epoch)
            path.parent.mkdir(exist_ok=True)
            save_weights(path, Normed(bias), {})
    for name, ids in (("images", run.dataset.ids), ("test", run.dataset.test_ids)):
        (folder / name).mkdir()
        for id in ids:
            content = cv2.imencode(".png", np.ascontiguousarray(run.dataset.read_image(id)[..., ::-1]))[1]
            (folder / name / f"{id}.png").write_bytes(content.tobytes())
    return run


@pytest.fixture(scope="module")
def made(run):
    folder = run.folder.parent
    return make_soup(read_run(run.folder), folder / "images", folder / "mine_soup", tests=folder / "test", device="cpu")


def by_hand(run, fold):
    """The mean of the last two epochs with statistics of the fold's training images, as torch computes them."""
    network = Normed((BIASES[3] + BIASES[4]) / 2)
    return statistics(network, [id for id, own in zip(run.dataset.ids, run.folds, strict=True) if own != fold])


def test_the_weights_and_predictions_are_those_made_by_hand(run, made):
    assert made.found.picks == dict.fromkeys(range(4), (3, 4))
    found, counts = read_run(made.out), []
    for fold in range(4):
        network, kept = by_hand(run, fold), safetensors.torch.load_file(made.out / f"fold{fold}/last.safetensors")
        for name, value in network.state_dict().items():
            torch.testing.assert_close(kept[name], value, rtol=1e-4, atol=1e-5)
        for id in [id for id, own in zip(run.dataset.ids, run.folds, strict=True) if own == fold][::3]:
            with torch.no_grad():
                probs = network(normalised(run.dataset.read_image(id))[None]).sigmoid()[0].numpy()
            assert np.abs(found.levels(id).astype(int) - np.floor(256 * probs).clip(0, 255)).max() <= 1
    for id in found.ids:
        counts.append(METRIC.counts(run.dataset.read_mask(id), (found.levels(id)[0] >= 128).astype(np.uint8)))
    score = METRIC.score(np.sum(counts, axis=0))
    assert METRIC.score(found.scores.counts.sum(axis=0)) == pytest.approx(score)
    facts = json.loads((made.out / "soup.json").read_text())
    assert facts["cross_fitted"] == facts["score"]["value"] == pytest.approx(score)
    status = status_of(made.out)
    assert (status.score["name"], status.score["value"]) == (METRIC.name, facts["score"]["value"])
    assert status.next == f"python -m kit tune {made.out}"
    assert facts["before"] == pytest.approx(METRIC.score(read_run(run.folder).scores.counts.sum(axis=0)))
    assert score > facts["before"] + 0.1
    assert facts["picks"] == {str(fold): [3, 4] for fold in range(4)}
    assert "fold 2: mean of epochs 3, 4" in table(facts)


def test_the_new_run_is_compared_blended_and_predicts_as_any_other(run, made):
    both = [read_run(run.folder), read_run(made.out)]
    assert len(join_runs(both)) == 2
    assert both[0].key != both[1].key
    assert len(recipes_of(both)) == 2  # no two seeds of one recipe
    assert lacking_tests(both[1]) == ""
    assert blend_runs([run.folder, made.out]).mix.members == (1,)
    predictor = Predictor.load(made.out, 0, "cpu")
    id = run.dataset.test_ids[0]
    kept, new = both[1].tests(0).read(id), predictor.predict_levels(run.dataset.read_image(id))
    assert np.abs(kept.astype(int) - new).max() <= 1
    assert both[1].test_sizes == dict.fromkeys(run.dataset.test_ids, SIZE)
    with pytest.raises(OtherRun, match=r"averaged epochs 0: 3\+4; 1: .* -> absent"):
        begin(opened(made.out, Salt(20), tta=TTA()))  # no recipe trains in its folder


def test_a_choice_looks_at_its_own_images_alone():
    """Against brute force over the same options, on random counts."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        averages, epochs = object.__new__(Averages), (2, 3, 5)
        subsets = [tuple(e for e, is_in in zip(epochs, bits, strict=True) if is_in) for bits in np.ndindex(2, 2, 2)]
        averages.known = {one: rng.random((12, 2)) for one in subsets}
        averages.run = type("Run", (), {"metric": staticmethod(lambda sums: sums[..., 0] / sums[..., 1])})
        rows = rng.permutation(12)[:7]
        value = {one: c[rows, 0].sum() / c[rows, 1].sum() for one, c in averages.known.items()}
        order, greedy = sorted(epochs, key=lambda e: -value[(e,)]), []
        for epoch in order:
            if not greedy or value[tuple(sorted([*greedy, epoch]))] >= value[tuple(sorted(greedy))]:
                greedy.append(epoch)
        options = [(), (5,), (3, 5), (2, 3, 5), (2,), (3,), tuple(sorted(greedy))]
        assert averages.best_of(epochs, rows) == max(options, key=value.get)
        for counts in averages.known.values():
            counts[np.setdiff1d(np.arange(12), rows)] = rng.random((5, 2))
        assert averages.best_of(epochs, rows) == max(options, key=value.get)


def test_nothing_is_chosen_where_the_number_is_given_and_full_fits_are_averaged(run, tmp_path, capsys):
    mine = shutil.copytree(run.folder, tmp_path / "mine")
    shutil.copytree(mine / "fold0", mine / "full7")
    facts = json.loads((mine / "full7/finished.json").read_text())
    (mine / "full7/finished.json").write_text(json.dumps({"recipe": facts["recipe"], "key": "7", "seed": 7}))
    assert Command(mine, run.folder.parent / "images", last=2, device="cpu", json=True).run() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == str(tmp_path / "mine_soup")
    assert (said["full_fits"], said["picks"]["3"]) == (["full7"], [3, 4])
    full = safetensors.torch.load_file(tmp_path / "mine_soup/full7/last.safetensors")
    torch.testing.assert_close(full["norm.running_mean"], statistics(Normed(), run.dataset.ids).norm.running_mean)
    assert Predictor.load(tmp_path / "mine_soup", "full", "cpu").networks[0].sum.bias.item() == pytest.approx(-5)


def test_what_cannot_be_averaged_is_refused_and_leaves_nothing(run, tmp_path, capsys):
    mine, images = shutil.copytree(run.folder, tmp_path / "mine"), run.folder.parent / "images"
    assert Command(mine, images, last=5, device="cpu").run() == 1
    assert "the mean of the last 5 epochs is asked for, and" in capsys.readouterr().out
    kept_path(mine / "fold1", 4).unlink()
    with pytest.raises(ValueError, match=r"fold 0: 1, 2, 3, 4; fold 1: 1, 2, 3; .* Plan\(…, keep=5\)"):
        make_soup(read_run(mine), images, tmp_path / "out")
    for fold in (1, 2, 3):
        (mine / f"fold{fold}/finished.json").unlink()
    with pytest.raises(ValueError, match=r"one fold of .* is finished, and an average is chosen"):
        make_soup(read_run(mine), images, tmp_path / "out")
    kept_path(mine / "fold0", 4).write_bytes(b"")
    with pytest.raises(ValueError, match=r"epoch0004\.safetensors is damaged"):
        make_soup(read_run(mine), images, tmp_path / "out", last=2, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="out exists"):
        make_soup(read_run(mine), images, tmp_path / "out")


def test_where_the_runs_own_weights_are_best_nothing_is_written(run, tmp_path):
    mine = shutil.copytree(run.folder, tmp_path / "mine")
    for fold in range(4):
        for epoch in BIASES:
            kept_path(mine / f"fold{fold}", epoch).unlink()
        for epoch in (3, 4):
            save_weights(kept_path(mine / f"fold{fold}", epoch), Normed(30.0), {})
    made = make_soup(read_run(mine), run.folder.parent / "images", tmp_path / "out", device="cpu")
    assert (made.out, made.facts["run"], made.found.best) == (None, None, ())
    assert not (tmp_path / "out").exists()


def test_keeping_weights_is_no_setting_of_training():
    """A checkpoint made without it is resumed with it."""
    model = Normed()
    plans = [Plan(3, 4, abs), Plan(3, 4, abs, keep=2)]
    texts = [_settings_of(plan, adamw(model, lr=0.1), abs) for plan in plans]
    assert texts[0] == texts[1]
    assert "plan.keep" not in texts[0]
