"""Images of any channels and of u8, u16 and f32, from read_image to the network, against NumPy."""

import numpy as np
import pytest
import torch
from drawn import Drawn
from torch.utils.data import DataLoader

from kit.data import (
    IMAGENET,
    ImageBatches,
    Normalisation,
    Resizing,
    SegmentationDataset,
    check_dataset,
    collate_samples,
    normalisation_of,
    sample_reader,
)
from kit.data.augment import Augment, Intensity, cell_augment, photo_augment
from kit.data.dataset import RGB

KINDS = [(names, dtype) for dtype in ("uint8", "uint16", "float32") for names in (1, 2, 3, 4, 12)]


def drawn(count, dtype, **options):
    return Drawn([f"band{number}" for number in range(count)], dtype, **options)


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_the_values_that_reach_the_network(channels, dtype, tmp_path):
    dataset, resizing = drawn(channels, dtype), Resizing((16, 20))
    facts = check_dataset(dataset)
    normalise = normalisation_of(dataset, facts)
    cached, direct = (sample_reader(dataset, resizing, root) for root in (tmp_path, None))
    loader = DataLoader(SegmentationDataset(cached, dataset.ids), 4, collate_fn=collate_samples, num_workers=1)
    batch = next(iter(loader))
    assert batch.image.dtype == getattr(torch, dtype)
    assert batch.image.shape == (4, channels, 16, 20)
    found = normalise(batch.image)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    every = np.concatenate([dataset.read_image(id).reshape(-1, channels) for id in dataset.ids]).astype(np.float64)
    stored = np.stack([direct(id)[0] for id in dataset.ids[:4]])
    np.testing.assert_array_equal(batch.image.numpy(), stored.transpose(0, 3, 1, 2))
    expected = (stored - every.mean(axis=0)) / every.std(axis=0)
    np.testing.assert_allclose(found.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-4)
    [predicted, *_] = ImageBatches(dataset, dataset.ids, resizing, 4)
    assert torch.equal(predicted.images, batch.image)


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
@pytest.mark.parametrize("crop", [None, (24, 50)])
def test_augmentation_moves_image_and_mask_together(channels, dtype, crop):
    dataset = drawn(channels, dtype, size=(40, 40))
    augments = [photo_augment(0, crop, dtype=dtype, channels=dataset.channels), cell_augment(0, sigma=3)]
    for augment in augments:
        moved = [augment(dataset.read_image(id), dataset.read_mask(id), 1, at) for at, id in enumerate(dataset.ids)]
        for image, mask in moved:
            assert image.dtype == dtype
            assert image.shape == (*mask.shape, channels)
            inside, outside = image[mask == 1].mean(axis=0), image[mask == 0].mean(axis=0)
            assert (inside > outside).all()  # every channel still shows the disc where the mask has it
            values = image.reshape(-1, channels)
            bright = values > (inside + outside) / 2
            assert ((bright.mean(axis=1) > 0.5) == mask.ravel()).mean() > 0.9


def test_the_augmentation_of_rgb_u8_is_the_same_as_ever():
    plain, named = photo_augment(3), photo_augment(3, dtype="uint8", channels=["red", "green", "blue"])
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for index in range(20):
        np.testing.assert_array_equal(
            plain(image, image[..., 0], 0, index)[0], named(image, image[..., 0], 0, index)[0]
        )
    names = [type(transform).__name__ for transform in plain.compose.transforms]
    assert names == ["HorizontalFlip", "Affine", "RandomBrightnessContrast", "HueSaturationValue"]
    for other in (photo_augment(dtype="uint16"), photo_augment(channels=("grey",)), photo_augment(channels=RGB[::-1])):
        assert "HueSaturationValue" not in [type(transform).__name__ for transform in other.compose.transforms]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_intensity_is_what_its_formula_says(dtype):
    image = np.random.default_rng(0).uniform(100, 4000, (30, 40, 3)).astype(dtype)
    augment = Augment([Intensity(0.2)])
    found = augment(image, image[..., 0].astype(np.uint8), 0, 0)[0]
    values = image.astype(np.float64)
    mean, std = values.mean((0, 1)), values.std((0, 1))
    # two unknowns, solved from two pixels of one channel; all others must agree
    gain = (float(found[0, 0, 0]) - float(found[5, 5, 0])) / (values[0, 0, 0] - values[5, 5, 0])
    shift = (found[..., 0].mean() - mean[0]) / std[0]
    assert 0.8 <= gain <= 1.2
    assert abs(shift) <= 0.2
    np.testing.assert_allclose(found, mean + gain * (values - mean) + shift * std, atol=2.5)
    spreads = [augment(image, image[..., 0].astype(np.uint8), 0, index)[0].mean() - image.mean() for index in range(50)]
    assert np.std(spreads) > 0.05 * image.std()


def test_intensity_is_cut_off_at_the_range_of_whole_numbers_and_nowhere_in_floats():
    image = np.array([[[0], [65535]]], np.uint16).repeat(30, axis=0)
    mask = np.zeros(image.shape[:2], np.uint8)
    results = [Augment([Intensity(0.5)])(image, mask, 0, index)[0] for index in range(20)]
    assert any(result.max() == 65535 for result in results)
    assert all(result[0, 0, 0] < result[0, 1, 0] for result in results)  # nothing wraps around
    floats = [Augment([Intensity(0.5)])(image.astype(np.float32), mask, 0, index)[0] for index in range(20)]
    assert min(result.min() for result in floats) < 0


def test_imagenets_normalisation_of_rgb_u8_is_bit_for_bit_that_of_a_row_of_floats():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 9, 11), dtype=np.uint8))
    mean, std = (np.float32(one) * np.float32(255) for one in (IMAGENET.mean, IMAGENET.std))
    expected = (images.permute(0, 2, 3, 1).numpy().astype(np.float32) - mean) / std
    np.testing.assert_array_equal(IMAGENET(images).permute(0, 2, 3, 1).numpy(), expected)


def test_normalisation_leaves_the_images_as_they_are_and_refuses_others():
    own = Normalisation((0.5, 2.0), (0.25, 4.0))
    images = torch.rand(2, 2, 5, 6)
    before = images.clone()
    expected = (images - torch.tensor([0.5, 2.0])[:, None, None]) / torch.tensor([0.25, 4.0])[:, None, None]
    torch.testing.assert_close(own(images), expected)
    torch.testing.assert_close(own(images.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(images, before)
    for bad in (torch.rand(2, 3, 5, 6), torch.zeros(2, 2, 5, 6, dtype=torch.int64)):
        with pytest.raises(ValueError, match="expected 2 of uint8, uint16 or float32"):
            own(bad)
    with pytest.raises(ValueError, match="each std above 0"):
        Normalisation((0.5,), (0.0,))


def test_whose_mean_and_deviation_count():
    encoder = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)
    colour = Drawn(RGB, "uint8")
    facts = check_dataset(colour)
    assert normalisation_of(colour, facts) is IMAGENET
    assert normalisation_of(colour, facts, encoder) == Normalisation(*encoder)
    colour.mean, colour.std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    assert normalisation_of(colour, facts, encoder) == Normalisation(colour.mean, colour.std)
    for other in (drawn(3, "uint8"), Drawn(RGB, "uint16"), drawn(1, "float32")):
        measured = check_dataset(other)
        assert normalisation_of(other, measured, encoder) == Normalisation(measured.mean, measured.std)


def test_a_channel_without_spread_is_only_shifted():
    dataset = drawn(2, "float32")
    read = dataset.read_image
    dataset.read_image = lambda id: read(id) * np.float32([1, 0]) + np.float32([0, 7])
    normalise = normalisation_of(dataset, check_dataset(dataset))
    assert normalise.std[1] == 1
    image = torch.from_numpy(dataset.read_image(dataset.ids[0])).permute(2, 0, 1)[None]
    assert (normalise(image)[:, 1] == 0).all()
