"""Samples with pseudo-labels: soft labels in expectation, undecided pixels ignored, a share of the samples."""

from collections import Counter

import numpy as np
import pytest
import torch
from tiny import TinyDataset

from kit.data import Resizing
from kit.data.pseudo import PseudoSamples, draw, mean_levels
from kit.data.samples import SegmentationDataset
from kit.losses import bce


def test_a_drawn_mask_has_the_probability_of_its_level():
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    rng = np.random.default_rng(0)
    masks = np.stack([draw(levels, (0.5, 0.5), False, rng) for _ in range(2000)])
    np.testing.assert_allclose(masks.mean(axis=0), levels[0] / 255, atol=0.05)
    assert masks[:, 0, 0].max() == 0
    assert masks[:, 15, 15].min() == 1


def test_the_expected_loss_is_that_of_the_soft_label():
    torch.manual_seed(0)
    logits, rng = torch.randn(1, 1, 16, 16), np.random.default_rng(1)
    levels = rng.uniform(0, 255, (1, 16, 16)).astype(np.float32)
    masks = [torch.from_numpy(draw(levels, (0.5, 0.5), False, rng)).long()[None] for _ in range(2000)]
    drawn = torch.stack([bce(logits, mask) for mask in masks]).mean()
    soft = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.from_numpy(levels / 255))
    np.testing.assert_allclose(drawn, soft, rtol=5e-3)


def test_undecided_pixels_are_ignored():
    levels = np.array([[[0, 100, 128, 155, 255]]], np.float32)
    mask = draw(levels, (0.4, 0.6), False, np.random.default_rng(0))
    assert mask[0, [0, 4]].tolist() == [0, 1]
    assert (mask[0] == 255).tolist() == [False, False, True, False, False]
    classes = np.array([[[250, 100]], [[3, 80]], [[2, 75]]], np.float32)
    assert draw(classes, (0.4, 0.6), False, np.random.default_rng(0))[0, 1] == 255
    shares = Counter(int(draw(classes, (0, 0), False, np.random.default_rng(i))[0, 1]) for i in range(3000))
    np.testing.assert_allclose([shares[k] / 3000 for k in range(3)], np.array([100, 80, 75]) / 255, atol=0.03)


def test_classes_that_overlap_are_drawn_one_by_one():
    levels = np.stack([np.full((40, 40), value, np.float32) for value in (0, 51, 255)])
    mask = draw(levels, (0.4, 0.6), True, np.random.default_rng(0))
    assert mask.shape == (40, 40, 3)
    np.testing.assert_allclose(mask.mean(axis=(0, 1)), [0, 0.2, 1], atol=0.03)


def test_the_mean_of_networks_of_two_sizes():
    one, other = np.full((1, 4, 4), 200, np.uint8), np.full((1, 8, 6), 100, np.uint8)
    np.testing.assert_allclose(mean_levels([one, other], (5, 7)), np.full((1, 5, 7), 150))


def samples(share=0.5, resizing=Resizing((24, 40)), seed=0, key="a", augment=None):  # noqa: B008 (frozen)
    data = TinyDataset()

    def read(id):
        return resizing.image(data.read_image(id)), resizing.mask(data.read_mask(id))

    labelled = SegmentationDataset(read, data.ids, augment)
    levels = lambda id: [data.read_mask(id)[None] * np.uint8(255)]  # noqa: E731
    return PseudoSamples(
        labelled, data.test_ids, data.read_image, levels, resizing, share=share, seed=seed, key=key
    )  # fmt: skip


@pytest.mark.parametrize(("share", "count"), [(0.5, 24), (0.25, 16)])
def test_every_labelled_image_once_and_a_share_of_the_others(share, count):
    found = samples(share)
    assert len(found) == count
    drawn = Counter()
    for epoch in range(10):
        ids = [found[epoch, index].id for index in range(len(found))]
        assert sorted(ids[:12]) == sorted(TinyDataset().ids)
        drawn.update(ids[12:])
    assert set(drawn) == set(TinyDataset().test_ids)
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_a_sample_is_the_same_again_and_another_in_another_epoch():
    data, found = TinyDataset(), samples()
    one, again = (samples()[3, 20] for _ in range(2))
    assert one.id == again.id
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.mask, again.mask)
    assert len({found[epoch, 20].id for epoch in range(5)}) > 1
    expected = Resizing((24, 40)).image(data.read_image(one.id))
    np.testing.assert_array_equal(one.image.permute(1, 2, 0), expected)
    truth = Resizing((24, 40)).mask(data.read_mask(one.id))
    mask = one.mask.numpy()
    assert np.mean(mask[mask != 255] != truth[mask != 255]) < 0.05
    assert mask.dtype == np.uint8


def test_padding_is_ignored():
    found = samples(resizing=Resizing((40, 40), keep_ratio=True))[0, 20]
    assert found.mask.shape == (40, 40)
    assert (found.mask[0] == 255).all()


def test_what_cannot_be():
    with pytest.raises(ValueError, match="share 1"):
        samples(share=1.0)
    assert repr(samples(key="a")) != repr(samples(key="b"))
    assert len(repr(samples(share=0.333333))) <= 60
