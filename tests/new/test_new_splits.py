"""`kit new` where parts are held out by folders, with lone files, and with values that may mean two things."""

import cv2
import numpy as np

from kit.new import Wishes, choose, recipe_text
from kit.new.labels import labels_of


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


def test_a_labelled_test_part_is_neither_trained_on_nor_held_out(tmp_path):
    for part, count in (("train", 9), ("val", 5), ("test", 4)):
        write(tmp_path, part, f"{part}annot", [f"{part}{number}" for number in range(count)])
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert not choices.found.split  # no pattern has train and val without test
    assert {id.rpartition("/")[2] for id in folds_of(choices, tmp_path)} == {f"train{number}" for number in range(9)}
    assert any("val" in one for one in choices.found.unused)


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
