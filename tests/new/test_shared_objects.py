"""kit new says which objects of the masks share pixels, and who gets them."""

import json

import cv2
import numpy as np
from csv_folders import images, table, text_of

from kit.new import Wishes, choose, new

SIZE = (48, 64)
IDS = [f"well{letter}" for letter in "abcdefgh"]
APART = [(12, 14), (12, 40), (34, 16), (33, 46)]


def disc(middle, radius=7):
    y, x = middle
    return cv2.circle(np.zeros(SIZE, np.uint8), (x, y), radius, 1, -1)


def objects_of(id):
    """Four discs; in wellc a fifth, smaller, over the second."""
    return [disc(middle) for middle in APART] + [disc((12, 48), 4)] * (id == "wellc")


def of_rows(folder, further=()):
    images(folder / "images", IDS, SIZE)
    rows = [f"{id},{text_of(mask)}" for id in IDS for mask in objects_of(id)]
    table(folder / "train.csv", "name,pixels", [*rows, *further])


def test_of_rows_with_the_lines_in_text_and_for_programs(tmp_path, capsys):
    of_rows(tmp_path)
    assert new(tmp_path / "mine.py", tmp_path, Wishes(device="cpu", task="instances", order="F")) == 0
    shared = int((disc(APART[1]) & disc((12, 48), 4)).sum())
    area = int(disc(APART[1]).sum())
    said = capsys.readouterr().out
    assert f"doubt     {shared} pixels of 1 image are in several objects, in 1 pair of objects. The smallest" in said
    assert f"train.csv, wellc: {shared} pixels: {shared} of the {area} of line 11 go to line 14" in said
    recipe = (tmp_path / "mine.py").read_text()
    assert f"- in doubt: {shared} pixels of 1 image" in recipe
    assert "line 14" not in recipe  # the images are in the lines above alone
    new(None, tmp_path, Wishes(device="cpu", task="instances", order="F"), as_json=True)
    assert f"{shared} of the {area} of line 11 go to line 14" in json.loads(capsys.readouterr().out)["doubts"][0]


def test_of_files_of_some_images(tmp_path):
    images(tmp_path / "images", IDS, SIZE)
    for id in IDS:
        (tmp_path / "masks" / id).mkdir(parents=True)
        for number, mask in enumerate(objects_of(id)):
            cv2.imwrite(str(tmp_path / f"masks/{id}/{id}_{number}.png"), 255 * mask)
    doubts = choose(tmp_path, Wishes(device="cpu")).doubts
    assert [doubt for doubt in doubts if "of masks/wellc/wellc_1.png go to masks/wellc/wellc_4.png" in doubt]


def test_an_object_that_is_there_twice_is_a_problem(tmp_path, capsys):
    of_rows(tmp_path, [f"wella,{text_of(disc(APART[0]))}"])
    assert new(None, tmp_path, Wishes(device="cpu", task="instances", order="F")) == 1
    assert "train.csv, wella: nothing is left of line 2" in capsys.readouterr().out
