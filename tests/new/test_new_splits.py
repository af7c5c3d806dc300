"""`kit new` where parts are held out by folders, with lone files, and with values that may mean two things."""

import shutil

import cv2
import numpy as np
import pytest

from kit.new import Wishes, choose, recipe_text
from kit.new.look.labels import labels_of
from kit.new.look.split_words import split_of


def write(folder, images, masks, ids, values=(0, 255)):
    """Images and masks of `ids` in two folders; each mask holds every value."""
    rng = np.random.default_rng(len(ids))
    for part in (images, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for id in ids:
        mask = np.full((36, 48), values[0], np.uint8)
        for at, value in enumerate(values[1:]):
            mask[4 + 3 * at : 6 + 3 * at, 5:40] = value
        cv2.imwrite(str(folder / images / f"{id}.png"), rng.integers(0, 256, (36, 48, 3), np.uint8))
        cv2.imwrite(str(folder / masks / f"{id}.png"), mask)


def folds_of(choices, folder):
    """What the written make_folds gives, by id."""
    names = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), names)
    data = names["read_data"](folder)
    return dict(zip(data.ids, names["make_folds"](names["Config"](data_dir=folder), data).tolist(), strict=True))


def test_the_recipe_holds_out_what_is_printed(tmp_path):
    for part, count in (("train", 9), ("val", 5)):
        write(tmp_path, part, f"{part}annot", [f"{part}{number}" for number in range(count)])
    choices = choose(tmp_path, Wishes(device="cpu"))
    folds = folds_of(choices, tmp_path)
    assert sorted(id for id, fold in folds.items() if fold == 0) == sorted(choices.found.split)
    assert sorted(id.rpartition("/")[2] for id in choices.found.split) == [f"val{number}" for number in range(5)]


THREE = {
    "train/, trainannot/": ("{}", "{}annot", "{}"),
    "images/train, masks/train": ("images/{}", "masks/{}", "{}"),
    "train_images/, train_masks/": ("{}_images", "{}_masks", "{}"),
    "train/images, train/masks": ("{}/images", "{}/masks", "{}"),
    "files numbered alike": ("{}", "{}annot", ""),
    "one folder": ("images", "masks", "{}_"),
}


@pytest.mark.parametrize("layout", THREE)
@pytest.mark.parametrize("packed", [False, True])
def test_of_three_labelled_parts_val_is_held_out_and_test_stays_aside(tmp_path, layout, packed):
    images, masks, name = THREE[layout]
    for part, count in (("train", 9), ("val", 5), ("test", 4)):
        ids = [f"{name.format(part)}{number}" for number in range(count)]
        write(tmp_path, images.format(part), masks.format(part), ids)
    if packed:
        for folder in sorted(path for path in tmp_path.iterdir() if path.is_dir()):
            shutil.make_archive(str(folder), "zip", folder)
            shutil.rmtree(folder)
    choices = choose(tmp_path, Wishes(device="cpu"))
    folds = folds_of(choices, tmp_path)
    if layout == "one folder":
        assert len(folds) == 18  # no folder says that these are parts
        return
    assert sorted(choices.found.split) == sorted(id for id, fold in folds.items() if fold == 0)
    assert len(choices.found.split) == 5
    assert all("val" in id for id in choices.found.split)
    assert len(folds) == 14
    assert any("test" in one and "neither trained on nor held out" in one for one in choices.found.unused)
    assert choices.found.problems == []


def test_words_that_say_what_is_held_out():
    held = ("val", "images/val", "valannot", "imagesVal", "Validation_images", "x/dev.txt", "val2")
    tests = ("imagesTs", "test/*.png", "TestImages", "stage1_test", "labelsTs")
    neither = ("valley", "trainval", "contest", "latest/*.png", "devices", "imagesTr", "interval", "bits", "testify")
    assert [split_of(text) for text in held] == ["val"] * len(held)
    assert [split_of(text) for text in tests] == ["test"] * len(tests)
    assert [split_of(text) for text in neither] == [""] * len(neither)


def test_suffixes_in_other_spellings_are_read_together(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(9)])
    for number, suffix in enumerate(["png", "PNG", "Png"] * 3):
        (tmp_path / f"images/a{number}.png").rename(tmp_path / f"images/a{number}.{suffix}")
        (tmp_path / f"masks/a{number}.png").rename(tmp_path / f"masks/a{number}.{['PNG', 'png'][number % 2]}")
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert choices.found.problems == []
    assert sorted(folds_of(choices, tmp_path)) == sorted(choices.found.images) == [f"a{number}" for number in range(9)]


def test_photographs_of_several_spellings_are_read_together(tmp_path):
    write(tmp_path, "photos", "masks", [f"a{number}" for number in range(8)])
    for number, suffix in enumerate(["jpg", "JPG", "jpeg", "jfif"] * 2):
        image = cv2.imread(str(tmp_path / f"photos/a{number}.png"))
        (tmp_path / f"photos/a{number}.{suffix}").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
        (tmp_path / f"photos/a{number}.png").unlink()
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert choices.found.problems == []
    assert len(folds_of(choices, tmp_path)) == 8


def test_two_files_that_differ_in_the_suffix_alone_are_named(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(8)])
    shutil.copy(tmp_path / "images/a3.png", tmp_path / "images/a3.PNG")
    problems = choose(tmp_path, Wishes(device="cpu")).found.problems
    assert any("images/a3." in one and "keep one of the two" in one for one in problems)


def test_a_lone_image_is_no_part_of_the_data(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(8)])
    cv2.imwrite(str(tmp_path / "overview.png"), np.zeros((9, 9, 3), np.uint8))
    assert len(choose(tmp_path, Wishes(device="cpu")).found.images) == 8


def test_class_numbers_with_void_are_no_soft_edges(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(8)], values=(*range(9), 255))
    meaning = choose(tmp_path, Wishes(device="cpu")).meaning
    assert (meaning.task, len(meaning.classes), meaning.values) == ("multiclass", 9, None)


def test_three_greys_are_three_classes(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(8)], values=(0, 128, 255))
    meaning = choose(tmp_path, Wishes(device="cpu")).meaning
    assert meaning.values == {0: 0, 128: 1, 255: 2}
    assert meaning.ignore is None


def test_blurred_edges_are_soft():
    mask = cv2.GaussianBlur(np.pad(np.full((40, 40), 255, np.uint8), 60), (0, 0), 2)
    assert labels_of([mask] * 3).is_soft


def test_a_list_of_ids_with_points_holds_out_what_is_printed(tmp_path):
    ids = [f"scan.{number}.1" for number in range(9)]
    write(tmp_path, "images", "masks", ids)
    (tmp_path / "val.txt").write_text("".join(f"{id} 1\n" for id in ids[:3]))
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert sorted(choices.found.split) == ids[:3]
    assert [id for id, fold in folds_of(choices, tmp_path).items() if fold == 0] == ids[:3]


def test_void_beside_class_numbers_that_the_sample_lacks(tmp_path):
    write(tmp_path, "images", "masks", [f"a{number}" for number in range(8)], values=(0, 2, 3, 5, 255))
    meaning = choose(tmp_path, Wishes(device="cpu")).meaning
    assert (meaning.task, len(meaning.classes), meaning.absent) == ("multiclass", 6, ("class 1", "class 4"))
