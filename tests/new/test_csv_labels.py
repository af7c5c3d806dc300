"""Which class of the mask files a label of the CSV is: by the number that the masks hold, else asked."""

import cv2
import numpy as np
import pytest
from csv_folders import SIZE, blob, images, names, table

from kit.data import check_dataset
from kit.new import Wishes, decide, recipe_text

IDS, TESTS = names(10), names(3, "q")


def draw(folder, values, labels):
    """Masks of some values, each a part of an ellipse, and a sample with a row of each label."""
    images(folder / "train", IDS)
    images(folder / "test", TESTS)
    (folder / "train_masks").mkdir()
    for at, id in enumerate(IDS):
        parts = np.arange(SIZE[1]) * len(values) // SIZE[1]
        mask = np.roll(blob(at), at, axis=1) * np.array(values, np.uint8)[parts]
        cv2.imwrite(str(folder / f"train_masks/{id}.png"), mask)
    table(folder / "sample_submission.csv", "id,kind,rle", [f"{id},{one}," for id in TESTS for one in labels])
    return folder


def opened(choices, folder):
    space = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), space)
    return space["read_data"](folder), space["DIALECT"]


# values of the masks beside 0, labels of the CSV, and the label of each value
PAIRED = {
    "the same numbers": ((1, 2), (1, 2), {1: "1", 2: "2"}),
    "in another order": ((1, 2), (2, 1), {1: "1", 2: "2"}),
    "far numbers": ((3, 7), (7, 3), {3: "3", 7: "7"}),
    "numbers with a gap": ((2, 4), (2, 4), {2: "2", 4: "4"}),
    "a class that no mask shows": ((1, 2), (5, 2, 1), {1: "1", 2: "2"}),
    "two that no mask shows": ((3,), (1, 2, 3), {3: "3"}),
    "zeros before": ((1, 3), ("01", "03", "04"), {1: "01", 3: "03"}),
    "one shown of two": ((1,), (1, 2), {1: "1"}),
    "rows of 0 too": ((1, 2), (0, 1, 2), {0: "0", 1: "1", 2: "2"}),
}


@pytest.mark.parametrize("case", PAIRED)
def test_numbers_of_the_csv_are_those_of_the_masks(tmp_path, case):
    values, labels, wanted = PAIRED[case]
    choices = decide(draw(tmp_path, values, labels), Wishes(device="cpu", order="F"))
    assert choices.questions == []
    data, dialect = opened(choices, tmp_path)
    assert sorted(dialect.labels) == sorted(map(str, labels))
    assert dialect.with_labels(len(data.foreground)) == dialect
    check_dataset(data)
    for id in data.ids[:4]:
        stored, mask = cv2.imread(str(tmp_path / f"train_masks/{id}.png"), -1), data.read_mask(id)
        for value in np.unique(stored).tolist():
            shown = {dialect.labels[k - 1] if k else None for k in np.unique(mask[stored == value])}
            assert shown == {wanted.get(value)}
    shown = {dialect.labels[data.foreground.index(name)] for name in data.absent if name in data.foreground}
    assert shown == set(dialect.labels) - set(wanted.values())


ASKED = {
    "one later": ((1, 2), (2, 3), "name them.* --classes background 2 3"),
    "from 0": ((1, 2), (0, 1), "--classes background 0 1"),
    "greys": ((40, 80), (1, 2), "--classes background 1 2"),
    "fewer": ((1, 2, 3), (1, 2), "rows of 2 classes, and the masks 3"),
    "two for one": ((255,), (1, 2), "rows of 2 classes, and the masks 1"),
    "more than greys": ((40, 80), (1, 2, 3), "rows of 3 classes, and the masks 2"),
}


@pytest.mark.parametrize("case", ASKED)
def test_other_numbers_are_asked_for(tmp_path, case):
    values, labels, told = ASKED[case]
    choices = decide(draw(tmp_path, values, labels), Wishes(device="cpu", order="F"))
    [question] = choices.questions
    assert question.flag == "--classes"
    assert not question.is_refused
    with pytest.raises(ValueError, match=told):
        raise ValueError(str(question))


@pytest.mark.parametrize("named", [("background", "3", "2"), ("background", "oak", "elm")])
def test_the_answer_is_obeyed(tmp_path, named):
    """Names as the CSV has them say which is which; others do where it counts the classes from 1."""
    labels = (2, 3) if "3" in named else (1, 2)
    choices = decide(draw(tmp_path, (40, 80), labels), Wishes(device="cpu", order="F", classes=named))
    assert choices.questions == []
    data, dialect = opened(choices, tmp_path)
    assert (data.classes, dialect.labels) == (named, ("3", "2") if "3" in named else ("1", "2"))
    stored = cv2.imread(str(tmp_path / f"train_masks/{IDS[0]}.png"), -1)
    np.testing.assert_array_equal(data.read_mask(IDS[0]), stored // 40)


@pytest.mark.parametrize("given", [("sky", "hall", "tovver"), ("sky", "tower", "barn"), ("sky", "up", "down")])
def test_names_that_the_csv_has_not_are_refused(tmp_path, given):
    """A slip in one name would write each label for another class."""
    folder = draw(tmp_path, (1, 2), ("tower", "hall"))
    choices = decide(folder, Wishes(device="cpu", order="F", classes=given))
    [question] = choices.questions
    strange = [name for name in given[1:] if name not in ("tower", "hall")]
    assert question.text.startswith(f"--classes names {', '.join(strange)}, and the CSV has tower, hall")
    assert question.is_refused


def test_capitals_of_names_do_not_matter(tmp_path):
    folder = draw(tmp_path, (1, 2), ("tower", "hall"))
    choices = decide(folder, Wishes(device="cpu", order="F", classes=("sky", "Hall", "TOWER")))
    assert choices.questions == []
    assert choices.goal.dialect.labels == ("hall", "tower")


def test_rows_of_several_classes_suit_no_objects(tmp_path):
    folder = draw(tmp_path, (1, 2), ("tower", "hall"))
    choices = decide(folder, Wishes(device="cpu", order="F", task="instances"))
    [question] = choices.questions
    assert (question.flag, question.is_refused) == ("--task", True)
    assert "rows of 2 classes, tower, hall" in question.text


def test_names_of_rows_that_the_csv_has_not_are_refused(tmp_path):
    images(tmp_path / "train", IDS)
    images(tmp_path / "test", TESTS)
    rows = [f"{id},{one},{at + 2} 5 {at + 90} 7" for at, id in enumerate(IDS) for one in ("tower", "hall")]
    table(tmp_path / "train.csv", "id,kind,rle", rows)
    wanted = [f"{id},{one}," for id in TESTS for one in ("tower", "hall")]
    table(tmp_path / "sample_submission.csv", "id,kind,rle", wanted)
    choices = decide(tmp_path, Wishes(device="cpu", order="F", classes=("hall", "towr")))
    assert any(one.text.startswith("--classes names towr, and the CSV has tower, hall") for one in choices.questions)
