"""`kit new` on files that are too large to be read whole for a look."""

import cv2
import numpy as np
import pytest
import tifffile

from kit.new import Wishes, choose, recipe_text
from kit.new.decisions.slides import are_slides
from kit.submission import rle

SIZE = (320, 400)


def fail(*_):
    raise AssertionError("a large file is read whole")


def scene(rng, size, count=6):
    mask = np.zeros(size, np.uint8)
    for _ in range(count):
        middle = [int(rng.integers(side)) for side in size[::-1]]
        cv2.circle(mask, middle, size[0] // 12, 255, -1)
    return np.where(mask[..., None] > 0, np.uint8([120, 60, 140]), np.uint8([230, 210, 220])), mask


def draw(folder, size=SIZE, ending="tif", count=4, rows=False):
    """Images, masks as files or in a CSV, and test images."""
    rng, lines = np.random.default_rng(0), ["id,rle"]
    for part in ("train", "test", *([] if rows else ["train_masks"])):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        image, mask = scene(rng, size)
        write(folder / f"train/s{number}.{ending}", image)
        write(folder / f"test/t{number}.{ending}", image) if number < 2 else None
        if rows:
            lines.append(f"s{number},{rle.encode(mask > 0, 'F')}")
        else:
            write(folder / f"train_masks/s{number}.{ending}", mask)
    (folder / "sample_submission.csv").write_text("id,rle\nt0,\nt1,\n")
    if rows:
        (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder


def write(path, pixels):
    if path.suffix == ".tif":
        kind = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
        tifffile.imwrite(path, pixels, tile=(128, 128), compression="zlib", compressionargs={"level": 1}, **kind)
    else:
        cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


@pytest.fixture
def small_limits(monkeypatch):
    """The same limits for small files."""
    monkeypatch.setattr("kit.new.look.parts.LARGE", 60_000)
    monkeypatch.setattr("kit.new.look.parts.SIDE", 64)
    monkeypatch.setattr("kit.new.decisions.slides.PIXELS", 100_000)


@pytest.mark.parametrize("rows", [True, False])
def test_large_tiffs_are_slides_and_only_parts_of_them_are_read(tmp_path, monkeypatch, small_limits, rows):
    folder = draw(tmp_path, rows=rows)
    monkeypatch.setattr("kit.new.look.parts.decode_image", fail)
    monkeypatch.setattr("kit.new.look.labels.decode_mask", fail)
    choices = choose(folder, Wishes(device="cpu", order="F"))
    text = recipe_text(choices, folder, folder / "mine.py")
    assert "return Slides(" in text
    assert "CsvMasks" not in text
    assert len(text.splitlines()) <= 120
    names = {"__name__": "recipe"}
    exec(compile(text, "mine.py", "exec"), names)
    data, wanted = names["read_data"](folder), scene(np.random.default_rng(0), SIZE)[1]
    np.testing.assert_array_equal(data.mask("s0").read(0, 0, *SIZE), wanted > 0)
    assert data.test_ids == ["t0", "t1"]


def test_large_files_of_other_kinds_are_read_whole_a_few_times(tmp_path, monkeypatch, small_limits):
    monkeypatch.setattr("kit.new.look.parts.WHOLE", 2 * SIZE[0] * SIZE[1])
    folder, read = draw(tmp_path, ending="png", count=12), []
    for name in ("kit.new.look.parts.decode_image", "kit.new.look.labels.decode_mask"):
        module, _, function = name.rpartition(".")
        own = getattr(__import__(module, fromlist=[function]), function)
        monkeypatch.setattr(name, lambda data, path, own=own, **more: (read.append(path), own(data, path, **more))[1])
    choices = choose(folder, Wishes(device="cpu", order="F"))
    assert choices.slides is None
    assert choices.meaning.task == "binary"
    assert choices.found.labels.masks == 2
    assert len(read) <= 8  # two of each look: which are masks, the masks, the images, what groups them


def test_what_slides_cannot_be_is_refused(tmp_path, small_limits):
    folder = draw(tmp_path)
    with pytest.raises(ValueError, match=r"slides.*instances masks"):
        choose(folder, Wishes(device="cpu", order="F", task="instances"))
    assert choose(folder, Wishes(device="cpu", order="F", classes=("background", "disc"))).meaning.classes[1] == "disc"


def test_the_scale_keeps_objects_within_a_tile(tmp_path, small_limits):
    folder = draw(tmp_path, size=(1600, 1700), rows=True)
    choices = choose(folder, Wishes(device="cpu"))
    assert choices.slides.scale == 4  # discs of 266 pixels, tiles of 256
    assert "pixels long" in choices.sizing.reasons[0]


@pytest.mark.slow
def test_tiffs_of_8000_pixels_are_slides(tmp_path):
    folder = draw(tmp_path, size=(7936, 9088), rows=True, count=3)
    choices = choose(folder, Wishes(device="cpu"))
    assert are_slides(choices.found)
    assert choices.slides.scale > 1
    assert choices.goal.dialect.order == "F"
