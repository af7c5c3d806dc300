"""`kit new` on masks whose background is not 0, and on land cover that has none."""

import cv2
import numpy as np
import pytest

from kit.new import Wishes, choose, recipe_text

SIZE = (48, 64)


def write(folder, draw, labels=(), count=10):
    """Images with masks; a sample submission with a row for each label of each test image."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks", "test"):
        (folder / part).mkdir(exist_ok=True)
    for number in range(count):
        image = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), np.uint8), (5, 5), 2)
        for name in (f"images/a{number}.png", f"test/t{number}.png"):
            cv2.imwrite(str(folder / name), image)
        mask = draw(rng)
        cv2.imwrite(str(folder / f"masks/a{number}.png"), mask[..., ::-1] if mask.ndim == 3 else mask)
    if labels:
        rows = [f"t{number},{label}," for number in range(count) for label in labels]
        (folder / "sample_submission.csv").write_text("\n".join(["id,class,rle", *rows]) + "\n")
    return folder


def disc(background, value):
    def draw(rng):
        mask = np.full(SIZE, background, np.uint8)
        return cv2.circle(mask, rng.integers(16, 32, 2).tolist(), 10, value, -1)

    return draw


def cover(values, size=16):
    """A patchwork of these values."""

    def draw(rng):
        return np.kron(rng.choice(values, (SIZE[0] // size, SIZE[1] // size)), np.ones((size, size))).astype(np.uint8)

    return draw


def read_data(choices, folder):
    names = {"__name__": "recipe"}
    text = recipe_text(choices, folder, folder / "mine.py")
    exec(compile(text, "mine.py", "exec"), names)
    return names["read_data"](folder), text


def chosen(folder, **wishes):
    order = "F" if (folder / "sample_submission.csv").exists() else None
    return choose(folder, Wishes(device="cpu", groups="none", order=order, **wishes))


@pytest.mark.parametrize("top", [1, 255])
def test_an_inverted_mask_is_doubted_and_its_values_are_in_the_recipe(tmp_path, top):
    folder = write(tmp_path, disc(top, 0))
    choices = chosen(folder)
    assert any(f"where {top} is the background, exchange them" in doubt for doubt in choices.doubts)
    data, text = read_data(choices, folder)
    assert f"values={{0: 0, {top}: 1}}" in text
    data.read_mask(data.ids[0])


def test_a_mask_that_is_not_inverted_is_not_doubted(tmp_path):
    choices = chosen(write(tmp_path, disc(0, 255)))
    assert choices.doubts == []
    assert choices.meaning.values is None


def test_an_inverted_mask_with_soft_edges_is_doubted(tmp_path):
    folder = write(tmp_path, lambda rng: cv2.GaussianBlur(disc(255, 0)(rng), (0, 0), 1))
    assert any("save the masks inverted" in doubt for doubt in chosen(folder).doubts)


def test_void_that_fills_the_images_is_doubted(tmp_path):
    def draw(rng):
        mask = np.full(SIZE, 255, np.uint8)
        mask[10:20, 10:30], mask[20:30, 10:30], mask[30:36, 10:30] = 0, 1, 2
        return mask

    choices = chosen(write(tmp_path, draw))
    assert any("255 has" in doubt and "is ignored" in doubt for doubt in choices.doubts)


def test_land_cover_without_a_background_keeps_its_numbers(tmp_path):
    folder = write(tmp_path, cover([1, 2, 3, 4]))
    choices = chosen(folder)
    assert choices.meaning.values == {1: 0, 2: 1, 3: 2, 4: 3}
    assert choices.meaning.classes == ("class 1", "class 2", "class 3", "class 4")
    assert any("without a background" in doubt for doubt in choices.doubts)
    data, text = read_data(choices, folder)
    assert "values={1: 0, 2: 1, 3: 2, 4: 3}" in text
    stored = cv2.imread(str(folder / "masks/a3.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(data.read_mask("a3"), stored - 1)


def test_land_cover_whose_0_is_rare_is_doubted(tmp_path):
    def draw(rng):
        mask = cover([1, 2, 3])(rng)
        mask[:2, :20] = 0
        return mask

    choices = chosen(write(tmp_path, draw))
    assert any('"no data"' in doubt and "ignore=0" in doubt for doubt in choices.doubts)
    assert choices.meaning.values == {0: 0, 1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("values", [(1, 2, 3, 4), (1, 2), (10, 20, 30)])
def test_a_sample_with_a_row_for_every_value_proves_that_none_is_a_background(tmp_path, values):
    folder = write(tmp_path, cover(values), labels=values)
    choices = chosen(folder)
    assert choices.doubts == []
    data, _ = read_data(choices, folder)
    assert data.absent == ("background",)
    stored = cv2.imread(str(folder / "masks/a3.png"), cv2.IMREAD_UNCHANGED)
    order = {value: at for at, value in enumerate(values, start=1)}
    np.testing.assert_array_equal(data.read_mask("a3"), np.vectorize(order.get)(stored))
    assert choices.goal.dialect.labels == tuple(map(str, values))


def test_colours_that_the_sample_names_all_are_all_classes(tmp_path):
    table = {"water": (0, 0, 255), "forest": (0, 200, 0), "field": (220, 220, 0)}
    colours = np.array(list(table.values()), np.uint8)
    folder = write(tmp_path, lambda rng: colours[cover([0, 1, 2])(rng)], labels=("forest", "water", "field"))
    (folder / "legend.csv").write_text(
        "\n".join(["name,r,g,b", *(f"{n},{r},{g},{b}" for n, (r, g, b) in table.items())])
    )
    choices = chosen(folder)
    assert set(choices.meaning.classes[1:]) == set(table)
    assert choices.goal.dialect.labels == choices.meaning.classes[1:]
    data, _ = read_data(choices, folder)
    assert (data.read_mask("a1") > 0).all()


def test_a_sample_that_lacks_a_value_proves_nothing(tmp_path):
    def draw(rng):
        mask = np.full(SIZE, 2, np.uint8)
        mask[10:20, 10:20], mask[24:30, 20:40] = 1, 3
        return mask

    choices = chosen(write(tmp_path, draw))
    assert choices.meaning.values == {2: 0, 1: 1, 3: 2}
    assert choices.meaning.classes == ("background", "class 1", "class 3")
    assert any("taken for the background" in doubt for doubt in choices.doubts)
