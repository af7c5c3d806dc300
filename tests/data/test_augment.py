import random
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
from scipy import ndimage
from tiny import TinyDataset
from torch.utils.data import DataLoader

from kit.data.augment import (
    Augment,
    Elastic,
    Symmetry,
    cell_augment,
    photo_augment,
    sample_seed,
    turning_augment,
)
from kit.data.cache import SizedReader
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset

SIZE = (48, 64)
KEYS = [(epoch, index) for epoch in (0, 1) for index in range(6)]


def dataset(augment):
    competition = TinyDataset(cars=2, views=3, size=SIZE)
    return SegmentationDataset(SizedReader(competition, Resizing(SIZE)), competition.ids, augment)


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


@pytest.mark.parametrize(
    ("augment", "colours"),
    [(photo_augment(0), 2), (photo_augment(0, (40, 40)), 2), (cell_augment(0, sigma=5), 0)],
    ids=["whole", "crop", "cell"],
)
def test_image_and_mask_stay_aligned(augment, colours):
    """The picture shows its own mask; what is recovered from the moved picture is the moved mask, but for edges."""
    geometry = Augment([t for t in augment.compose.transforms if isinstance(t, A.DualTransform)], seed=5)
    assert len(geometry.compose.transforms) == len(augment.compose.transforms) - colours
    competition = TinyDataset(size=(60, 80))
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
        assert turned.image.permute(1, 2, 0).is_contiguous()  # channels last
        assert any(np.array_equal(turned.image.numpy(), view) for view in eight)


def test_an_augmentation_of_the_users_own_may_give_mirrored_views_that_cannot_be_written_to():
    def mirrored(image, mask, epoch, index):
        image, mask = image[:, ::-1], mask[:, ::-1]
        image.flags.writeable = mask.flags.writeable = False
        return image, mask

    turned, plain = dataset(mirrored)[0, 3], dataset(None)[0, 3]
    np.testing.assert_array_equal(turned.image.numpy(), plain.image.numpy()[:, :, ::-1])
    np.testing.assert_array_equal(turned.mask.numpy(), plain.mask.numpy()[:, ::-1])
    assert turned.mask.is_contiguous()


def test_elastic_displaces_as_the_paper_says():
    """Section 3.1: at the nine nodes, Gaussian of 10 pixels; the two directions and the nodes apart from each other."""
    draws = []
    for seed in range(400):
        elastic = Elastic()
        elastic.set_random_state(np.random.default_rng(seed), random.Random(seed))
        places = elastic.get_params_dependent_on_data({"shape": (99, 153, 3)}, {})["places"]
        assert places.shape == (99, 153, 2)
        nodes = places[16::33, 25::51]  # the middle pixels of the nine parts
        draws.append(nodes - np.stack(np.meshgrid([25, 76, 127], [16, 49, 82]), axis=-1))
    draws = np.array(draws).reshape(400, 18)
    assert draws.std() == pytest.approx(10, rel=0.03)  # of 7,200: three standard errors are 2.5 %
    assert abs(draws.mean()) < 0.5
    assert np.abs(np.corrcoef(draws.T) - np.eye(18)).max() < 0.25  # five standard errors


def test_elastic_displacements_are_bicubic_between_the_nodes():
    """Against the cubic convolution written out (Keys 1981, a = -0.75 as OpenCV has it), edges repeated."""
    elastic = Elastic(4.0)
    elastic.set_random_state(np.random.default_rng(0), random.Random(0))
    places = elastic.get_params_dependent_on_data({"shape": (60, 45, 3)}, {})["places"]
    nodes = np.random.default_rng(0).normal(0, 4, (3, 3, 2))

    def weights(length):
        at = (np.arange(length) + 0.5) * 3 / length - 0.5
        result = np.zeros((length, 3))
        for node in range(-2, 5):
            d = np.abs(at - node)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            result[:, np.clip(node, 0, 2)] += np.where(d <= 1, near, np.where(d < 2, far, 0))
        return result

    expected = np.einsum("yi,xj,ijc->yxc", weights(60), weights(45), nodes)
    still = np.stack(np.meshgrid(np.arange(45), np.arange(60)), axis=-1)
    np.testing.assert_allclose(places - still, expected, atol=1e-4)


def test_elastic_reads_where_scipy_reads_and_mirrors_the_border():
    """Against scipy: order 1 for images and 0 for masks, mode mirror; of any dtype and number of channels."""
    rng, (height, width) = np.random.default_rng(0), (90, 120)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(rows / (7 + k)) + np.cos(columns / (5 + k)) for k in range(5)]  # smooth: OpenCV reads at 1/32 pixel
    mask = (
        rng.choice(np.array([0, 1, 255], np.uint8), (height // 10, width // 10)).repeat(10, axis=0).repeat(10, axis=1)
    )
    for dtype, channels, scale in ((np.float32, 1, 1), (np.uint8, 3, 50), (np.uint16, 5, 9000)):
        image = (np.stack(waves[:channels], axis=-1) * scale + 2 * scale).astype(dtype)
        elastic = Elastic(12.0)
        elastic.set_random_state(np.random.default_rng(3), random.Random(3))
        places = elastic.get_params_dependent_on_data({"shape": image.shape}, {})["places"].astype(np.float64)
        assert places.min() < -5  # beyond the border
        at = places.transpose(2, 0, 1)[::-1]
        found, moved = (
            elastic.apply(image, places.astype(np.float32)),
            elastic.apply_to_mask(mask, places.astype(np.float32)),
        )
        assert (found.shape, found.dtype, moved.dtype) == (image.shape, dtype, np.uint8)
        for k in range(channels):
            expected = ndimage.map_coordinates(image[..., k].astype(np.float64), at, order=1, mode="mirror")
            np.testing.assert_allclose(found[..., k], expected, atol=0.02 * scale + (dtype != np.float32))
        assert np.mean(moved != ndimage.map_coordinates(mask, at, order=0, mode="mirror")) < 0.002  # half-way places


def test_cell_augment_changes_the_light_only_where_it_is_asked_to():
    image = np.random.default_rng(0).integers(60, 200, (40, 40, 1), dtype=np.uint8)
    mask = (image[..., 0] > 120).astype(np.uint8)
    before = "Compose([\n  D4(p=1.0),\n  Elastic("
    assert before in repr(cell_augment(0, 5.0))
    assert "Intensity" not in repr(cell_augment(0, 5.0))  # runs of before go on
    changed = [cell_augment(0, light=0.2)(image, mask, 0, index) for index in range(30)]
    alike = [np.array_equal(np.sort(one, axis=None), np.sort(image, axis=None)) for one, _ in changed]
    assert 3 < sum(alike) < 17  # of three tenths
    assert all(
        ((one[..., 0] > np.sort(one, axis=None)[(mask == 0).sum() - 1]) <= moved).all() for one, moved in changed
    )


def test_elastic_without_displacement_is_the_picture_itself():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), rng.integers(0, 256, SIZE, dtype=np.uint8)
    same = Augment([Elastic(0.0)])(image, mask, 0, 0)
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], mask)


def test_elastic_invents_no_label_and_no_border():
    image, mask = np.full((*SIZE, 3), 200, np.uint8), np.full(SIZE, 3, np.uint8)
    mask[20:30, 25:40] = 9
    results = [Augment([Elastic(30.0)])(image, mask, 0, index) for index in range(20)]
    assert all((a == 200).all() for a, _ in results)
    assert all(set(np.unique(b)) <= {3, 9} for _, b in results)
    assert sum((b != mask).any() for _, b in results) == 20


def test_cell_augment_is_the_same_for_a_sample_and_another_for_its_neighbours():
    image, mask = dataset(None).read(dataset(None).ids[0])
    first = {key: cell_augment(3, sigma=5)(image, mask, *key) for key in KEYS}
    again = cell_augment(3, sigma=5)
    for key in reversed(KEYS):
        for one, two in zip(again(image, mask, *key), first[key], strict=True):
            np.testing.assert_array_equal(one, two)
    assert len({a.tobytes() for a, _ in first.values()}) == len(KEYS)
    assert (cell_augment(4, sigma=5)(image, mask, *KEYS[0])[0] != first[KEYS[0]][0]).any()


def test_cell_augment_alone_moves_no_grid_of_blocks():
    """Each result is one of the eight symmetries, and all eight come up."""
    mask = np.random.default_rng(0).integers(0, 2, (12, 12)).astype(np.uint8)
    symmetries = {np.rot90(side, turns).tobytes() for side in (mask, mask.T) for turns in range(4)}
    assert {cell_augment(0)(mask, mask, 0, index)[1].tobytes() for index in range(200)} == symmetries


@pytest.mark.parametrize(("size", "count"), [((12, 12), 8), ((12, 20), 4)])
def test_symmetry_gives_every_symmetry_of_the_image_equally_often_and_keeps_its_shape(size, count):
    image = np.arange(np.prod(size) * 3, dtype=np.uint16).reshape(*size, 3)
    augment = Augment([Symmetry(p=1.0)])
    seen = Counter()
    for index in range(40 * count):
        turned, mask = augment(image, image[..., 0] % 200, 0, index)
        np.testing.assert_array_equal(turned[..., 0] % 200, mask)
        assert turned.shape == image.shape
        seen[turned.tobytes()] += 1
    squares = [np.rot90(image, k) for k in range(4)] + [np.rot90(image, k)[::-1] for k in range(4)]
    wanted = {np.ascontiguousarray(one).tobytes() for one in squares if one.shape == image.shape}
    assert len(wanted) == count
    assert set(seen) == wanted
    assert min(seen.values()) > 20  # of 40 expected each


def test_turning_augment_suits_any_type_and_number_of_channels():
    for dtype, channels in ((np.uint8, 3), (np.uint16, 5), (np.float32, 1)):
        image = (np.random.default_rng(0).random((32, 32, channels)) * 200).astype(dtype)
        names = ("red", "green", "blue") if channels == 3 else tuple(map(str, range(channels)))
        augment = turning_augment(0, (24, 24), dtype=np.dtype(dtype).name, channels=names)
        turned, mask = augment(image, np.ones((32, 32), np.uint8), 0, 1)
        assert (turned.shape, turned.dtype, mask.shape) == ((24, 24, channels), dtype, (24, 24))


def test_label_images_are_not_filled_with_an_object():
    """255 is ignored in a mask of classes, and an object in a label image; also within transforms of transforms."""
    image, labels = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint16)
    labels[5:15, 5:15] = 300
    moved = {"translate_percent": (0.4, 0.4), "border_mode": cv2.BORDER_CONSTANT, "p": 1}
    for transform in (
        A.Affine(**moved, fill_mask=255), A.OneOf([A.Affine(**moved, fill_mask=7)]), A.CoarseDropout(fill_mask=255)
    ):  # fmt: skip
        augment = Augment([transform])
        with pytest.raises(ValueError, match=r"\(fill_mask=.* fills masks, and the masks are label images"):
            augment(image, labels, 0, 0)
        augment(image, labels.astype(np.uint8), 0, 0)
    assert 255 in Augment([A.Affine(**moved, fill_mask=255)])(image, labels.astype(np.uint8), 0, 0)[1]
    reflected = A.Affine(translate_percent=(0.4, 0.4), border_mode=cv2.BORDER_REFLECT_101, fill_mask=255, p=1)
    for transform in (A.Affine(**moved), A.CoarseDropout(), reflected):
        assert set(np.unique(Augment([transform])(image, labels, 0, 0)[1])) <= {0, 300}
