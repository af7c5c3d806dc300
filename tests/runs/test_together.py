"""Several runs that predict side by side: each as it does alone, whatever one of them cannot read."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest
from any_data import run_recipe
from task_runs import TASKS
from tiny import TinyDataset, tiny_network, triple
from tiny_run import frame

from kit.prediction import TTA, VIEWS, Predictor, Rule
from kit.prediction.predictor import UnreadableImages
from kit.runs.blend import blend_runs, write_facts
from kit.runs.predict import Request, predict
from kit.runs.together import stream_together
from kit.scoring import Mix

RULE = Rule((0.5, 0.5, 0.5))  # classes that may overlap
IDS = TinyDataset().test_ids


class Counting(TinyDataset):
    """Counts how often an image is decoded."""

    channels, dtype = ("red", "green", "blue"), "uint8"

    def __init__(self, broken=()):
        super().__init__(broken=broken)
        self.reads = []

    def read_image(self, id):
        self.reads.append(id)
        return super().read_image(id)


def predictors(each):
    """Two networks at one size and one at another, of three classes."""
    networks = [tiny_network(3, seed=seed).eval() for seed in range(3)]
    parts = [(networks[:2], (24, 40), "hflip"), (networks[2:], (30, 50), "none")]
    return [Predictor(own, frame(size), TTA(VIEWS[views]), RULE, each=each) for own, size, views in parts], networks


@pytest.mark.parametrize("threads", [0, 2])
def test_each_network_gives_the_levels_that_it_gives_alone(threads):
    used, networks = predictors(each=True)
    images = Counting()
    found = {id: levels for id, _, levels in stream_together([(one, images) for one in used], IDS, triple, threads)}
    assert sorted(images.reads) == sorted(IDS)  # decoded once for both
    assert list(found) == IDS
    sizes, views = [(24, 40), (24, 40), (30, 50)], ["hflip", "hflip", "none"]
    for r, (network, size, view) in enumerate(zip(networks, sizes, views, strict=True)):
        alone = Predictor([network], frame(size), TTA(VIEWS[view]), RULE)
        for id, _, levels in alone.stream(TinyDataset(), IDS, triple):
            np.testing.assert_array_equal(found[id][r], levels)
            assert levels.shape == (3, *size)


def test_an_image_that_one_run_cannot_read_is_left_out_in_all():
    used, _ = predictors(each=True)
    for broken in (({IDS[1], IDS[4]}, {IDS[2]}), ((), {IDS[1], IDS[2], IDS[4]}), ({IDS[1], IDS[2], IDS[4]}, ())):
        pairs = list(zip(used, map(Counting, broken), strict=True))  # as data sets of other channels have them
        found = stream_together(pairs, IDS, triple)
        for expected in (IDS[0], IDS[3]):
            id, _, levels = next(found)
            assert (id, len(levels)) == (expected, 3)
        with pytest.raises(UnreadableImages):
            next(found)


def test_the_mean_is_as_before_unless_each_is_asked_for():
    mean = predictors(each=False)[0][0]
    [(_, _, joined)] = predictors(each=True)[0][0].stream(TinyDataset(), ["test_00"], triple)
    [(_, _, levels)] = mean.stream(TinyDataset(), ["test_00"], triple)
    assert joined.shape == (6, 24, 40)
    np.testing.assert_array_equal(levels, joined.reshape(2, 3, 24, 40).astype(np.float32).mean(0))


@pytest.mark.slow  # a training each
@pytest.mark.parametrize("task", TASKS)
def test_a_blend_of_every_task_gives_masks_as_files(task, tmp_path):
    """Of a run and a copy of it: the mean of equal levels are these levels."""
    dataset, network, loss = TASKS[task]
    run = run_recipe(dataset(), tmp_path / "one", network, loss)
    shutil.copytree(run.folder, tmp_path / "two")
    found = blend_runs([run.folder, tmp_path / "two"])
    rule, layers = found.rule, len(found.mix.weights)
    mix = Mix(((2, 1),) * layers, (0,) * layers)
    chosen = found.found.chosen._replace(mix=mix)
    write_facts(tmp_path / "blend.json", dataclasses.replace(found, found=found.found._replace(chosen=chosen)), None)
    ids = run.dataset.ids[:3]
    (tmp_path / "images").mkdir()
    for id in ids:
        np.save(tmp_path / f"images/{id}.npy", run.dataset.read_image(id))
    result = predict(Request(tmp_path / "blend.json", tmp_path / "images", tmp_path / "masks", devices=("cpu",)))
    assert (result.errors, result.problems) == ([], {})
    predictor = Predictor.load(run.folder, device="cpu")
    for id in ids:
        image = run.dataset.read_image(id)
        mask = rule.mask(predictor.predict_levels(image), image.shape[:2])
        if rule.separate:
            names = [f"{id}_{name}" for name in run.dataset.classes]
            written = np.stack([cv2.imread(str(tmp_path / f"masks/{name}.png"), -1) > 0 for name in names], axis=2)
        else:
            written = cv2.imread(str(tmp_path / f"masks/{id}.png"), -1)
        assert (written != mask).mean() < 5e-3  # the batch has another shape
