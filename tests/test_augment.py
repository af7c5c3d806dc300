import albumentations as A
import cv2
import numpy as np
import pytest
from tiny import TinyCompetition
from torch.utils.data import DataLoader

from kit.augment import Augment, photo_augment, sample_seed
from kit.cache import SizedReader
from kit.data import SegmentationDataset

SIZE = (48, 64)
KEYS = [(epoch, index) for epoch in (0, 1) for index in range(6)]


def dataset(augment):
    competition = TinyCompetition(cars=2, views=3, size=SIZE)
    return SegmentationDataset(SizedReader(competition, SIZE), competition.ids, augment)


def stream(augment, workers):
    """Every sample of two epochs, as the processes of a loader make them."""
    batches = [KEYS[start : start + 2] for start in range(0, len(KEYS), 2)]
    loader = DataLoader(dataset(augment), batch_sampler=batches, num_workers=workers)
    return np.concatenate([np.concatenate([b.image.numpy(), b.mask.numpy()[:, None]], axis=1) for b in loader])


@pytest.mark.parametrize("crop", [None, (32, 40)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # said where there is one core
def test_the_stream_is_the_same_with_any_number_of_workers(crop):
    alone = stream(photo_augment(0, crop), 0)
    for workers in (1, 2):
        np.testing.assert_array_equal(stream(photo_augment(0, crop), workers), alone)
    assert (stream(photo_augment(1, crop), 0) != alone).any()


def test_a_sample_does_not_depend_on_what_came_before_it():
    samples, augment = dataset(photo_augment(0)), photo_augment(0)
    image, mask = samples.read(samples.ids[4])
    first = augment(image, mask, epoch=3, index=4)
    for index in range(5):
        augment(image, mask, epoch=9, index=index)
    for again in (augment(image, mask, 3, 4), photo_augment(0)(image, mask, 3, 4)):
        np.testing.assert_array_equal(again[0], first[0])
        np.testing.assert_array_equal(again[1], first[1])
    np.testing.assert_array_equal(samples[3, 4].image.numpy().transpose(1, 2, 0), first[0])
    np.testing.assert_array_equal(samples[3, 4].mask.numpy(), first[1])


def test_seeds_of_neighbours_differ():
    seeds = {sample_seed(seed, epoch, index) for seed in range(5) for epoch in range(20) for index in range(200)}
    assert len(seeds) >= 20_000 - 2  # of 2**32, two of these would meet by chance once in 20 tries
    assert min(seeds) >= 0
    assert max(seeds) < 2**32


def test_photo_augment_changes_what_it_should_and_no_more():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), np.ones(SIZE, np.uint8)
    image.flags.writeable = mask.flags.writeable = False  # as the cache gives them
    augment = photo_augment(0)
    results = [augment(image, mask, 0, index) for index in range(40)]
    assert all(a.shape == (*SIZE, 3) and b.shape == SIZE and a.dtype == b.dtype == np.uint8 for a, b in results)
    assert sum((a != image).any() for a, _ in results) > 30
    assert all((b == 1).all() for _, b in results)  # the border is mirrored, never filled
    crops = [photo_augment(0, (40, 80))(image, mask, 0, index)[0].shape for index in range(5)]
    assert set(crops) == {(40, 80, 3)}  # padded where the picture is narrower


@pytest.mark.parametrize("augment", [photo_augment(0), photo_augment(0, (40, 40))], ids=["whole", "crop"])
def test_image_and_mask_stay_aligned(augment):
    """The picture shows its own mask; what is recovered from the moved picture is the moved mask, but for edges."""
    geometry = Augment([t for t in augment.compose.transforms if isinstance(t, A.DualTransform)], seed=5)
    assert len(geometry.compose.transforms) == len(augment.compose.transforms) - 2  # all but light and colour
    competition = TinyCompetition(size=(60, 80))
    for index, id in enumerate(competition.ids):
        mask = competition.read_mask(id)
        image, moved = geometry(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask, 0, index)
        recovered = (image[..., 0] > 127).astype(np.uint8)
        edges = cv2.dilate(moved, np.ones((3, 3))) != cv2.erode(moved, np.ones((3, 3)))
        assert not ((recovered != moved) & ~edges).any()
        assert (recovered != moved).mean() < 0.02
        assert 0 < moved.mean() < 1


def test_transforms_draw_apart_from_one_another():
    """albumentations' own set_random_seed makes them toss one coin: with it, mirrored is always also upside down."""
    augment = Augment([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    corners = np.array([[0, 1], [2, 3]], np.uint8)
    image, mask = np.repeat(corners[..., None], 3, axis=2), corners
    firsts = [int(augment(image, mask, 0, index)[1][0, 0]) for index in range(400)]
    assert min(np.bincount(firsts, minlength=4)) > 70  # of 100 expected


def test_rotations_and_flips_reach_the_network_as_plain_memory():
    samples = dataset(Augment([A.RandomRotate90(p=1), A.Transpose(p=0.5), A.VerticalFlip(p=0.5), A.D4(p=1)]))
    plain = dataset(None)
    for index in range(6):
        turned, image = samples[0, index], plain[0, index].image.numpy()
        eight = [np.rot90(flipped, k, (1, 2)) for flipped in (image, image[:, :, ::-1]) for k in range(4)]
        assert turned.image.is_contiguous()
        assert any(np.array_equal(turned.image.numpy(), view) for view in eight)
