"""Networks that find objects, through the Predictor: views, sizes, padding, several networks, and what is refused."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finders import FindBright

from kit.data import Resizing
from kit.data.normalise import Normalisation
from kit.models.mask_rcnn import Detections
from kit.prediction import TTA, VIEWS, Frame, Predictor, Rule, View
from kit.prediction.detecting import detections
from kit.prediction.object_levels import joined, read_objects
from kit.prediction.saved_blend import Mixing
from kit.scoring import instance_precision

FOUND = Rule(objects=True, detected=True)
GREY = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def scene(seed, size=(96, 128)):
    """Bright discs, none of which touch: the image u8 (H, W, 3), and their labels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, np.int32)
    for label, (row, column) in enumerate(itertools.product(range(12, size[0], 26), range(12, size[1], 26)), start=1):
        tall, wide = rng.uniform(5, 10, 2)
        dy, dx = rng.uniform(-2, 2, 2)
        labels[((y - row - dy) / tall) ** 2 + ((x - column - dx) / wide) ** 2 < 1] = label
    image = np.where(labels > 0, 200, 60).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2), labels


def predictor(networks=1, tta="none", **frame):
    options = {"resizing": Resizing((96, 128)), "normalise": GREY, **frame}
    tta = TTA(VIEWS[tta]) if isinstance(tta, str) else tta
    return Predictor([FindBright() for _ in range(networks)], Frame(**options), tta, FOUND)


def test_boxes_and_masks_of_every_view_are_brought_back():
    """A network that finds one box with marked corners: every view must give the very box and mask."""
    mask = torch.zeros(28, 28)
    mask[:5, :9], mask[20:, :3] = 1, 0.5
    box, image = torch.tensor([10.0, 4.0, 40.0, 19.0]), torch.zeros(1, 1, 50, 70)
    image[0, 0, 4:19, 10:40] = torch.nn.functional.interpolate(mask[None, None], (15, 30))[0, 0] + 1

    def network(seen):
        """Read the box from the image's values above 0, and the mask from them."""
        rows, columns = torch.nonzero(seen[0, 0] > 0, as_tuple=True)
        y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        part = torch.nn.functional.interpolate(seen[:, :, y0:y1, x0:x1] - 1, (28, 28))[0]
        return [Detections(torch.tensor([[x0, y0, x1, y1]]).float(), torch.ones(1), torch.ones(1).long(), part)]

    [plain] = detections(network, image, TTA())
    for view in VIEWS["d4"]:
        [[found]] = detections(network, image, TTA((view,)))
        torch.testing.assert_close(found.boxes[0], box)
        assert (found.masks - plain[0].masks).abs().mean() < 0.12  # nearest cells are rounded the other way
        assert found.masks[0, 2, 4] == 1
        assert found.masks[0, 25, 1] == 0.5
        assert found.masks[0, 2, 25] == found.masks[0, 25, 20] == 0
    [[found]] = detections(network, image, TTA((View(),), (2.0,)))
    assert (found.boxes[0] - box).abs().max() <= 0.5


def test_objects_are_found_at_the_image_own_size():
    """Also where the network sees the image smaller, stretched or padded; mirrored views agree with the plain one."""
    resizings = Resizing((96, 128)), Resizing((96, 128), keep_ratio=True), Resizing(None)
    for seed, size in ((0, (96, 128)), (1, (192, 200)), (2, (150, 100))):
        image, labels = scene(seed, size)
        for number, resizing in enumerate(resizings):
            tta = ("none", "hflip", "d4")[(number + seed) % 3]  # each with each resizing once
            found = predictor(tta=tta, resizing=resizing).predict(image)
            assert found.shape == size
            assert found.max() == labels.max()
            assert instance_precision(labels, found) > (0.75 if resizing.size else 0.9), (size, resizing, tta)


def test_several_networks_are_joined_and_a_stream_gives_the_same():
    images = {f"i{seed}": scene(seed)[0] for seed in range(5)}
    data = SimpleNamespace(read_image=images.__getitem__, channels=("r", "g", "b"), dtype="uint8")
    both = predictor(2, "hflip")
    with torch.no_grad():
        both.networks[1].layer.bias -= 0.9  # finds smaller discs
    streamed = dict(both.stream(data, list(images), lambda id, size, levels: (id, levels), threads=1))
    assert list(streamed) == list(images)
    apart = Predictor(both.networks, both.frame, both.tta, FOUND, each=True)  # as a blend of runs takes them
    apart = dict(apart.stream(data, list(images), lambda id, size, levels: (id, levels.reshape(2, 3, *size))))
    for id, image in images.items():
        np.testing.assert_array_equal(streamed[id], both.predict_levels(image))
        parts = []
        for network in both.networks:
            alone = Predictor([network], both.frame, both.tta, FOUND)
            parts.append(alone.predict_levels(image))
        np.testing.assert_array_equal(streamed[id], joined(parts))  # as when they are kept, and joined later
        np.testing.assert_array_equal(apart[id], parts)
        for weights, wanted in ((((1,),), joined(parts)), (((1,), (3,)), joined(parts, (1, 3)))):
            mixed = Mixing(weights, FOUND, None)(parts, image.shape[:2], [2 // len(weights)] * len(weights))
            np.testing.assert_array_equal(mixed, wanted)
        assert read_objects(streamed[id])[1].max() < max(read_objects(part)[1].max() for part in parts)


def test_an_image_without_objects_has_none():
    black = np.zeros((40, 50, 3), np.uint8)
    levels = predictor(2, "d4").predict_levels(black)
    assert levels.shape == (3, 40, 50)
    assert not levels.any()


def test_networks_and_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the frame has tiles of 32×32, and a network that finds objects sees whole"):
        predictor(tile=(32, 32))
    pixels = Predictor([torch.nn.Conv2d(3, 1, 1)], Frame(Resizing((8, 8)), normalise=GREY), rule=FOUND)
    with pytest.raises(TypeError, match="the network gives Tensor, expected a list with a Detections"):
        pixels.predict(np.zeros((8, 8, 3), np.uint8))
    broken = predictor()
    broken.networks[0]._find = lambda probs: Detections(
        *(torch.full(shape, torch.nan) for shape in ((1, 4), (1,), (1,), (1, 28, 28)))
    )
    with pytest.raises(FloatingPointError, match="boxes, scores or masks that are not finite"):
        broken.predict(np.zeros((8, 8, 3), np.uint8))
    data = SimpleNamespace(read_image=lambda id: np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(FloatingPointError, match="the network gives boxes that are not finite for one of a, b"):
        list(broken.stream(data, ["a", "b"], lambda *all: all))
