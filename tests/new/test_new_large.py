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


def two_classes(folder, overlap, labels=("vessel", "tumour"), column="kind"):
    """Slides with the masks of two classes in a CSV; returns those masks by slide."""
    draw(folder, rows=True)
    lines, masks = [f"id,{column},rle"], {}
    for number in range(4):
        first = scene(np.random.default_rng(number), SIZE)[1] > 0
        second = scene(np.random.default_rng(number + 9), SIZE)[1] > 0
        masks[f"s{number}"] = first, (second if overlap and number == 3 else second & ~first)
        both = zip(labels, masks[f"s{number}"], strict=True)
        lines += [f"s{number},{label},{rle.encode(mask, 'F')}" for label, mask in both]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    rows = [f"t{number},{label}," for number in (0, 1) for label in labels]
    (folder / "sample_submission.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    return masks


def data_of(folder, **wishes):
    """What is chosen, and the data set of the recipe."""
    choices, names = choose(folder, Wishes(device="cpu", order="F", **wishes)), {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), names)
    return choices, names["read_data"](folder)


@pytest.mark.parametrize("overlap", [False, True])
def test_classes_of_slides_are_multilabel_where_their_runs_overlap(tmp_path, small_limits, overlap):
    masks = two_classes(tmp_path, overlap)
    choices, data = data_of(tmp_path)
    assert choices.meaning.task == data.task == ("multilabel" if overlap else "multiclass")
    assert ("the classes overlap, as in s3" if overlap else "overlap nowhere") in str(choices.reasons)
    for id, (first, second) in masks.items():
        wanted = np.stack([first, second], axis=2) if overlap else first + 2 * second
        np.testing.assert_array_equal(data.read_mask(id), wanted)
    if overlap:
        with pytest.raises(ValueError, match=r"--task multiclass: classes overlap in train\.csv, as in s3"):
            choose(tmp_path, Wishes(device="cpu", task="multiclass"))
    else:
        assert data_of(tmp_path, task="multilabel")[1].read_mask("s0").shape == (*SIZE, 2)


def test_number_labels_of_slides_are_the_classes_that_they_name(tmp_path, small_limits):
    masks = two_classes(tmp_path, overlap=False, labels=("2", "5"))
    with pytest.raises(ValueError, match=r"--classes background 2 5"):
        choose(tmp_path, Wishes(device="cpu"))
    _, data = data_of(tmp_path, classes=("background", "2", "5"))
    np.testing.assert_array_equal(data.read_mask("s1"), masks["s1"][0] + 2 * masks["s1"][1])


def test_a_file_a_class_of_slides(tmp_path, small_limits):
    draw(tmp_path)
    (tmp_path / "masks/gland").mkdir(parents=True)
    (tmp_path / "train_masks").rename(tmp_path / "masks/stroma")
    for number in range(4):
        write(tmp_path / f"masks/gland/s{number}.tif", scene(np.random.default_rng(number + 5), SIZE)[1])
    choices, data = data_of(tmp_path)
    assert (choices.meaning.task, set(data.classes)) == ("multilabel", {"gland", "stroma"})
    found = data.read_mask("s2")[..., data.classes.index("gland")]
    np.testing.assert_array_equal(found, scene(np.random.default_rng(7), SIZE)[1] > 0)
    (tmp_path / "masks/gland/s1.tif").unlink()
    with pytest.raises(ValueError, match=r"not of each class: slides need one"):
        choose(tmp_path, Wishes(device="cpu"))


def test_rows_of_objects_of_slides_are_united_where_that_is_asked_for(tmp_path, small_limits):
    masks = two_classes(tmp_path, overlap=True, column="annotator")
    for name in ("train.csv", "sample_submission.csv"):
        rows = [line.split(",") for line in (tmp_path / name).read_text().splitlines()]
        (tmp_path / name).write_text("".join(f"{row[0]},{row[2]}\n" for row in rows))
    (tmp_path / "sample_submission.csv").write_text("id,rle\nt0,\nt1,\n")
    with pytest.raises(ValueError, match=r"--task binary unites"):
        choose(tmp_path, Wishes(device="cpu", order="F"))
    _, data = data_of(tmp_path, task="binary")
    for id, both in masks.items():
        np.testing.assert_array_equal(data.read_mask(id), np.any(both, axis=0))


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
