"""Neighbours: slices as channels, of one volume alone, through the check and the cache."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy_runs import disc
from PIL import Image

from kit.data import BadImage, Dataset, Resizing, check_dataset, sample_reader
from kit.datasets import Folder, Neighbours

SIZE, UW = (16, 20), {"volume": r"^(case\d+_day\d+)_", "order": r"slice_(\d+)"}
STACKS = {"case1_day0": (1, 2, 3, 10), "case1_day2": (7,), "case2_day0": (1, 2)}
IDS = [f"{volume}_slice_{place:04}" for volume, places in STACKS.items() for place in places]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


class Counted(Dataset):
    """Slices that count how often each is read."""

    name, classes, channels = "counted", ("background", "organ"), ("grey",)
    ids, test_ids = IDS, ["case9_day0_slice_0001", "case9_day0_slice_0002"]

    def __init__(self):
        self.groups = [id[:5] for id in self.ids]
        self._reads = Reads()

    def read_image(self, id):
        self._reads.counts[id] += 1
        return np.full((*SIZE, 1), value(id), np.uint16)

    def read_mask(self, id):
        return disc(SIZE, 8, 8, 3 + value(id) % 4).astype(np.uint8)


class Reads:
    def __init__(self):
        self.counts = Counter()


def value(id: str) -> int:
    return 1 + [*IDS, *Counted.test_ids].index(id)


def seen(data: Neighbours, id: str) -> list[int]:
    image = data.read_image(id)
    assert (image == image[:1, :1]).all()
    return image[0, 0].tolist()


def test_neighbours_are_of_the_same_volume_and_edges_repeat():
    data = Neighbours(Counted(), **UW)
    assert data.channels == ("grey -1", "grey", "grey +1")
    assert (data.ids, data.groups) == (IDS, [id[:5] for id in IDS])
    assert data.volumes == {id: id[:10] for id in (*IDS, *Counted.test_ids)}
    for id, around in (
        (IDS[0], (0, 0, 1)),
        (IDS[2], (1, 2, 3)),  # the numbers 4 to 9 are missing
        (IDS[3], (2, 3, 3)),
        (IDS[4], (4, 4, 4)),
        (IDS[5], (5, 5, 6)),
    ):
        assert seen(data, id) == [value(IDS[place]) for place in around]
    assert seen(data, "case9_day0_slice_0002") == [value(id) for id in (*Counted.test_ids, Counted.test_ids[1])]
    far = Neighbours(Counted(), offsets=(2, 0, -3), **UW)
    assert far.channels == ("grey +2", "grey", "grey -3")
    assert seen(far, IDS[1]) == [value(IDS[3]), value(IDS[1]), value(IDS[0])]
    np.testing.assert_array_equal(far.read_mask(IDS[1]), Counted().read_mask(IDS[1]))


def test_the_check_and_the_cache_read_each_slice_about_once(tmp_path):
    data = Neighbours(Counted(), **UW)
    facts = check_dataset(data)
    counts = data.data._reads.counts
    assert (facts.channels, facts.dtype, facts.images) == (3, "uint16", len(IDS))
    assert set(counts) == set(IDS)
    read = sample_reader(data, Resizing(SIZE), tmp_path / "images")
    assert sum(counts.values()) < 4 * len(IDS)  # 9 times without what is kept; threads may ask for one at once
    for id in IDS:
        image, mask = read(id)
        np.testing.assert_array_equal(image, data.read_image(id))
        np.testing.assert_array_equal(mask, data.read_mask(id))
    again = pickle.loads(pickle.dumps(data))
    assert not again._recent._kept
    assert seen(again, IDS[1]) == seen(data, IDS[1])


def test_memory_of_kept_slices_has_an_end(monkeypatch):
    monkeypatch.setattr("kit.datasets.neighbours.KEPT_BYTES", 2 * SIZE[0] * SIZE[1] * 2)
    data = Neighbours(Counted(), **UW)
    for id in IDS:
        data.read_image(id)
        assert len(data._recent._kept) <= 2
    assert sum(data.data._reads.counts.values()) < 3 * len(IDS)


def test_fingerprints(tmp_path):
    def opened(**changes):
        return Neighbours(Counted(), **UW | changes)

    prints = {opened().fingerprint(), opened(offsets=(-1, 0)).fingerprint(), opened(offsets=(0, -1)).fingerprint()}
    assert opened().fingerprint() in prints
    assert opened(volume=r"^(case\d+_day\d)").fingerprint() in prints  # the same volumes
    assert len(prints) == 3
    assert opened().test_fingerprint() != opened(offsets=(0,)).test_fingerprint()


def test_all_slices_that_do_not_fit_are_listed():
    data = Counted()
    data.ids = [*IDS, "case3_day0_slice_x", "slice_0004"]
    data.groups = [*data.groups[:2], "other", *data.groups[3:], "3", "4"]
    with pytest.raises(ValueError, match="3 problems with the slices of counted") as refused:
        Neighbours(data, volume=r"^(case\d+)_", order=UW["order"])
    for told in (
        "`order` finds nothing in the id case3_day0_slice_x, not a number",
        "`volume` finds nothing in the id slice_0004",
        "the volume case1 is in 2 groups (case1, other), expected one",
    ):
        assert told in str(refused.value)
    twice = Counted()
    twice.ids, twice.groups = [*IDS, "case1_day1_slice_0002"], None
    del twice.groups
    with pytest.raises(
        ValueError, match=r"case1_day1_slice_0002 and case1_day0_slice_0002 are both slice 2 of .* case1;"
    ):
        Neighbours(twice, volume=r"^(case\d+)_", order=UW["order"])


@pytest.mark.parametrize("offsets", [(), (0, 0), (0.5,), "a"])
def test_offsets_that_cannot_be(offsets):
    with pytest.raises(ValueError, match="expected different whole numbers"):
        Neighbours(Counted(), offsets, **UW)
    with pytest.raises(ValueError, match="has 0 parentheses that capture, expected one"):
        Neighbours(Counted(), volume="case", order=UW["order"])


def test_without_groups_a_volume_is_one():
    data = Counted()
    del data.groups
    assert Neighbours(data, **UW).groups == [id[:10] for id in IDS]


def test_slices_of_a_folder_whose_ids_got_a_folder_in_front(tmp_path):
    for folder in ("train", "test", "masks"):
        for place in range(3):
            path = Path(tmp_path, folder, f"a_{place}.png")
            path.parent.mkdir(exist_ok=True)
            image = disc(SIZE, 8, 8, 4).astype(np.uint8) if folder == "masks" else np.full(SIZE, place, np.uint8)
            Image.fromarray(image).save(path)
    slices = Folder(tmp_path, images="train", masks="masks", tests="test")
    data = Neighbours(slices, (-1, 0, 1), volume=r"^([a-z]+)_", order=r"_(\d+)$")
    assert data.ids[0] == "train/a_0"
    assert seen(data, "train/a_1") == [0, 1, 2]
    assert seen(data, "a_0") == [0, 0, 1]
    assert data.advice is slices.advice
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "train/a_2.png")
    with pytest.raises(BadImage, match=r"train/a_2: uint8 \(4, 4, 1\), expected uint8 \(16, 20, 1\) as train/a_0 of"):
        Neighbours(slices, volume=r"^([a-z]+)_", order=r"_(\d+)$").read_image("train/a_1")
