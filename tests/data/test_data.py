import multiprocessing
import os
import pickle
import signal
from collections import namedtuple

import cv2
import numpy as np
import pytest
import torch
from slow_build import Slow, start_build, stop_build
from tiny import TinyDataset
from torch.utils.data import DataLoader
from torchvision.models import MobileNet_V2_Weights
from torchvision.transforms import functional as V

from kit.data import cache
from kit.data.cache import ImageCache, SizedReader, sample_reader
from kit.data.check import foreground_shares, sample_ids
from kit.data.normalise import IMAGENET as normalise
from kit.data.resize import Resizing, resize_image, resize_mask
from kit.data.samples import ImageBatches, Sample, SegmentationDataset, collate_samples
from kit.training.loaders import loading, start_worker
from kit.training.processes import World

SIZE = (32, 40)


@pytest.fixture
def competition():
    return TinyDataset()


def test_reader_brings_image_and_mask_to_one_size(competition):
    image, mask = SizedReader(competition, Resizing(SIZE))("car1_02")
    np.testing.assert_array_equal(image, resize_image(competition.read_image("car1_02"), SIZE))
    np.testing.assert_array_equal(mask, resize_mask(competition.read_mask("car1_02"), SIZE))


def test_dataset_gives_samples_that_collate(competition):
    samples = SegmentationDataset(SizedReader(competition, Resizing(SIZE)), competition.ids)
    assert len(samples) == 12
    sample = samples[5]
    image, mask = samples.read("car1_03")
    assert sample.id == competition.ids[5] == "car1_03"
    assert sample.image.dtype == sample.mask.dtype == torch.uint8
    np.testing.assert_array_equal(sample.image.numpy(), image.transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.mask.numpy(), mask)
    batch = next(iter(DataLoader(samples, 4)))
    assert batch.image.shape == (4, 3, *SIZE)
    assert batch.mask.shape == (4, *SIZE)
    assert list(batch.id) == competition.ids[:4]
    torch.testing.assert_close(batch.image[2], samples[2].image)


def test_dataset_hands_epoch_and_index_to_the_augmentation(competition):
    seen = []

    def note(image, mask, epoch, index):
        seen.append((epoch, index))
        return image, mask

    samples = SegmentationDataset(SizedReader(competition, Resizing(SIZE)), competition.ids, note)
    assert samples[3, 2].id == "car0_03"
    assert samples[1].id == "car0_02"
    assert seen == [(3, 2), (0, 1)]


def test_normalise_is_torchvisions():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 9, 11), dtype=np.uint8))
    weights = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    expected = V.normalize(images.float() / 255, weights.mean, weights.std)
    found = normalise(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_pictures_keep_their_original_size(competition):
    competition.size = (45, 61)
    [batch, _] = ImageBatches(competition, competition.test_ids, Resizing(SIZE), 3)
    assert batch.images.shape == (3, 3, *SIZE)
    assert batch.sizes == [(45, 61)] * 3
    assert batch.ids == competition.test_ids[:3]
    expected = resize_image(competition.read_image("test_01"), SIZE)
    np.testing.assert_array_equal(batch.images[1].numpy().transpose(1, 2, 0), expected)
    [own] = ImageBatches(competition, ["test_01"], Resizing(None), 1)
    np.testing.assert_array_equal(own.images[0].numpy().transpose(1, 2, 0), competition.read_image("test_01"))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_last_batch_is_filled_up_with_its_last_picture(competition, threads):
    first, second, last = ImageBatches(competition, competition.test_ids, Resizing(SIZE), 2, threads)
    assert [batch.ids for batch in (first, second, last)] == [
        competition.test_ids[:2],
        competition.test_ids[2:4],
        competition.test_ids[4:],
    ]
    assert [len(batch.images) for batch in (first, second, last)] == [2, 2, 2]
    assert torch.equal(last.images[0], last.images[1])


def test_pictures_that_cannot_be_read_are_told_and_left_out():
    competition = TinyDataset(broken=["test_00", "test_02", "test_03"])
    first, second = ImageBatches(competition, [f"test_0{i}" for i in range(4)], Resizing(SIZE), 2)
    assert (first.ids, first.problems) == (["test_01"], {"test_00": "test_00.jpg: damaged or cut short"})
    assert (second.ids, second.sizes, len(second.problems), len(second.images)) == ([], [], 2, 0)


def test_cache_holds_what_the_reader_reads(competition, tmp_path):
    cache, read = ImageCache.open(competition, Resizing(SIZE), tmp_path), SizedReader(competition, Resizing(SIZE))
    for id in competition.ids:
        for cached, direct in zip(cache(id), read(id), strict=True):
            np.testing.assert_array_equal(cached, direct)
            assert not cached.flags.writeable
    assert isinstance(sample_reader(competition, Resizing(SIZE), tmp_path), ImageCache)
    assert isinstance(sample_reader(competition, Resizing(SIZE), None), SizedReader)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # said where there is one core
def test_cache_feeds_worker_processes_and_is_small_when_pickled(competition, tmp_path):
    cache = ImageCache.open(competition, Resizing(SIZE), tmp_path)
    cache(competition.ids[0])  # opened before the workers start
    assert len(pickle.dumps(cache)) < 2000
    samples = SegmentationDataset(cache, competition.ids)
    alone, shared = (torch.cat([b.image for b in DataLoader(samples, 5, num_workers=n)]) for n in (0, 2))
    torch.testing.assert_close(alone, shared, rtol=0, atol=0)
    pickled = DataLoader(samples, 5, num_workers=1, multiprocessing_context="forkserver")
    torch.testing.assert_close(alone[:5], next(iter(pickled)).image, rtol=0, atol=0)


def test_cache_is_built_once_and_anew_for_another_size_or_other_data(tmp_path):
    reads = []

    class Counting(TinyDataset):
        def read_image(self, id):
            reads.append(id)
            return super().read_image(id)

    # a build reads the first image for its dtype, then all; a later start reads 8 to compare
    for expected, competition, size in [
        (13, Counting(), SIZE),
        (13 + 8, Counting(), SIZE),
        (2 * 13 + 8, Counting(), (16, 20)),
        (2 * 13 + 8 + 10, Counting(cars=3), SIZE),
    ]:
        ImageCache.open(competition, Resizing(size), tmp_path)
        assert len(reads) == expected


@pytest.mark.slow
def test_two_processes_build_one_cache(tmp_path):
    builds = [start_build(tmp_path, 0.1) for _ in range(2)]
    for build in builds:
        build.join(60)
    assert [build.exitcode for build in builds] == [0, 0]
    log = (tmp_path / "log").read_text().split()
    assert set(log) == set(TinyDataset().ids)
    assert len(log) == 1 + 12 + 8  # one build, and the other's comparison


@pytest.fixture
def slow(monkeypatch, tmp_path):
    """The data set of the builds in other processes, here without a wait."""
    monkeypatch.setenv("SLOW_LOG", str(tmp_path / "read here"))
    monkeypatch.setenv("SLOW_SECONDS", "0")
    return Slow()


def test_a_killed_build_is_never_taken_for_a_cache(tmp_path, slow):
    stop_build(tmp_path, after=3, sign=signal.SIGKILL)
    assert not list(tmp_path.glob("tiny-*"))
    assert list(tmp_path.glob(".tiny-*partial"))
    cache, read = ImageCache.open(slow, Resizing(SIZE), tmp_path), SizedReader(slow, Resizing(SIZE))
    for id in slow.ids:
        np.testing.assert_array_equal(cache(id)[0], read(id)[0])
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_goes_on_where_it_was(tmp_path, slow, sign):
    ids = slow.ids
    done = stop_build(tmp_path, after=7, sign=sign)  # the first four are on the disk
    (tmp_path / "log").unlink()
    goes_on = start_build(tmp_path, 0)
    goes_on.join(60)
    assert goes_on.exitcode == 0
    again = (tmp_path / "log").read_text().split()
    kept = 4 * (
        (len(done) - 2) // 4
    )  # whole chunks that were done before the last was begun; the first read is for the dtype
    assert again[: min(kept, 8)] == sample_ids(ids[:kept])  # compared
    assert sorted(again[min(kept, 8) :]) == ids[kept:]
    cache, read = ImageCache.open(slow, Resizing(SIZE), tmp_path), SizedReader(slow, Resizing(SIZE))
    assert (tmp_path / "read here").read_text().split() == sample_ids(ids)  # compared, and not built anew
    for id in ids:
        for cached, direct in zip(cache(id), read(id), strict=True):
            np.testing.assert_array_equal(cached, direct)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["ids.json", "images.npy", "masks.npy"]


def test_a_build_killed_before_its_files_were_whole_begins_again(tmp_path, competition, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kit.data.cache._fill_cache", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ImageCache.open(competition, Resizing(SIZE), tmp_path)
    [partial] = tmp_path.glob(".*.partial")
    (partial / "done.npy").unlink()
    (partial / "masks.npy").write_bytes(b"half")
    cache, read = ImageCache.open(competition, Resizing(SIZE), tmp_path), SizedReader(competition, Resizing(SIZE))
    np.testing.assert_array_equal(cache(competition.ids[-1])[1], read(competition.ids[-1])[1])


def test_every_sample_that_cannot_be_cached_is_listed(tmp_path):
    broken = TinyDataset(broken=["car0_02", "car3_01"])
    with pytest.raises(ValueError, match="2 samples cannot be read") as refusal:
        ImageCache.open(broken, Resizing(SIZE), tmp_path)
    assert "car0_02.jpg: damaged" in str(refusal.value)
    assert "car3_01.jpg: damaged" in str(refusal.value)
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]


def test_a_short_disk_is_refused_with_the_sizes(competition, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(10**12, 10**12, 3 * 10**9))
    with pytest.raises(OSError, match=r"takes 77\.3 GB, 3\.0 are free.*KIT_CACHE.*cache=False"):
        ImageCache.open(competition, Resizing((1024 * 32, 1536 * 32)), tmp_path)
    ImageCache.open(competition, Resizing(SIZE), tmp_path)


def test_foreground_shares_leave_ignored_pixels_out_of_the_foreground(competition):
    expected = [competition.read_mask(id).mean() for id in competition.ids]
    np.testing.assert_allclose(foreground_shares(competition), expected)

    class Ignoring(TinyDataset):
        def read_mask(self, id):
            return np.array([[0, 255, 1, 0]], np.uint8)

    np.testing.assert_allclose(foreground_shares(Ignoring(size=(1, 4))), 0.25)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_worker_starts_though_opencv_has_threads_running():
    threads, image = cv2.getNumThreads(), np.zeros((3000, 3000, 3), np.uint8)
    cv2.setNumThreads(2)
    cv2.warpAffine(image, np.float32([[1, 0.1, 0], [0, 1, 0]]), (3000, 3000))  # the pool of threads is at work now
    worker = multiprocessing.get_context("fork").Process(target=start_worker, args=(0,))
    worker.start()
    worker.join(timeout=300)
    hung = worker.is_alive()
    worker.kill()
    cv2.setNumThreads(threads)
    assert not hung
    assert worker.exitcode == 0


@pytest.mark.slow
def test_workers_of_a_group_of_processes_come_from_a_clean_server_and_read_the_same():
    samples = SegmentationDataset(SizedReader(TinyDataset(), Resizing(SIZE)), TinyDataset().ids)
    alone, group = World(0, 1, torch.device("cpu")), World(0, 2, torch.device("cpu"))
    here, there = (
        list(DataLoader(samples, 2, **loading(workers, world))) for workers, world in ((0, alone), (1, group))
    )
    assert loading(1, group)["multiprocessing_context"] == "forkserver"
    assert "multiprocessing_context" not in loading(1, alone)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.mask, other.mask)
        assert one.id == other.id


def test_pictures_of_several_sizes_do_not_share_a_batch():
    def sample(id, height, width):
        return Sample(
            torch.zeros(3, height, width, dtype=torch.uint8), torch.zeros(height, width, dtype=torch.uint8), id
        )

    batch = collate_samples([sample("a", 4, 5), sample("b", 4, 5)])
    assert batch.image.shape == (2, 3, 4, 5)
    assert list(batch.id) == ["a", "b"]
    with pytest.raises(ValueError, match=r"several sizes in a batch \(a 4×5, b 4×6\): resize to one size"):
        collate_samples([sample("a", 4, 5), sample("b", 4, 6)])
