"""scan: what `python -m kit lint FOLDER` finds, in known layouts and in any other."""

import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from encoded import save
from miniatures import draw_blood_cells, draw_camvid, draw_pets, draw_voc

from kit.datasets.scan import scan
from kit.datasets.studio import draw_studio

GREY = save(np.zeros((12, 15), np.uint8), "PNG")
OTHER = save(np.zeros((12, 16), np.uint8), "PNG")

KNOWN = {
    "Carvana's": lambda folder: draw_studio(folder, cars=1, test_cars=1, size=(48, 72)),
    "CamVid's": draw_camvid,
    "the blood cells'": draw_blood_cells,
    "Oxford-IIIT Pet's": draw_pets,
    "PASCAL VOC's": draw_voc,
}


def put(folder: Path, *names: str, content: bytes = GREY) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(("layout", "draw"), KNOWN.items(), ids=KNOWN)
def test_a_known_layout_is_checked_as_that(tmp_path, layout, draw):
    folder = draw(tmp_path / "data")
    found, problems, _ = scan(folder)
    assert f"has {layout} layout" in found
    assert problems == []
    image = sorted(folder.rglob("*.jpg") if layout != "CamVid's" else folder.rglob("*.png"))[-1]
    image.write_bytes(image.read_bytes()[:-40])
    assert any(image.name in problem and "damaged or cut short" in problem for problem in scan(folder).problems)
    image.unlink()
    found, problems, _ = scan(folder)
    assert "Not checked: whether the images and masks can be read" in found
    assert any(image.stem in problem for problem in problems)


def test_the_year_of_voc_is_that_of_its_folder(tmp_path):
    draw_voc(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012").rename(tmp_path / "VOCdevkit/VOC2011")
    assert scan(tmp_path).problems == scan(tmp_path / "VOCdevkit/VOC2011").problems == []


FOLDERS = [
    ("train/images", "train/masks", "{}.png"),
    ("images/train", "labels/train", "{}.png"),
    ("imagesTr", "labelsTr", "{}.png"),
    ("Images", "Masks", "{}.png"),
    ("image", "label", "{}.png"),
    ("fold1/imgs", "fold1/gt", "{}_gt.png"),
    ("data", "data_mask", "{}_mask.png"),
    ("pictures", "pictures", "{}_mask.png"),
    ("JPEGImages", "SegmentationClass", "{}.png"),
]


@pytest.mark.parametrize(("images", "masks", "name"), FOLDERS)
def test_parallel_folders_are_compared(tmp_path, images, masks, name):
    put(tmp_path, *[f"{images}/{id}.png" for id in ("a", "b", "c")])
    put(tmp_path, *[f"{masks}/{name.format(id)}" for id in ("a", "b", "c")])
    found, problems, _ = scan(tmp_path)
    assert f"{images} and {masks} are compared: 3 pairs." in found
    assert problems == []
    (tmp_path / images / "b.png").unlink()
    (tmp_path / masks / name.format("c")).unlink()
    put(tmp_path, f"{masks}/{name.format('a')}", content=OTHER)
    problems = scan(tmp_path).problems
    assert f"{images}/c.png has no mask in {masks}" in problems
    assert f"{masks}/{name.format('b')} has no image in {images}" in problems
    told = f"{masks}/{name.format('a')}: (12, 16) pixels (height, width), expected (12, 15) like {images}/a.png"
    assert told in problems
    assert len(problems) == 3


def test_advice_never_asks_to_remove_what_may_be_the_data(tmp_path):
    """Folders where files were expected; Carvana's layout with folders inside."""
    put(tmp_path, "train/day/a_01.jpg", "train_masks/a_01_mask.gif")
    problems = "\n".join(scan(tmp_path).problems)
    assert "day (a folder)" in problems
    assert "Move them elsewhere" in problems
    assert "kit.datasets.Folder" in problems
    assert "remove" not in problems


def test_damage_is_found_anywhere_and_other_files_are_counted(tmp_path):
    put(tmp_path, "a/b/c/good.png", "x.PNG")
    put(tmp_path, "a/b/bad.jpg", content=b"<html>no image</html>")
    put(tmp_path, "a/empty.tif", "notes.txt", "a/table.csv", "scan.dcm", "README", content=b"")
    found, problems, doubts = scan(tmp_path)
    assert [problem.split(":")[0] for problem in problems] == ["a/b/bad.jpg", "a/empty.tif"]
    assert "4 image files decoded: 2 .png" in found
    assert "Not looked at, because they are no image files: 1 " in found
    assert "1 without a suffix" in found
    (doubt,) = doubts
    assert "pairs unknown" in doubt
    assert "Sizes were not compared" in doubt


def test_zips_are_looked_into(tmp_path):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for name in ("images/a.png", "masks/a.png", "images/b.png"):
            archive.writestr(name, GREY)
    found, problems, _ = scan(tmp_path)
    assert "train/images and train/masks are compared: 1 pair." in found
    assert problems == ["train/images/b.png has no mask in train/masks"]


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as on POSIX")
def test_pipes_and_link_loops_are_survived(tmp_path):
    put(tmp_path, "deep/images/a.png")
    os.mkfifo(tmp_path / "deep/images/b.png")
    (tmp_path / "deep/again").symlink_to("..")
    (tmp_path / "deep/self.png").symlink_to("self.png")
    (tmp_path / "shared").symlink_to("deep/images")
    problems = scan(tmp_path).problems
    for told in (
        "deep/images/b.png (a pipe or device)",
        "deep/again (a link to a folder that it lies in)",
        "deep/self.png (a broken link)",
        "shared/b.png (a pipe or device)",
    ):
        assert any(problem.startswith(told) for problem in problems)
    assert len(problems) == 4


def test_both_spellings_of_an_accent_are_one_name(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "größe_é") for form in ("NFC", "NFD"))
    put(tmp_path, f"images/{decomposed}.png", f"masks/{composed}.png")
    found, problems, _ = scan(tmp_path)
    assert "1 pair" in found
    assert problems == []


def test_nothing_and_no_folder(tmp_path):
    assert scan(tmp_path).problems[0].startswith(f"no image file in {tmp_path}; expected one of .bmp")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        scan(tmp_path / "nowhere")
