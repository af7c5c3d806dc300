"""`kit new` on drawn folders whose masks are run lengths in a CSV: tests among the images, flags, classes."""

import itertools

import cv2
import numpy as np
import pytest
from csv_folders import IDS, SIZE, blob, images, masks, names, of_classes, opened, rows_of, table, text_of, wishes

from kit.data import check_dataset
from kit.new import Asked, Wishes, choose, decide, recipe_text


@pytest.mark.parametrize("empty", [None, "-1"])
def test_images_that_the_sample_names_are_tests(tmp_path, empty):
    """All in one folder. Without rows of empty masks an image without a row is empty, with such rows it is left out."""
    images(tmp_path / "pool", IDS)
    rows = rows_of(IDS[:7], ending=".png") + [f"{IDS[7]}.png,{empty}"] * (empty is not None)
    table(tmp_path / "labels.csv", "file,runs", rows)
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id}.png," for id in IDS[9:]])
    choices = choose(tmp_path, wishes(empty=empty))
    data = opened(choices, tmp_path)
    assert sorted(choices.found.tests) == data.test_ids == IDS[9:]
    assert data.ids == choices.found.ids == (IDS[:9] if empty is None else IDS[:8])
    np.testing.assert_array_equal(data.read_mask(IDS[4]), blob(4))
    told = f"and none of 1 image: pool/{IDS[8]}.png; left out" if empty else f"no row of 2 images: pool/{IDS[7]}.png"
    assert any(told in one for one in choices.doubts)


UNDRAWN = {  # images with a row, without one, and named by the sample among them
    "a few": (9, 3, 0, False),
    "half": (6, 6, 0, True),
    "most": (2, 9, 0, True),
    "a few beside tests": (8, 2, 2, False),
    "a third beside tests": (6, 3, 3, True),
}


@pytest.mark.parametrize("case", UNDRAWN)
def test_many_images_without_a_row_are_asked_for(tmp_path, case):
    drawn, bare, named, is_open = UNDRAWN[case]
    ids = names(drawn + bare + named)
    images(tmp_path / "pool", ids)
    table(tmp_path / "labels.csv", "file,runs", rows_of(ids[:drawn]))
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id}," for id in ids[drawn + bare :] or ["hidden"]])
    questions = decide(tmp_path, wishes()).questions
    assert [one.flag for one in questions] == ["--lacking"] * is_open
    for lacking, count in (("empty", drawn + bare), ("skip", drawn)):
        choices = choose(tmp_path, Wishes(Asked(lacking=lacking), device="cpu"))
        data = opened(choices, tmp_path)
        assert data.ids == choices.found.ids == ids[:count]
        assert sum(data.read_mask(id).any() for id in data.ids) == drawn
        assert choices.found.doubts == []


def test_images_without_a_mask_file_can_be_taken_for_empty(tmp_path):
    images(tmp_path / "pool", IDS)
    masks(tmp_path / "truth", IDS[:8])
    choices = choose(tmp_path, Wishes(Asked(lacking="empty"), device="cpu"))
    data = opened(choices, tmp_path)
    assert data.ids == choices.found.ids == IDS
    assert [data.read_mask(id).any() for id in IDS] == [True] * 8 + [False] * 4


def test_mask_files_for_some_images(tmp_path):
    images(tmp_path / "pool", IDS)
    masks(tmp_path / "truth", IDS[:6])
    table(tmp_path / "submit_me.csv", "file,runs", [f"{id}," for id in IDS[6:10]])
    choices = choose(tmp_path, wishes(order="C"))
    data = opened(choices, tmp_path)
    assert (data.ids, data.test_ids) == (IDS[:6], IDS[6:10])
    [doubt] = [one for one in choices.doubts if "no mask belongs to 2 images" in one]
    assert f"pool/{IDS[10]}.png, pool/{IDS[11]}.png" in doubt
    assert choices.found.problems == []


def test_tests_of_their_own_folder_come_before_images_of_the_same_ids(tmp_path):
    images(tmp_path / "train", IDS)
    images(tmp_path / "evaluation", IDS)
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS[:8]))
    table(tmp_path / "sample.csv", "file,runs", [f"{id}," for id in IDS])
    choices = choose(tmp_path, wishes())
    assert choices.found.patterns["tests"] == "evaluation/*.png"
    assert len(choices.found.images) == len(choices.found.tests) == 12
    assert opened(choices, tmp_path).test_ids == IDS


def test_an_image_that_cannot_be_read_is_named_and_the_rest_decides(tmp_path):
    images(tmp_path / "train", IDS)
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS))
    (tmp_path / f"train/{IDS[3]}.png").write_bytes(b"no image at all")
    choices = choose(tmp_path, wishes())
    assert choices.meaning.table.order == "F"
    [problem] = choices.found.problems
    assert problem.startswith(f"train/{IDS[3]}.png: ")


def test_rows_without_an_image_and_rows_of_other_things_are_named(tmp_path):
    images(tmp_path / "train", IDS[1:])
    table(tmp_path / "train.csv", "file,runs", [*rows_of(IDS), "s900x,about half", f"{IDS[1]},12 b"])
    problems = "\n".join(choose(tmp_path, wishes()).found.problems)
    assert f"train.csv has rows without an image, of {IDS[0]}, s900x" in problems
    assert f"train.csv: the runs of s900x, {IDS[1]} are no 'start length …'" in problems


def numbered(folder):
    """Square label images, a CSV with a row an object down columns, and a sample."""
    import cv2

    size = (48, 48)
    images(folder / "im", IDS[:8], size)
    (folder / "lab").mkdir()
    rows = []
    for at, id in enumerate(IDS[:8]):
        labels, rng = np.zeros(size, np.uint16), np.random.default_rng(at)
        for number, place in enumerate(rng.permutation(9)[: rng.integers(3, 8)], start=1):
            cv2.circle(labels, (8 + 16 * int(place % 3), 8 + 16 * int(place // 3)), 6, number, -1)
        cv2.imwrite(str(folder / f"lab/{id}.png"), labels)
        rows += [f"{id},{text_of((labels == k).astype(np.uint8))}" for k in range(1, labels.max() + 1)]
    table(folder / "train.csv", "id,rle", rows)
    table(folder / "sample_submission.csv", "id,rle", [f"t{at}," for at in range(4)])
    return folder


def test_numbered_label_images_decide_the_order_of_a_csv(tmp_path):
    choices = choose(numbered(tmp_path), wishes())
    assert (choices.meaning.task, choices.goal.dialect.order, choices.goal.dialect.rows) == (
        "instances",
        "F",
        "instance",
    )
    other = choose(tmp_path, wishes(order="C", base=0))
    assert (other.goal.dialect.order, other.goal.dialect.base) == ("C", 0)  # obeyed, and said
    assert any("are the mask files with order F and base 1" in one for one in other.doubts)


def test_a_csv_that_was_compared_with_mask_files_is_given_to_the_competition(tmp_path):
    """Then a run compares it again, and no CSV of square images is doubted for its order."""
    folder = numbered(tmp_path)
    images(folder / "test", names(4, "t"), (48, 48))
    table(folder / "sample_submission.csv", "id,rle", [f"{id}," for id in names(4, "t")])
    text = recipe_text(choose(folder, wishes()), folder, folder / "mine.py")
    assert 'train_csv=config.data_dir / "train.csv"' in text
    asked = recipe_text(choose(folder, wishes(order="C")), folder, folder / "mine.py")
    assert "train_csv=" not in asked


def test_mask_files_of_other_masks_do_not_stop_the_order(tmp_path):
    """The rows are not the files: the order shows in smoothness, or is asked for."""
    images(tmp_path / "im", IDS)
    masks(tmp_path / "ma", IDS[::-1])
    table(tmp_path / "train.csv", "id,rle", rows_of(IDS, "C"))
    table(tmp_path / "sample_submission.csv", "id,rle", ["q,"])
    choices = choose(tmp_path, wishes())
    assert choices.goal.dialect.order == "C"
    assert any("differ from the training CSV" in one for one in choices.doubts)


@pytest.mark.parametrize("in_key", [False, True])
def test_multiclass_of_rows_a_class(tmp_path, in_key):
    of_classes(tmp_path, in_key=in_key)
    assert choose(tmp_path, wishes()).meaning.task == "multilabel"
    choices = choose(tmp_path, wishes(task="multiclass"))
    data = opened(choices, tmp_path)
    assert data.classes == ("background", "liver", "node")
    wanted = blob(2) * np.where(np.arange(SIZE[0])[:, None] < SIZE[0] // 2, 1, 2)
    np.testing.assert_array_equal(data.read_mask(IDS[2]), wanted)
    assert choices.goal.dialect.labels == ("liver", "node")
    pixels = sum(int((blob(at)[: SIZE[0] // 2]).sum()) for at in range(9))
    assert choices.meaning.shares[1] == pytest.approx(pixels / (9 * SIZE[0] * SIZE[1]))


def test_multiclass_of_classes_that_overlap_is_refused_with_the_image(tmp_path):
    with pytest.raises(ValueError, match=f"classes overlap in 1 of 9 images of train.csv, as in {IDS[5]}"):
        choose(of_classes(tmp_path, overlap=True), wishes(task="multiclass"))


def test_classes_are_named_in_any_order(tmp_path):
    of_classes(tmp_path)
    choices = choose(tmp_path, wishes(classes=("node", "liver")))
    data = opened(choices, tmp_path)
    assert data.classes == choices.goal.dialect.labels == ("node", "liver")
    assert data.read_mask(IDS[0])[..., 0].any(axis=1)[: SIZE[0] // 2].sum() == 0  # node is the lower half
    named = choose(tmp_path, wishes(task="multiclass", classes=("none", "x", "y")))
    assert (named.meaning.classes, named.goal.dialect.labels) == (("none", "x", "y"), ("liver", "node"))


# every two of the three together by default
ABSENT = [
    (in_key, task, has_rows)
    if (in_key + (task == "multiclass") + has_rows) % 2 == 0
    else pytest.param(in_key, task, has_rows, marks=pytest.mark.slow)
    for in_key, task, has_rows in itertools.product((False, True), ("multilabel", "multiclass"), (False, True))
]


@pytest.mark.parametrize(("in_key", "task", "has_rows"), ABSENT)
def test_a_class_of_the_sample_without_a_mask_is_absent(tmp_path, in_key, task, has_rows):
    """With rows of empty masks, and without any row."""
    of_classes(tmp_path, in_key=in_key)
    mark = "_" if in_key else ","
    for path, ids, is_there in (("train.csv", IDS[:9], has_rows), ("sample_submission.csv", names(4, "q"), True)):
        with (tmp_path / path).open("a") as file:
            file.writelines(f"{id}{mark}vein,\n" for id in ids if is_there)
    choices = choose(tmp_path, wishes(task=task))
    data = opened(choices, tmp_path)
    assert (data.foreground, data.absent) == (("liver", "node", "vein"), ("vein",))
    assert any("train.csv has no mask of vein" in doubt for doubt in choices.doubts)
    check_dataset(data)


REFUSED = {
    "objects of one row": ({"task": "instances"}, "one row an image, which does not tell objects apart"),
    "classes without labels": ({"task": "multiclass"}, "no key of train.csv names a class"),
    "overlapping ones": ({"task": "multilabel"}, "no key of train.csv names a class"),
    "names": ({"classes": ("a", "b", "c")}, "--classes names 3, and train.csv has 2 for binary masks"),
    "planes": ({"planes": (0, 3)}, "--planes 3: images have 3 channels"),
    "metric": ({"metric": "class-dice"}, "--metric class-dice is for multiclass or multilabel"),
    "order": ({"order": "C"}, "--order C: the masks in train.csv are smooth down columns: --order F"),
    "groups": ({"groups": "nothing"}, "--groups nothing: "),
    "a table of groups": ({"groups": "none.csv:id:who"}, "--groups none.csv:id:who: "),
    "tests": ({"tests": "none/*.png"}, "no image file matches --tests"),
    "a csv of masks": ({"masks": "other.csv"}, "--masks other.csv: no such CSV"),
    "a csv of tests": ({"tests": "other.csv"}, "--tests other.csv: no such CSV"),
    "tests among the images": ({"tests": "pool/*1x.png"}, "also match the images pool/*.png: give a pattern"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_flag_is_refused_with_the_reason(tmp_path, case):
    said, told = REFUSED[case]
    images(tmp_path / "pool", IDS)
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS))
    with pytest.raises(ValueError, match=told.replace("*", r"\*")):
        choose(tmp_path, wishes(**said))


def test_of_a_csv_that_is_not_there_nothing_can_be_said(tmp_path):
    images(tmp_path / "im", IDS)
    masks(tmp_path / "ma", IDS)
    for said in ({"order": "F"}, {"base": 0}, {"empty": "-1"}, {"csv_size": (9, 9)}):
        with pytest.raises(ValueError, match="no sample submission"):
            choose(tmp_path, wishes(**said))
    with pytest.raises(ValueError, match="--device gpu: expected"):
        choose(tmp_path, Wishes(device="gpu"))


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    images(tmp_path / "im", IDS)
    masks(tmp_path / "ma", IDS)
    with pytest.raises(ValueError, match="--device cuda: this machine shows no such GPU"):
        choose(tmp_path, Wishes(device="cuda"))


def test_flags_are_obeyed(tmp_path):
    """Of two CSVs, two sets of images and two of tests, those asked for."""
    images(tmp_path / "images_full", IDS)
    images(tmp_path / "images_copy", IDS)
    images(tmp_path / "test_one", names(5, "t"))
    images(tmp_path / "test_two", names(5, "t"))
    table(tmp_path / "first.csv", "file,runs", rows_of(IDS))
    table(tmp_path / "second.csv", "file,runs", rows_of(IDS[:10]))
    table(tmp_path / "blank.csv", "file,runs", [f"{id},none" for id in names(5, "t")])
    asked = {"images": "images_copy/*.png", "masks": "second.csv", "tests": "test_two/*.png"}
    found = choose(tmp_path, wishes(**asked)).found
    assert (found.patterns["images"], found.mask_table.path) == ("images_copy/*.png", "second.csv")
    assert found.patterns["tests"] == "test_two/*.png"
    assert choose(tmp_path, wishes(**asked | {"masks": "first.csv"})).found.mask_table.path == "first.csv"
    found = choose(tmp_path, wishes(masks="first.csv", tests="blank.csv")).found
    assert found.sample.path == "blank.csv"
    choices = choose(tmp_path, wishes(base=0, **asked))
    assert choices.meaning.table.base == 0


def test_a_csv_that_is_asked_for_goes_before_mask_files(tmp_path):
    images(tmp_path / "pics", IDS)
    masks(tmp_path / "masks", IDS)
    table(tmp_path / "better.csv", "file,runs", rows_of(IDS))
    choices = choose(tmp_path, wishes(masks="better.csv"))
    assert (choices.found.patterns, choices.found.masks) == ({"images": "pics/*.png"}, {})
    assert choices.meaning.table.order == "F"


def test_of_two_sets_with_the_same_ids_the_one_of_training_is_trained_on(tmp_path):
    for part in ("a_test", "b_train"):
        images(tmp_path / part, IDS)
    table(tmp_path / "rows.csv", "file,runs", rows_of(IDS))
    found = choose(tmp_path, wishes()).found
    assert (found.patterns["images"], found.patterns["tests"]) == ("b_train/*.png", "a_test/*.png")


def test_classes_of_a_csv_without_rows_are_asked_for(tmp_path):
    images(tmp_path / "train", IDS)
    masks(tmp_path / "truth", IDS)
    table(tmp_path / "sample_submission.csv", "id,class,runs", [])
    with pytest.raises(ValueError, match=r"no row names a class in the column class(?s:.*)--classes"):
        choose(tmp_path, wishes(order="F"))
    choices = choose(tmp_path, wishes(order="F", classes=("background", "oil")))
    assert choices.goal.dialect.labels == ("oil",)
    with pytest.raises(ValueError, match=r"--empty x y: sample_submission\.csv: no dialect: empty is"):
        choose(tmp_path, wishes(order="F", empty="x y", classes=("background", "oil")))


@pytest.mark.parametrize("bits", [8, 16])
def test_images_to_predict_of_another_type_are_a_doubt(tmp_path, bits):
    images(tmp_path / "images", IDS)
    masks(tmp_path / "masks", IDS)
    (tmp_path / "test").mkdir()
    for id in names(3):
        deep = np.full((*SIZE, 3), 40 << (bits - 8), f"uint{bits}")
        cv2.imwrite(str(tmp_path / f"test/{id}_t.png"), deep)
    doubts = [one for one in choose(tmp_path, wishes()).doubts if "the images to predict are" in one]
    assert len(doubts) == (bits == 16)
    if doubts:
        assert "uint16, as test/" in doubts[0]
        assert "those with masks uint8" in doubts[0]
