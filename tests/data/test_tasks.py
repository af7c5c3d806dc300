"""Masks of classes that overlap and of objects, from the data set to a batch."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from drawn import Drawn, refusal
from tasks_data import SIZE, Objects, Overlapping
from torch.utils.data import DataLoader

from kit.data import (
    Facts,
    Resizing,
    SegmentationDataset,
    cell_augment,
    check_dataset,
    collate_samples,
    data_key,
    foreground_shares,
    photo_augment,
    sample_reader,
)
from kit.data.augment import Augment
from kit.data.resize import resize_mask
from kit.data.tasks import Task, foreground_of, task_of


def masks_of(dataset):
    return np.stack([dataset.read_mask(id) for id in dataset.ids])


def test_facts_of_classes_that_overlap():
    dataset = Overlapping(3)
    masks, facts = masks_of(dataset), check_dataset(dataset)
    assert facts.pixels == tuple(masks.sum(axis=(0, 1, 2)))
    assert (facts.ignored, facts.objects) == (0, ())
    np.testing.assert_allclose(facts.shares, masks.any(axis=3).mean(axis=(1, 2)))
    np.testing.assert_allclose(foreground_shares(dataset), facts.shares)
    assert Facts.from_json(facts.to_json()) == facts


def test_facts_of_objects():
    dataset = Objects()
    masks, facts = masks_of(dataset), check_dataset(dataset)
    assert facts.pixels == ((masks == 0).sum(), (masks > 0).sum())
    assert facts.ignored == 0
    assert facts.objects == (5, 5, 5, 0) * 2
    np.testing.assert_allclose(facts.shares, (masks > 0).mean(axis=(1, 2)))
    assert Facts.from_json(facts.to_json()) == facts


def test_facts_that_an_older_version_kept_have_no_objects():
    facts = check_dataset(Drawn())
    older = dataclasses.asdict(facts)
    del older["objects"]
    assert Facts(**older) == facts


def returning(dataset, mask):
    """The data set with another mask for image_01."""
    own = dataset.read_mask
    dataset.read_mask = lambda id: mask if id == "image_01" else own(id)
    return dataset


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.zeros(SIZE, bool), r"the mask is bool \(24, 36\), expected bool \(height, width, 2\), a layer a class"),
        (np.zeros((2, *SIZE), bool), r"\(2, 24, 36\), expected .*; put the layers last: np.moveaxis\(mask, 0, -1\)"),
        (
            np.zeros((*SIZE, 3), bool),
            r"\(24, 36, 3\), expected bool \(height, width, 2\), a layer a class",
        ),
        (np.zeros((*SIZE, 2), np.uint8), r"the mask is uint8, expected bool .*; return mask > 0"),
        (np.zeros((24, 35, 2), bool), r"the mask is \(24, 35, 2\), its image \(24, 36\)"),
        ([[True]], "read_mask returns a list"),
    ],
)
def test_masks_of_overlapping_classes_that_are_refused(mask, told):
    assert re.search(
        rf"1 × masks are not as declared:.*image_01: {told}|{told}", refusal(returning(Overlapping(2), mask))
    )


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (
            np.zeros(SIZE, np.uint8),
            r"the mask is uint8, expected int32 .* each square; mask.astype\(np.int32\)",
        ),
        (np.zeros(SIZE, bool), "the mask is bool, expected int32 .*; number its objects first, as scipy.ndimage.label"),
        (np.full(SIZE, -3, np.int32), "the mask holds the label -3, .*; map labels below 0 to 0"),
        (np.full(SIZE, 2**40), "the mask is int64, expected int32 .*; map its labels"),
        (np.zeros((*SIZE, 1), np.int32), r"the mask is int32 \(24, 36, 1\), expected int32 \(height, width\)"),
        (np.zeros((24, 35), np.int32), r"the mask is \(24, 35\), its image \(24, 36\)"),
    ],
)
def test_masks_of_objects_that_are_refused(mask, told):
    assert re.search(f"image_01: {told}", refusal(returning(Objects(), mask)))


def test_classes_that_are_in_no_mask_are_refused():
    dataset = Overlapping(2)
    own = dataset.read_mask
    dataset.read_mask = lambda id: own(id) & np.array([True, False])
    assert "class 1 (box 1) is in no mask" in refusal(dataset)
    dataset.absent = ("box 1",)
    assert check_dataset(dataset).pixels[1] == 0
    nothing = Objects()
    nothing.read_mask = lambda id: np.zeros(SIZE, np.int32)
    assert "class 1 (square) is in no mask" in refusal(nothing)


def test_a_task_is_part_of_the_key_of_the_data():
    binary, objects = Drawn(), Drawn()
    objects.fingerprint = binary.fingerprint
    objects.task = "instances"
    assert data_key(binary) != data_key(objects)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("keep_ratio", [False, True])
def test_training_sees_layers_at_the_network_s_size(cached, keep_ratio, tmp_path):
    dataset, resizing = Overlapping(2, sizes=((24, 36), (30, 30))), Resizing((12, 18), keep_ratio)
    check_dataset(dataset)
    samples = SegmentationDataset(sample_reader(dataset, resizing, tmp_path if cached else None), dataset.ids)
    [batch] = DataLoader(samples, 8, collate_fn=collate_samples)
    assert (batch.mask.dtype, tuple(batch.mask.shape)) == (torch.uint8, (8, 2, 12, 18))
    for id, masks in zip(batch.id, batch.mask.numpy(), strict=True):
        own = dataset.read_mask(id).astype(np.uint8)
        rows, columns = resizing.content(own.shape[:2])
        size = rows.stop - rows.start, columns.stop - columns.start
        expected = np.full((2, 12, 18), 255)
        for k in range(2):
            expected[k, rows, columns] = resize_mask(np.ascontiguousarray(own[..., k]), size)
        np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize("cached", [False, True])
def test_training_sees_object_or_none(cached, tmp_path):
    dataset, resizing = Objects(), Resizing((12, 18))
    check_dataset(dataset)
    samples = SegmentationDataset(sample_reader(dataset, resizing, tmp_path if cached else None), dataset.ids)
    for sample in (samples[at] for at in range(8)):
        semantic = (dataset.read_mask(sample.id) > 0).astype(np.uint8)
        np.testing.assert_array_equal(sample.mask.numpy(), resize_mask(semantic, (12, 18)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("name", ["photo", "crop", "cell", "elastic"])
def test_every_layer_moves_with_the_image(count, name):
    make = {
        "photo": lambda: photo_augment(3),
        "crop": lambda: photo_augment(3, (20, 24)),
        "cell": lambda: cell_augment(3),
        "elastic": lambda: cell_augment(3, sigma=4.0),
    }
    augment, random = make[name](), np.random.default_rng(count)
    image = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    masks = (random.random((32, 32, count)) < 0.5).astype(np.uint8)
    for index in range(6):
        moved_image, moved = augment(image, masks, 0, index)
        assert moved.shape == (*moved_image.shape[:2], count)
        for k in range(count):
            other_image, alone = augment(image, np.ascontiguousarray(masks[..., k]), 0, index)
            np.testing.assert_array_equal(other_image, moved_image)
            assert (alone != moved[..., k]).mean() < 0.01  # a place between two pixels may be rounded otherwise


def test_a_border_may_be_filled_with_ignored_pixels_in_every_layer():
    import albumentations as A

    augment = Augment([A.Affine(translate_px={"x": 9, "y": 0}, fill_mask=255, p=1.0)])
    _, moved = augment(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20, 2), np.uint8), 0, 0)
    assert (moved[:, :9] == 255).all()
    assert (moved[:, 9:] == 1).all()


def test_the_task_of_a_data_set():
    assert task_of(Drawn()) == Task("binary", ("background", "disc"))
    assert [Task("multilabel", names).outputs for names in (("a",), ("a", "b"))] == [1, 2]
    assert [Task("multilabel", names).logits for names in (("a",), ("a", "b"))] == [(1,), (2,)]
    assert (Task("instances", ("a", "b")).outputs, Task("instances", ("a", "b")).logits) == (1, (1, 2))
    assert (Task("multiclass", ("a", "b", "c")).outputs, Task("binary", ("a", "b")).logits) == (3, (1, 2))


def test_the_foreground_of_masks_of_every_kind():
    classes = np.array([[0, 1, 255], [2, 0, 0]], np.uint8)
    where, counted = foreground_of(classes)
    np.testing.assert_array_equal(where & counted, [[False, True, False], [True, False, False]])
    where, counted = foreground_of(classes.astype(np.int32))
    assert counted is None
    np.testing.assert_array_equal(where, classes > 0)
    where, counted = foreground_of(np.stack([classes == 1, classes == 2], axis=2))
    assert counted is None
    np.testing.assert_array_equal(where, [[False, True, False], [True, False, False]])
