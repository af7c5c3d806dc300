"""Training on label images: what the loss sees of them, their cache, and that they are never shrunk."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from kit.data import (
    Dataset,
    Resizing,
    SegmentationDataset,
    border_target,
    collate_samples,
    object_labels,
    resize_labels,
    sample_reader,
    turning_augment,
)
from kit.data.cache import ImageCache, SizedReader
from kit.data.label_images import foreground_target, small_labels
from kit.scoring import instance_precision


class Patches(Dataset):
    """Patches of random labels up to a million, at several sizes; the image shows them."""

    name, task, classes = "patches", "instances", ("background", "patch")

    def __init__(self, **sizes):
        self.sizes = {"a": (30, 40), "b": (37, 25), "c": (64, 64)} | sizes
        self.ids = list(self.sizes)

    def read_mask(self, id):
        random = np.random.default_rng(self.ids.index(id))
        height, width = {"a": (30, 40), "b": (37, 25), "c": (64, 64)}[id]
        rows = random.choice([0, 0, 5, 70_000, 1_000_000], (-(-height // 6), -(-width // 6)))
        return np.kron(rows, np.ones((6, 6), np.int64)).astype(np.int32)[:height, :width]

    def read_image(self, id):
        return np.repeat((self.read_mask(id) % 251).astype(np.uint8)[..., None], 3, axis=2)

    def shape(self, id):
        return self.sizes[id]


def discs(count=60, size=160, seed=0):
    """A label image of discs, of which many touch."""
    random, labels = np.random.default_rng(seed), np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for label in range(1, count + 1):
        radius, (top, left) = random.uniform(4, 12), random.uniform(0, size, 2)
        labels[(np.hypot(y - top, x - left) < radius) & (labels == 0)] = label
    return labels


def test_labels_fit_u16_and_stay_apart():
    labels = Patches().read_mask("c")
    small = small_labels(labels)
    assert small.dtype == np.uint16
    np.testing.assert_array_equal(small == 0, labels == 0)
    pairs = set(zip(labels.ravel().tolist(), small.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(labels)) == len(np.unique(small))
    np.testing.assert_array_equal(small_labels(discs()), discs())
    filled = small_labels(np.full((2, 2), 2**30, np.int32))
    assert filled.min() == 1
    with pytest.raises(ValueError, match=r"has 65,536 objects, training takes 65,535"):
        small_labels(np.arange(1 << 16, dtype=np.int32).reshape(256, 256) + 70_000)


@pytest.mark.parametrize("cached", [False, True])
def test_a_target_gets_the_label_image_of_the_crop(cached, tmp_path):
    dataset, augment, seen = Patches(), turning_augment(1, (24, 20)), []

    def target(labels):
        seen.append(labels)
        return object_labels(labels)

    read = sample_reader(dataset, Resizing(None), tmp_path if cached else None, labels=True)
    assert isinstance(read, ImageCache if cached else SizedReader)
    samples = SegmentationDataset(read, dataset.ids, augment, target)
    [batch] = DataLoader(samples, 3, collate_fn=collate_samples)
    assert (batch.mask.dtype, tuple(batch.mask.shape)) == (torch.int64, (3, 24, 20))
    for row, id in enumerate(dataset.ids):
        image, labels = augment(dataset.read_image(id), small_labels(dataset.read_mask(id)), 0, row)
        np.testing.assert_array_equal(batch.mask[row], labels)
        np.testing.assert_array_equal(batch.image[row].permute(1, 2, 0), image)
        assert seen[row].dtype == np.int32


def test_a_cache_of_own_sizes_is_read_built_on_and_refused(tmp_path, capsys):
    dataset = Patches()
    cache, direct = (sample_reader(dataset, Resizing(None), root, labels=True) for root in (tmp_path, None))
    assert cache.folder.name.startswith("patches-own-labels-")
    for id in dataset.ids:
        for one, other in zip(cache(id), direct(id), strict=True):
            assert (one.dtype, one.tobytes(), one.shape) == (other.dtype, other.tobytes(), other.shape)
    capsys.readouterr()
    sample_reader(dataset, Resizing(None), tmp_path, labels=True)
    assert not capsys.readouterr().out  # it is there already

    with pytest.raises(ValueError, match=r"b: the image is 37×25, and the data set's shape\(id\) says 25×37"):
        sample_reader(Patches(b=(25, 37)), Resizing(None), tmp_path, labels=True)


def test_labels_are_of_task_instances_and_not_padded():
    class Binary(Patches):
        task = "binary"

    with pytest.raises(ValueError, match="expected task instances"):
        SizedReader(Binary(), Resizing(None), labels=True)
    with pytest.raises(ValueError, match="a resizing that does not pad"):
        SizedReader(Patches(), Resizing((64, 64), keep_ratio=True), labels=True)


def test_label_images_are_never_shrunk():
    """Half size by the nearest label and back costs objects that soft masks keep."""
    labels, half = discs(), (80, 80)
    nearest = cv2.resize(labels.astype(np.uint16), half, interpolation=cv2.INTER_NEAREST_EXACT)
    back = resize_labels(nearest, labels.shape).astype(np.int32)
    soft = np.zeros((labels.max() + 1, *labels.shape), np.float32)
    for label in range(1, labels.max() + 1):
        small = cv2.resize((labels == label).astype(np.float32), half, interpolation=cv2.INTER_AREA)
        soft[label] = cv2.resize(small, labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    soft[0] = 1 - soft.sum(axis=0)
    assert instance_precision(labels, back) < 0.8 < 0.9 < instance_precision(labels, soft.argmax(axis=0))

    with pytest.raises(ValueError, match=r"160×160 would shrink to 200×80"):
        resize_labels(labels.astype(np.uint16), (200, 80))
    with pytest.raises(ValueError, match=r"a: the label image of 30×40 would shrink to 64×32.*Resizing\(None\)"):
        SizedReader(Patches(), Resizing((64, 32)), labels=True)("a")
    _, larger = SizedReader(Patches(), Resizing((64, 80)), labels=True)("a")
    assert larger.shape == (64, 80)
    assert set(np.unique(larger)) == set(np.unique(small_labels(Patches().read_mask("a"))))


def test_borders_are_what_their_rule_says():
    """Pixel by pixel from distances to each object."""
    for seed, size in ((0, 160), (1, 90)):
        labels = discs(seed=seed, size=size)
        labels[:70, :70][labels[:70, :70] == 0] = 99  # one of more than 2,000 pixels
        labels[labels > 3] += 40  # gaps
        areas = np.bincount(labels.ravel())
        widths = {k: 1 + (areas[k] >= 300) + (areas[k] >= 2000) for k in np.unique(labels).tolist() if k}
        near = {}
        for k in widths:  # the objects within 1, 2, 3 pixels, by their own dilations
            for w in (1, 2, 3):
                near[k, w] = cv2.dilate((labels == k).astype(np.uint8), np.ones((2 * w + 1, 2 * w + 1), np.uint8)) > 0
        border = np.zeros(labels.shape, int)
        for k, width in widths.items():
            border[labels == 0] += near[k, width][labels == 0]
        expected = border >= 2
        for k, width in widths.items():
            others = np.any([near[j, width] for j in widths if j != k], axis=0)
            expected |= (labels == k) & others
        found = border_target(labels)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[..., 0], foreground_target(labels))
        np.testing.assert_array_equal(found[..., 1], expected)
        assert expected.mean() > 0.02
    assert not border_target(np.zeros((3, 0), np.int32)).size
    with pytest.raises(ValueError, match="from 0 on"):
        border_target(np.full((2, 2), -1))
