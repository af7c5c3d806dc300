"""The check before training: everything that a user's class may return. FAULTS 56, 57, 58."""

import json
import os
import re
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import Drawn, changed, refusal
from encoded import save
from PIL import Image

from kit.data import Dataset, check_dataset, data_key
from kit.data import check as check_module
from kit.data.cache import ImageCache
from kit.data.check import Facts
from kit.data.masks import decode_mask
from kit.data.resize import Resizing
from kit.system import threads
from kit.system.files import cache_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def test_facts_are_those_of_numpy():
    dataset = Drawn(["a", "b"], "uint16")
    facts = check_dataset(dataset)
    images, masks = (np.stack([read(id) for id in dataset.ids]) for read in (dataset.read_image, dataset.read_mask))
    assert (facts.dtype, facts.channels, facts.images) == ("uint16", 2, 12)
    np.testing.assert_allclose(facts.mean, images.mean((0, 1, 2)) / 65535, rtol=1e-9)
    np.testing.assert_allclose(facts.std, images.std((0, 1, 2)) / 65535, rtol=1e-9)
    assert facts.pixels == ((masks == 0).sum(), (masks == 1).sum())
    assert (facts.low, facts.high, facts.ignored) == (images.min(), images.max(), 0)
    assert (facts.shapes, facts.sizes) == (((31, 43, 12),), 1)
    assert dataset.dtype == "uint16"
    assert Facts.from_json(facts.to_json()) == facts


def test_facts_over_images_of_several_sizes_count_pixels_and_not_images():
    class Several(Drawn):
        def read_image(self, id):
            return super().read_image(id)[: 10 + int(id[-2:])]

        def read_mask(self, id):
            mask = super().read_mask(id)[: 10 + int(id[-2:])].copy()
            mask[0] = 255
            return mask

    dataset = Several()
    facts = check_dataset(dataset)
    values = np.concatenate([dataset.read_image(id).ravel() for id in dataset.ids])
    np.testing.assert_allclose(facts.mean, values.mean() / 255)
    np.testing.assert_allclose(facts.std, values.std() / 255)
    assert facts.sizes == 12
    assert facts.ignored == 12 * 43


class Counting(Drawn):
    log = SimpleNamespace(reads=0)

    def read_image(self, id):
        self.log.reads += 1
        return super().read_image(id)


def test_a_second_start_reads_a_few_samples_and_a_changed_file_all():
    first = check_dataset(Counting(count=40))
    assert Counting.log.reads == 40 + 8
    assert check_dataset(Counting(count=40)) == first
    assert Counting.log.reads == 40 + 8 + 8
    [kept] = (cache_folder() / "checks").iterdir()
    content = json.loads(kept.read_text())
    content["samples"]["disc_00"] = "another"
    kept.write_text(json.dumps(content))
    check_dataset(Counting(count=40))
    assert Counting.log.reads == 40 + 8 + 8 + 8 + 40 + 8
    kept.write_text("half")
    assert check_dataset(Counting(count=40)) == first
    with pytest.raises(ValueError, match="is in no mask"):
        check_dataset(changed(classes=("background", "disc", "ring")))


class Remembering(Drawn):
    """Keeps the images that it has read, as many users do."""

    seen = ()

    def __init__(self):
        super().__init__()
        self.images = {}

    def read_image(self, id):
        if id not in self.images:
            self.images[id] = super().read_image(id)
            type(self).seen = (*self.seen, id)
        return self.images[id]


def test_what_reading_itself_changes_is_no_part_of_the_key():
    keys = set()
    for _ in range(2):  # two starts, the second with the facts of the first
        Remembering.seen = ()
        dataset = Remembering()
        check_dataset(dataset)
        keys.add((data_key(dataset), dataset.fingerprint()))
        for id in dataset.ids:
            dataset.read_image(id)
        keys.add((data_key(dataset), dataset.fingerprint()))
    assert len(keys) == 1


def test_a_cache_folder_that_cannot_be_written_costs_time_alone(monkeypatch):
    def refuse(*_):
        raise OSError("read-only")

    monkeypatch.setattr(check_module, "write_atomic", refuse)
    assert check_dataset(Drawn()).images == 12


def test_a_long_check_says_so(monkeypatch, capsys):
    monkeypatch.setattr(check_module, "LONG", 0.0)
    check_dataset(Drawn())
    assert capsys.readouterr().out.startswith("checking 12 images and masks, once: about ")
    monkeypatch.undo()


def raising(error):
    def change(_):
        raise error

    return change


def odd_image(change):
    dataset = Drawn(["a", "b"])
    read = dataset.read_image
    dataset.read_image = lambda id: change(read(id)) if id in {"disc_03", "disc_07"} else read(id)
    return dataset


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda image: image[..., 0], r"the image is \(31, 43\), expected \(height, width, 2\).*image\[\.\.\., None\]"),
        (lambda image: image[..., :1], r"the image is \(31, 43, 1\), expected 2 channels \(a, b\)"),
        (lambda image: image.transpose(2, 0, 1), r"put the channels last: np\.moveaxis"),
        (lambda image: image[None], r"the image is \(1, 31, 43, 2\)"),
        (lambda image: image[:0], r"not empty"),
        (lambda image: image.tolist(), "returns a list, expected an array; use np.asarray"),
        (lambda image: None, "returns a NoneType"),
        (lambda image: image.astype(object), "object, expected u8, u16 or f32; return an array of numbers"),
        (lambda image: image.astype(float), r"float64, expected .* image\.astype\(np\.float32\)"),
        (lambda image: image.astype(np.int64), r"int64, expected .* image\.astype\(np\.uint8\)"),
        (lambda image: image.astype(np.int32) * 100, r"int32, expected .* image\.astype\(np\.uint16\)"),
        (lambda image: image > 9, r"bool, expected .* image \* np\.uint8\(255\)"),
        (lambda image: image.astype(np.uint16), "images are of another dtype"),
        (lambda image: np.where(image > 100, np.nan, image).astype(np.float32), "values are NaN or infinite"),
        (lambda image: image[:-1], r"the mask is \(31, 43\), its image \(30, 43\)"),
        (raising(KeyError("a.png")), "disc_03: KeyError: 'a.png'"),
        (raising(FileNotFoundError(2, "No such file", "x/a.png")), "disc_03: .*x/a.png"),
        (raising(AttributeError("'Drawn' object has no attribute 'folder'")), "AttributeError: .*folder"),
        (raising(AssertionError()), "disc_03: AssertionError"),
    ],
)
def test_fault_56_images_of_another_kind(change, told):
    text = refusal(odd_image(change))
    assert "disc_03" in text
    assert "disc_07" in text
    assert re.search(told, text)


def odd_mask(change, classes=("background", "disc"), every=False):
    dataset = changed(classes=classes)
    read = dataset.read_mask
    dataset.read_mask = lambda id: change(read(id)) if every or id == "disc_05" else read(id)
    return dataset


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda mask: mask * np.uint8(9), r"mask labels \[9\], expected 0 to 1 or 255"),
        (lambda mask: mask.astype(bool), r"bool, expected u8 class numbers; mask\.astype\(np\.uint8\)"),
        (lambda mask: mask.astype(np.int64), r"int64, expected u8 class numbers; mask\.astype\(np\.uint8\)"),
        (lambda mask: mask.astype(np.int16) - 1, "map its labels -1 to 0 to 1 or 255"),
        (lambda mask: mask.astype(np.int32) * 70_000, "map its labels 70000"),
        (lambda mask: mask.astype(np.float32), r"float32, expected u8 .*mask\.astype"),
        (lambda mask: mask * 0.7 + 0.1, r"fractions: \(mask > 0\.5\)"),
        (lambda mask: mask[..., None], r"the mask is \(31, 43, 1\), expected \(height, width\); take one channel"),
        (lambda mask: mask[:, ::2], r"the mask is \(31, 22\), its image \(31, 43\)"),
        (lambda mask: mask.tolist(), "read_mask returns a list"),
        (lambda mask: mask * np.uint8(255), "holds only 0 and 255.*others hold 0 and 1"),
        (raising(ZeroDivisionError("oh")), "ZeroDivisionError: oh"),
    ],
)
def test_fault_56_masks_of_another_kind(change, told):
    assert re.search(told, refusal(odd_mask(change)))


def stored(image):
    return decode_mask(save(image, "PNG"), "mask.png")


def in_palette(mask, *colours):
    image = Image.fromarray(np.asarray(mask))
    image.putpalette(np.array(colours, np.uint8).ravel().tolist())
    return stored(image)


def test_fault_54_what_decode_mask_gives_is_no_mask_yet_where_the_palette_says_otherwise():
    black, white, red = (0, 0, 0), (255, 255, 255), (255, 0, 0)
    white_first = odd_mask(lambda mask: in_palette(1 - mask, white, black))
    assert re.search(r"disc_05: the mask: a palette .* two ways", refusal(white_first))
    for change in (lambda mask: in_palette(mask, black, red), lambda mask: stored(Image.fromarray(mask))):
        assert check_dataset(odd_mask(change)).images == 12


def test_fault_57_masks_of_0_and_255_and_classes_that_never_occur():
    text = refusal(odd_mask(lambda mask: mask * np.uint8(255), every=True))
    assert "255 means ignored. If 255 means disc, read_mask must give 1 there: use binary_mask" in text
    text = refusal(odd_mask(lambda mask: mask, ("background", "disc", "ring", "dot"), every=True))
    assert "class 2 (ring) is in no mask" in text
    assert "class 3 (dot) is in no mask" in text
    assert "class 0 (background) is in no mask" in refusal(odd_mask(lambda mask: mask * 0 + np.uint8(1), every=True))
    allowed = odd_mask(lambda mask: mask, ("background", "disc", "ring"))
    allowed.absent = ("ring",)
    assert check_dataset(allowed).pixels[2] == 0


def test_ignored_pixels_beside_a_class_are_fine():
    def ring(mask):
        mask[:2] = 255
        return mask

    assert check_dataset(odd_mask(ring, every=True)).ignored == 12 * 2 * 43


def test_problems_of_all_kinds_are_listed_by_kind_and_bounded():
    class Broken(Drawn):
        def read_image(self, id):
            number = int(id[-2:])
            if number < 25:
                raise RuntimeError(f"no decoder for {number}")
            image = super().read_image(id)
            return image[..., 0] if number < 30 else image

        def read_mask(self, id):
            return super().read_mask(id) * (5 if int(id[-2:]) == 40 else 1)

    text = refusal(Broken(count=50))
    assert "25 × images cannot be read" in text
    assert "disc_19: RuntimeError: no decoder for 19" in text
    assert "and 5 more" in text
    assert "5 × images are not as declared" in text
    assert "1 × masks are not as declared:\n  disc_40" in text


def test_a_shape_of_ones_own_that_is_wrong():
    class Swapped(Drawn):
        def shape(self, id):
            return self.size[::-1]

    assert "shape(id) says (43, 31), the image is (31, 43)" in refusal(Swapped())


def test_the_base_class_alone_names_what_is_missing():
    class Bare(Dataset):
        name, classes = "bare", ("a", "b")

        def __init__(self):
            self.ids = ["x"]

    text = refusal(Bare())
    assert "Bare has no read_image(self, id)" in text
    assert "Bare has no read_mask(self, id)" in text
    assert (Bare().groups, Bare().num_classes, Bare().task) == (["x"], 2, "binary")


def cores(monkeypatch, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    cores(monkeypatch, 4)  # as many images are in work at once

    def peak(count):
        dataset = Drawn(["a"] * 3, "float32", count=count, size=(200, 200))
        tracemalloc.start()
        check_dataset(dataset)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(12), peak(60)
    assert many < few + 8e6  # 48 more images hold 23 MB


def test_many_cores_do_not_read_more_large_images_at_once_than_fit(monkeypatch, tmp_path):
    now, seen, lock = set(), [], threading.Lock()

    class Slow(Drawn):
        def read_image(self, id):
            with lock:
                now.add(id)
                seen.append(len(now))
            time.sleep(0.02)
            with lock:
                now.discard(id)
            return super().read_image(id)

    cores(monkeypatch, 64)
    assert threads.threads_for(100_000_000) == 10
    assert (threads.threads_for(0), threads.threads_for(10**12)) == (32, 1)
    monkeypatch.setattr(threads, "AT_ONCE", 3 * 4 * 30_000)  # three images
    dataset = Slow(("red", "green", "blue"), count=24, size=(100, 100))
    for work in (check_dataset, lambda images: ImageCache.open(images, Resizing((20, 20)), tmp_path / "small")):
        seen.clear()
        work(dataset)
        assert max(seen) == 3


def test_a_check_costs_little_beside_reading():
    dataset = Drawn(("red", "green", "blue"), size=(400, 600), count=16)
    images, masks = ({id: read(id) for id in dataset.ids} for read in (dataset.read_image, dataset.read_mask))
    dataset.read_image, dataset.read_mask = images.__getitem__, masks.__getitem__
    start = time.perf_counter()
    check_dataset(dataset)
    assert (time.perf_counter() - start) / 16 < 0.05  # seconds an image of 240,000 pixels
