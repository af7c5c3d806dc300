"""python -m kit lint: its verdicts."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from kit.cli import main
from kit.submission import Dialect, write
from kit.submission.rle import encode


@pytest.fixture
def lint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))
    write([("a.jpg", "1 2"), ("b.jpg", "")], tmp_path / "good.csv", Dialect())

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["kit", "lint", *arguments, "--shape", "3", "4"])
        return main(), capsys.readouterr().out

    return run


def test_valid_and_not(lint, tmp_path):
    assert lint("good.csv", "--sample", "good.csv")[0] == 0
    write([("a.jpg", "11 4")], tmp_path / "bad.csv", Dialect())
    code, told = lint("bad.csv", "--sample", "good.csv")
    assert code == 1
    assert "missing: 'b.jpg'" in told
    assert told.endswith("bad.csv: not valid, see above\n")


@pytest.mark.parametrize("sample", ["sample_submission.csv", "sample_submission.csv.zip"])
def test_a_sample_in_kaggles_zip(lint, tmp_path, sample):
    with zipfile.ZipFile(tmp_path / "sample_submission.csv.zip", "w") as archive:
        archive.write(tmp_path / "good.csv", "sample_submission.csv")
    assert lint("good.csv", "--sample", sample)[0] == 0
    write([("a.jpg", "1 2")], tmp_path / "fewer.csv", Dialect())
    assert "missing: 'b.jpg' of the sample file" in lint("fewer.csv", "--sample", sample)[1]


@pytest.mark.parametrize(("csv", "sample"), [("no.csv", "good.csv"), ("good.csv", "no.csv")])
def test_what_is_not_there_says_nothing_of_the_submission(lint, csv, sample):
    code, told = lint(csv, "--sample", sample)
    assert code == 1
    assert "no.csv: no such file\n" in told
    assert told.endswith(f"{csv}: could not be checked, see above\n")


def csv(path, *rows):
    path.write_text("".join(f"{row}\n" for row in rows))


def disc(shape, centre, radius, order):
    y, x = np.indices(shape)
    return encode(((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.uint8), order)


@pytest.fixture
def bare(tmp_path, monkeypatch, capsys):
    """The command without --shape."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["kit", "lint", *arguments])
        return main(), capsys.readouterr().out

    return run


def test_without_shapes_and_order_the_command_says_what_it_takes_and_cannot_see(bare, tmp_path):
    csv(tmp_path / "s.csv", "id,predicted", "a,1 2", "b,9 9")
    code, told = bare("s.csv")
    assert code == 0
    assert (
        "read as: columns id,predicted; a row for each image; runs along rows (C), assumed; name the other with "
        "--order F" in told
    )
    assert "no --sample: the ids are not checked" in told
    assert "warning: the sizes of the images are unknown" in told
    assert told.endswith("s.csv: valid, but see the warnings\n")


def test_sizes_from_a_folder_of_images(bare, tmp_path):
    sizes = {"scans/a": (60, 90), "scans/b": (50, 120), "c": (70, 40)}
    for name, (height, width) in sizes.items():
        (tmp_path / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height)).save(tmp_path / "test" / f"{name}.png")
    rows = [f"{name},{disc(size, (30, 20), 15, 'F')}" for name, size in sizes.items()]
    csv(tmp_path / "s.csv", "id,rle", *rows)
    assert bare("s.csv", "--images", "test", "--order", "F")[0] == 0
    code, told = bare("s.csv", "--images", "test")
    assert (code, "rows and columns look swapped: 3 of 3" in told) == (1, True)
    csv(tmp_path / "s.csv", "id,rle", "scans/a.png,5400 1", "b,6000 2", "d,1 1")
    code, told = bare("s.csv", "--images", "test")
    assert code == 1
    assert (
        "line 3 ('b'): malformed run-length encoding: token 2 of 2, '2', goes past the end of an image of 6000" in told
    )
    assert "warning: line 4 ('d'): the size of its image is unknown" in told
    assert "no such folder" not in told
    assert "nowhere: no such file" in bare("s.csv", "--images", "nowhere")[1]


def test_the_dialect_is_read_from_the_sample(bare, tmp_path):
    csv(tmp_path / "sample.csv", "id,class,segmentation", *(f"{id},{k},-1" for id in "ab" for k in ("lung", "heart")))
    csv(tmp_path / "s.csv", "id,class,segmentation", "a,lung,1 4", "a,heart,-1", "b,lung,-1", "b,heart,2 2")
    code, told = bare("s.csv", "--sample", "sample.csv", "--shape", "8", "8")
    assert code == 0
    assert "a row for each class of an image, classes lung, heart" in told
    assert "an empty mask is '-1'" in told
    csv(tmp_path / "s.csv", "id,class,segmentation", "a,lung,1 4", "a,liver,", "b,lung,-1", "b,heart,2 2")
    code, told = bare("s.csv", "--sample", "sample.csv", "--shape", "8", "8")
    assert code == 1
    assert "unknown class 'liver', expected lung, heart" in told
    assert "'' is no mask here: an empty mask is written '-1'" in told
    csv(
        tmp_path / "sample.csv",
        "ImageId_ClassId,EncodedPixels",
        *(f"{i}.jpg_{k},1 1" for i in (7, 8, 9) for k in (1, 2)),
    )
    csv(tmp_path / "s.csv", "ImageId_ClassId,EncodedPixels", *(f"{i}.jpg_{k},1 9" for i in (7, 8, 9) for k in (1, 2)))
    code, told = bare("s.csv", "--sample", "sample.csv", "--shape", "8", "8", "--order", "F")
    assert (code, "classes 1, 2" in told) == (0, True)


def test_flags_come_before_what_the_files_show(bare, tmp_path):
    csv(tmp_path / "s.csv", "a,b", "x,0 3", "x,8 1", "y,")
    shape = "--shape", "3", "3"
    code, told = bare("s.csv", *shape)
    assert code == 1  # a start of 0
    code, told = bare("s.csv", *shape, "--base", "0")
    assert code == 0
    assert "warning: an id has several rows, so each row is read as an object" in told
    assert "duplicate, the id came before in line 2" in bare("s.csv", *shape, "--base", "0", "--rows", "image")[1]
    assert bare("s.csv", *shape, "--base", "0", "--empty", "-1")[0] == 1
    csv(tmp_path / "s.csv", "a,b", "x,0 3 5 1", "y,")
    assert bare("s.csv", *shape, "--base", "0", "--relative")[0] == 0
    assert bare("s.csv", *shape, "--columns", "id", "rle", "--base", "0")[0] == 1


@pytest.mark.parametrize("flags", [("--order", "f"), ("--order=f",), ("--rows", "Image"), ("--rows", "INSTANCE")])
def test_choices_are_read_in_small_and_capital_letters(bare, tmp_path, flags):
    csv(tmp_path / "s.csv", "id,rle", "x,3 1", "y,")
    assert bare("s.csv", "--shape", "3", "4", *flags)[0] == 0


def test_a_word_that_is_no_choice_is_told_the_choices(bare, monkeypatch, capsys):
    cases = (["lint", "s.csv", "--order", "rows"], "is none of C, F"), (["download", "Cats"], "camvid")
    for arguments, told in cases:
        monkeypatch.setattr("sys.argv", ["kit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert told in capsys.readouterr().err


def test_warnings_alone_end_with_0(bare, tmp_path):
    csv(tmp_path / "sample.csv", "img,rle_mask", "a,1 1", "b,1 1")
    csv(tmp_path / "s.csv", "img,rle_mask", "b,", "a,")
    code, told = bare("s.csv", "--sample", "sample.csv", "--shape", "5", "9")
    assert code == 0
    assert "reordered" in told
    assert "all 2 masks are empty" in told


def test_scores_against_a_csv_of_true_masks(bare, tmp_path):
    csv(tmp_path / "truth.csv", "img,rle_mask", "a,1 4", "b,3 2")
    csv(tmp_path / "s.csv", "img,rle_mask", "a,1 4", "b,4 2")
    assert "images 2, mean dice 0.75, mean iou 0.666" in bare("s.csv", "--truth", "truth.csv", "--shape", "3", "4")[1]
    code, told = bare("s.csv", "--truth", "truth.csv")
    assert (code, "--truth needs the sizes of the images" in told) == (1, True)


@pytest.mark.slow  # a new interpreter
def test_lint_of_a_csv_waits_for_neither_torch_nor_scikit_learn(tmp_path):
    csv(tmp_path / "s.csv", "img,rle_mask", "a,1 4")
    code = "import sys; sys.argv[1:] = ['lint', 's.csv', '--shape', '3', '4']; from kit.cli import main; main(); "
    code += "sys.exit(not sys.modules.keys().isdisjoint({'torch', 'sklearn'}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.slow  # a new interpreter
def test_a_reader_that_has_seen_enough_ends_lint_quietly(tmp_path):
    """As in `python -m kit lint … | head`: here the pipe is closed before the first line."""
    csv(tmp_path / "s.csv", "img,rle_mask", *(f"a{number}," for number in range(20)))
    end, pipe = os.pipe()
    os.close(end)
    command = [sys.executable, "-m", "kit", "lint", "s.csv", "--shape", "3", "4"]
    found = subprocess.run(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    os.close(pipe)
    assert (found.returncode, found.stderr) == (1, "")


def test_a_folder_in_carvanas_layout_is_held_against_its_csv(bare, tmp_path):
    mask = np.zeros((30, 50), np.uint8)
    mask[10:20, 5:40] = 1
    for folder in ("train", "train_masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    Image.fromarray(mask * 200).convert("RGB").save(tmp_path / "data/train/z_01.jpg")
    Image.fromarray(mask * 255).save(tmp_path / "data/train_masks/z_01_mask.gif")
    csv(tmp_path / "data/train_masks.csv", "img,rle_mask", f"z_01.jpg,{encode(mask)}")
    assert bare("data")[0] == 0
    mask[12, 12] = 0
    csv(tmp_path / "data/train_masks.csv", "img,rle_mask", f"z_01.jpg,{encode(mask)}")
    code, told = bare("data")
    assert code == 1
    assert "train_masks.csv, z_01: differs from the data set's mask in 1 of 1,500 pixels" in told


def test_ctrl_c_while_modules_load_ends_without_a_traceback():
    code = """
import runpy, sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "kit.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
runpy.run_module("kit", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nstopped\n")
