"""Bands of a large image are those of the whole image, bit for bit. Truth: Predictor on the whole image."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.data.normalise import IMAGENET, Normalisation
from kit.data.regions import ArrayRegions
from kit.data.resize import Resizing
from kit.data.scaled import ScaledRegions
from kit.prediction import TTA, VIEWS, Frame, Predictor, Rule, predict_slide
from kit.prediction.bands import level_bands


def network(channels=3, outputs=1, seed=0):
    """Two convolutions with a wide view and steep logits."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, outputs, 7, padding=3)
    net = nn.Sequential(*layers)
    with torch.no_grad():
        net[2].weight *= 8
    return net


def image_of(size, channels=3, dtype="uint8"):
    return np.random.default_rng(1).integers(0, 255, (*size, channels)).astype(dtype)


def both(image, networks, tile, tta=TTA(), normalise=IMAGENET):  # noqa: B008
    """The levels of the whole image, and of its bands put together."""
    predictor = Predictor(networks, Frame(Resizing(None), tile=tile, normalise=normalise), tta)
    bands = list(level_bands(predictor, ArrayRegions(image)))
    return predictor.predict_levels(image), bands


@pytest.mark.parametrize("views", ["none", "hflip", "flips", "d4"])
@pytest.mark.parametrize(("size", "tile"), [((150, 131), (40, 56)), ((97, 64), (32, 64)), ((70, 61), (64, 16))])
def test_bands_are_those_of_the_whole_image(views, size, tile):
    whole, bands = both(image_of(size), [network()], tile, TTA(VIEWS[views]))
    assert len(bands) > 1
    assert whole.std() > 20
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_several_networks_and_classes(outputs):
    networks = [network(outputs=outputs, seed=seed) for seed in range(3)]
    whole, bands = both(image_of((90, 101)), networks, (32, 48), TTA(VIEWS["hflip"]))
    assert bands[0].dtype == whole.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)


@pytest.mark.parametrize("views", ["none", "d4"])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_classes_that_overlap(outputs, views):
    rule = Rule(tuple(np.linspace(0.4, 0.6, outputs)))
    frame, image = Frame(Resizing(None), tile=(32, 48), normalise=IMAGENET), image_of((90, 101))
    predictor = Predictor([network(outputs=outputs)], frame, TTA(VIEWS[views]), rule)
    bands, whole = list(level_bands(predictor, ArrayRegions(image))), predictor.predict_levels(image)
    assert len(whole) == outputs
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)
    for order in ("C", "F"):
        runs, mask = predict_slide(predictor, ScaledRegions(ArrayRegions(image), 1), order), predictor.predict(image)
        for k in range(outputs):
            assert 0 < mask[..., k].mean() < 1
            np.testing.assert_array_equal(runs.layer(k + 1).read(0, 0, 90, 101), mask[..., k])


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (5, "uint16"), (4, "float32")])
def test_other_channels_and_dtypes(channels, dtype):
    normalise = Normalisation((0.4,) * channels, (0.3,) * channels)
    whole, bands = both(image_of((83, 60), channels, dtype), [network(channels)], (32, 32), normalise=normalise)
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)


@pytest.mark.parametrize("size", [(20, 30), (40, 56), (20, 90), (90, 30)])
def test_an_image_smaller_than_a_tile_in_one_or_both_sides(size):
    whole, bands = both(image_of(size), [network()], (40, 56), TTA(VIEWS["d4"]))
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)


@pytest.mark.parametrize(("rows", "step"), [(1, 64), (16, 64), (40, 80), (100, 100), (500, 150)])
def test_rows_of_the_file_are_read_once_in_order_and_several_thin_blocks_at_once(rows, step):
    image, seen = image_of((150, 70)), []

    class Watched(ArrayRegions):
        def read(self, y, x, height, width):
            seen.append((y, height))
            return super().read(y, x, height, width)

    regions = Watched(image)
    regions.block = (rows, 32)
    predictor = Predictor([network()], Frame(Resizing(None), tile=(40, 40), normalise=IMAGENET), TTA(VIEWS["d4"]))
    list(level_bands(predictor, regions))
    assert seen == [(y, min(step, 150 - y)) for y in range(0, 150, step)]


@pytest.mark.parametrize(
    ("frame", "tta"),
    [
        (Frame(Resizing(None), normalise=IMAGENET), TTA()),
        (Frame(Resizing((64, 64)), tile=(32, 32), normalise=IMAGENET), TTA()),
        (Frame(Resizing(None), tile=(32, 32), normalise=IMAGENET), TTA(scales=(1.0, 2.0))),
    ],
)
def test_what_needs_the_whole_image_is_refused(frame, tta):
    with pytest.raises(ValueError, match="a slide is predicted in tiles"):
        next(level_bands(Predictor([network()], frame, tta), ArrayRegions(image_of((80, 80)))))


def test_logits_that_are_not_finite_are_noticed():
    net = network()
    with torch.no_grad():
        net[2].bias[0] = float("nan")
    with pytest.raises(FloatingPointError):
        both(image_of((80, 80)), [net], (32, 32))
