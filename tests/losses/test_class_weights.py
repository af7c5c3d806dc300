import numpy as np
import pytest
import torch
from scipy import ndimage

from kit.losses import cross_entropy, median_frequency_weights, unet_border_weights, weighted_cross_entropy
from kit.losses.nearest_cells import two_distances


def test_median_frequency_weights_by_hand(capsys):
    """Two masks of 8 and 4 pixels, one ignored: freq 0 is 5/11, freq 1 is 2/7, freq 2 is 4/11; class 3 never occurs."""
    masks = [np.array([[0, 0, 0, 1], [1, 2, 2, 255]], np.uint8), np.array([[0, 0, 2, 2]], np.int64)]
    found = median_frequency_weights(iter(masks), num_classes=4)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, [(4 / 11) / (5 / 11), (4 / 11) / (2 / 7), 1, 0], rtol=1e-6)
    assert capsys.readouterr().out == "classes that occur in no mask get weight 0: 3\n"


def test_median_frequency_weights_agree_with_loops(capsys):
    rng = np.random.default_rng(0)
    masks = [rng.choice([0, 1, 2, 3, 255], (9, 11), p=[0.6, 0.2, 0.1, 0.05, 0.05]) for _ in range(4)]
    masks[1][masks[1] == 2] = 0
    frequencies = []
    for c in range(4):
        holding = [mask for mask in masks if (mask == c).any()]
        frequencies.append(sum((mask == c).sum() for mask in holding) / sum((mask != 255).sum() for mask in holding))
    expected = np.median(frequencies) / frequencies
    np.testing.assert_allclose(median_frequency_weights(masks, 4), expected, rtol=1e-6)
    assert capsys.readouterr().out == ""  # all occur, so nothing is said
    truth = torch.from_numpy(np.stack(masks))
    assert cross_entropy(torch.zeros(4, 4, 9, 11), truth, class_weights=median_frequency_weights(masks, 4)).isfinite()


def test_median_frequency_weights_refuse_what_they_cannot_count():
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="mask 1 holds 3, 7; expected 0 … 2 or 255"):
        median_frequency_weights([good, np.array([[0, 3, 7, 255]])], 3)
    with pytest.raises(ValueError, match="mask 0 holds -1; expected"):
        median_frequency_weights([np.array([[0, -1]])], 3)
    for masks in ([], [good + 255]):
        with pytest.raises(ValueError, match="no mask holds a pixel that counts"):
            median_frequency_weights(masks, 3)


def loop_border_weights(instances, w0, sigma, class_weights):
    """Equation 2 with distances to every pixel of every cell, in four loops."""
    cells = [np.argwhere(instances == number) for number in np.unique(instances) if number]
    weights = np.zeros(instances.shape)
    for (row, column), number in np.ndenumerate(instances):
        if number:
            weights[row, column] = class_weights[1]
            continue
        distances = sorted(min(np.hypot(y - row, x - column) for y, x in cell) for cell in cells)
        border = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2)) if len(distances) > 1 else 0
        weights[row, column] = class_weights[0] + border
    return weights


OTHERS = (np.uint8, 3.0, 1.0), (np.int32, 1.0, 4.0)


@pytest.mark.parametrize(
    ("dtype", "w0", "sigma"), [(np.uint16, 10.0, 5.0), *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)]
)
def test_border_weights_agree_with_loops(dtype, w0, sigma):
    """Four cells, one in two parts, two that touch, numbers with gaps, one at the image's corner."""
    instances = np.zeros((24, 31), dtype)
    instances[2:8, 3:9] = 1
    instances[2:8, 11:15] = 7
    instances[8:12, 13:17] = 100
    instances[20:24, 26:31] = 101
    instances[15:17, 0:3] = 1
    found = unet_border_weights(instances, w0, sigma, class_weights=(0.5, 2.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, loop_border_weights(instances, w0, sigma, (0.5, 2.0)), rtol=1e-6)
    background = (instances == 0).sum()
    balance = (0.5 * instances.size / background, 0.5 * instances.size / (instances.size - background))
    found = unet_border_weights(instances, w0, sigma)
    np.testing.assert_allclose(found, loop_border_weights(instances, w0, sigma, balance), rtol=1e-6)


def test_border_weights_by_hand():
    """One pixel between two cells: d1 = d2 = 1, so w0 exp(-4 / 50) above the background's weight."""
    instances = np.array([[1, 1, 0, 2, 2]], np.uint16)
    np.testing.assert_allclose(
        unet_border_weights(instances, class_weights=(1, 1)), [[1, 1, 1 + 10 * np.exp(-0.08), 1, 1]], rtol=1e-6
    )
    alone = unet_border_weights(np.array([[0, 1, 1, 0]], np.uint16))
    np.testing.assert_array_equal(alone, np.ones((1, 4)))  # half each; one cell has no second nearest
    np.testing.assert_array_equal(unet_border_weights(np.zeros((3, 4), np.uint16)), np.ones((3, 4)))
    np.testing.assert_array_equal(unet_border_weights(np.full((3, 4), 9, np.uint16)), np.ones((3, 4)))


def test_border_weights_leave_out_only_what_float32_cannot_see():
    """Cells on a large image, from windows, against whole-image distances."""
    rng = np.random.default_rng(0)
    seeds = np.zeros((200, 260), bool)
    seeds[rng.integers(0, 200, 12), rng.integers(0, 260, 12)] = True
    instances = ndimage.label(ndimage.binary_dilation(seeds, iterations=6))[0]
    count = instances.max()
    assert count >= 6
    nearest = np.sort([ndimage.distance_transform_edt(instances != n) for n in range(1, count + 1)], axis=0)
    border = 10 * np.exp(-((nearest[0] + nearest[1]) ** 2) / 50)
    found = unet_border_weights(instances, class_weights=(1, 1))
    np.testing.assert_array_equal(found, np.where(instances > 0, 1, 1 + border).astype(np.float32))
    assert found.max() > 5


@pytest.mark.parametrize(("labels", "share"), [(1, 0.1), (2, 0.02), (3, 0.5), (40, 0.2), (300, 0.01)])
def test_two_distances_are_those_of_a_transform_for_each_cell(labels, share):
    """Cells of scattered pixels, in any number of parts, on images that are one pixel wide or high too."""
    rng = np.random.default_rng(labels)
    for shape in ((40, 53), (1, 60), (60, 1)):
        instances = rng.integers(1, labels + 1, shape) * (rng.random(shape) < share)
        apart = [ndimage.distance_transform_edt(instances != n) for n in np.unique(instances[instances > 0])]
        nearest = np.sort([*apart, *np.full((2, *shape), np.inf)], axis=0)[:2]
        np.testing.assert_array_equal(two_distances(instances, reach=60), np.where(instances > 0, np.inf, nearest))


@pytest.mark.parametrize("instances", [np.zeros((3, 4)), np.zeros((1, 3, 4), np.uint16), np.full((3, 4), -1)])
def test_border_weights_refuse_what_numbers_no_cells(instances):
    with pytest.raises(ValueError, match=r"expected instances \(H, W\) of integers from 0 up, got "):
        unet_border_weights(instances)


def test_the_map_goes_into_the_loss():
    """By hand: zero logits cost log 2 a pixel, so the loss is log 2 times the mean weight."""
    instances = np.zeros((12, 16), np.uint16)
    instances[2:10, 2:7], instances[2:10, 9:14] = 1, 2
    weights = unet_border_weights(instances)
    masks = torch.from_numpy((instances > 0).astype(np.uint8))[None]
    for channels in (1, 2):
        found = weighted_cross_entropy(torch.zeros(1, channels, 12, 16), masks, torch.from_numpy(weights)[None])
        assert found.item() == pytest.approx(np.log(2) * weights.mean(), rel=1e-6)
