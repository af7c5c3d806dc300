"""`kit new --task` and `--classes` over all kinds of masks: they are obeyed, in data that can be read, or refused."""

import cv2
import numpy as np
import pytest

from kit.new import Wishes, choose, recipe_text

SIZE = (64, 80)
COUNT = 12


def write(folder, draw, ending="png", count=COUNT):
    """Images and masks; draw(random generator, number) gives the mask as it is stored, or several by name."""
    rng = np.random.default_rng(0)
    for number in range(count):
        masks = draw(rng, number)
        named = masks if isinstance(masks, dict) else {f"masks/a{number}.{ending}": masks}
        for name, mask in named.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), mask[..., ::-1] if mask.ndim == 3 else mask)
        image = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), np.uint8), (5, 5), 2)
        (folder / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"images/a{number}.jpg"), image)
    return folder


def discs(rng, values, radius=7, dtype=np.uint8):
    """Discs of these values at random places of a grid, none on another."""
    mask = np.zeros(SIZE, dtype)
    places = rng.permutation(20)[: len(values)]
    for value, place in zip(values, places, strict=True):
        cv2.circle(mask, (8 + 16 * int(place % 5), 8 + 16 * int(place // 5)), radius, int(value), -1)
    return mask


def two(rng, number):
    return discs(rng, [255, 255, 255])


def ones(rng, number):
    return discs(rng, [1, 1])


def soft(rng, number):
    mask = cv2.circle(np.zeros(SIZE, np.uint8), (40 + number % 3, 30), 20, 255, -1)
    return cv2.GaussianBlur(mask, (0, 0), 1)


def blurred(rng, number):
    return cv2.GaussianBlur(discs(rng, [255, 255, 255]), (0, 0), 2)  # more edge than disc


def class_numbers(rng, number):
    mask = np.zeros(SIZE, np.uint8)
    mask[:20], mask[30:50, 8:30], mask[30:50, 50:70] = 1, 2, 2
    mask[52:60] = 3 * (number % 3 > 0)
    return mask


def greys(rng, number):
    return np.choose(class_numbers(rng, number), [0, 90, 180, 255]).astype(np.uint8)


def colours(rng, number):
    table = np.array([(0, 0, 0), (255, 0, 0), (0, 200, 0), (10, 20, 250)], np.uint8)
    return table[class_numbers(rng, number)]


def numbered(rng, number):
    return discs(rng, range(1, 5 + number % 5), dtype=np.uint16)


def many(rng, number):
    return discs(rng, range(1 + 9 * number, 9 + 9 * number), dtype=np.uint16)


def channels(rng, number):
    return np.stack([discs(rng, [255, 255]) for _ in range(3)], axis=2)


def by_object(rng, number):
    whole = numbered(rng, number)
    return {
        f"masks/a{number}/{k}.png": np.where(whole == k, 255, 0).astype(np.uint8) for k in range(1, whole.max() + 1)
    }


def by_class(rng, number):
    masks = {"liver": discs(rng, [255, 255]), "spleen": discs(rng, [255]), "left_kidney": discs(rng, [255, 255, 255])}
    lacking = ("spleen", "", "")[number % 3]
    return {f"masks/a{number}_{name}.png": mask for name, mask in masks.items() if name != lacking}


def by_folder(rng, number):
    return {f"masks/{name}/a{number}.png": discs(rng, [255, 255]) for name in ("road", "river")}


NO = None  # refused
# kind: what each task gives, (classes, values)
KINDS = {
    two: {"": "binary", "binary": (2, None), "multiclass": (2, {0: 0, 255: 1}), "instances": (2, "components")},
    ones: {"": "binary", "binary": (2, None), "multiclass": (2, {0: 0, 1: 1}), "instances": (2, "components")},
    soft: {"": "binary", "binary": (2, 127), "multiclass": NO, "instances": NO, "multilabel": NO},
    blurred: {"binary": (2, 127), "multiclass": NO},
    class_numbers: {"": "multiclass", "binary": (2, 0), "multiclass": (4, None), "instances": (2, None)},
    greys: {"": "multiclass", "binary": (2, 0), "multiclass": (4, {0: 0, 90: 1, 180: 2, 255: 3})},
    colours: {"": "multiclass", "binary": (2, "map"), "multiclass": (4, "map"), "instances": (2, None)},
    numbered: {"": "instances", "binary": (2, 0), "multiclass": (9, None), "instances": (2, None)},
    many: {"": "instances", "binary": (2, 0), "multiclass": NO, "instances": (2, None)},
    channels: {"binary": (2, "map"), "multilabel": (3, None)},
    by_class: {"": "multilabel", "binary": NO, "multiclass": NO, "instances": NO, "multilabel": (3, None)},
    by_folder: {"": "multilabel", "binary": NO, "multiclass": NO, "instances": NO, "multilabel": (2, None)},
    by_object: {"": "instances", "binary": NO, "multiclass": NO, "instances": (2, None), "multilabel": NO},
}
for single in (two, ones):
    KINDS[single]["multilabel"] = (1, None)
for numbers in (class_numbers, greys, colours, numbered, many):
    KINDS[numbers]["multilabel"] = NO
CASES = [(kind, task) for kind, tasks in KINDS.items() for task in tasks]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    made = {}

    def draw(kind):
        if kind not in made:
            made[kind] = write(tmp_path_factory.mktemp(kind.__name__), kind)
        return made[kind]

    return draw


def read_data(choices, folder):
    names = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), names)
    return names["read_data"](folder)


@pytest.mark.parametrize(("kind", "task"), CASES, ids=[f"{kind.__name__}-{task or 'found'}" for kind, task in CASES])
def test_a_task_is_obeyed_or_refused_with_the_reason(drawn, kind, task):
    folder, wanted = drawn(kind), KINDS[kind][task]
    wishes = Wishes(task=task or None, device="cpu", groups="none")
    if wanted is NO:
        with pytest.raises(ValueError, match=rf"--task {task} does not suit|too many for classes"):
            choose(folder, wishes)
        return
    choices = choose(folder, wishes)
    assert choices.meaning.task == (task or wanted)
    assert choices.found.problems == []
    data = read_data(choices, folder)
    assert data.task == choices.meaning.task
    expected = TRUTH.get(kind, lambda stored: stored)
    for id in data.ids:
        mask = data.read_mask(id)
        if task:
            count, values = wanted
            assert len(data.classes) == count
            assert choices.meaning.values == values or values == "map"
        if task == "binary":
            np.testing.assert_array_equal(mask > 0, expected(stored_of(folder, id)) > 0)
        if task == "multiclass":
            assert mask.max() < len(data.classes)
            assert len(np.unique(mask)) == len(np.unique(expected(stored_of(folder, id))))
        if task == "instances" and kind in (two, ones):
            assert mask.max() == cv2.connectedComponents((stored_of(folder, id) > 0).astype(np.uint8))[0] - 1
        if task == "instances" and kind in (numbered, many, class_numbers):
            np.testing.assert_array_equal(mask, stored_of(folder, id))
        if kind in (by_class, by_folder):
            form = "masks/{1}_{0}.png" if kind is by_class else "masks/{0}/{1}.png"
            for layer, name in enumerate(data.classes):
                stored = cv2.imread(str(folder / form.format(name, id)), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(mask[..., layer], 0 if stored is None else stored > 0)
        if task == "multilabel" and kind is channels:
            np.testing.assert_array_equal(mask, stored_of(folder, id) > 0)


def stored_of(folder, id):
    stored = cv2.imread(str(folder / f"masks/{id}.png"), cv2.IMREAD_UNCHANGED)
    return stored[..., ::-1] if stored.ndim == 3 else stored


def packed(stored):
    return stored.astype(np.int64) @ [1, 256, 65536]


TRUTH = {colours: packed, channels: packed}
TRUTH |= dict.fromkeys((soft, blurred), lambda stored: np.where(stored > 127, 1, 0))


@pytest.mark.parametrize(
    ("kind", "names", "answer"),
    [
        (two, ("background", "cell"), ("background", "cell")),
        (two, ("background", "cell", "wall"), "3 classes are named"),
        (ones, ("background", "cell", "wall"), ("background", "cell", "wall")),  # the sample lacks one
        (class_numbers, ("ground", "sky", "road", "car"), ("ground", "sky", "road", "car")),
        (class_numbers, ("ground", "sky", "road", "car", "bus"), ("ground", "sky", "road", "car", "bus")),
        (class_numbers, ("ground", "sky"), "2 classes are named"),
        (greys, ("ground", "sky", "road", "car", "bus"), "5 classes are named"),
        (numbered, ("background", "cell"), ("background", "cell")),
        (by_class, ("background", "kidney", "l", "s"), ("kidney", "l", "s")),
        (by_class, ("a", "b"), "2 classes are named"),
        (by_object, ("background", "cell", "wall"), "3 classes are named"),
    ],
)
def test_names_of_classes_are_obeyed_or_refused(drawn, kind, names, answer):
    wishes = Wishes(classes=names, device="cpu", groups="none")
    if isinstance(answer, str):
        with pytest.raises(ValueError, match=answer):
            choose(drawn(kind), wishes)
    else:
        assert read_data(choose(drawn(kind), wishes), drawn(kind)).classes == answer
