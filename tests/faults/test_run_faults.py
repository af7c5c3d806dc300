"""Faults 53, 60, 62 and 65 to 69, in whole runs, in submissions and in files of weights."""

import csv
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from any_data import SIZE, Kept, Shapes, Watched, nearest_colour, run_recipe, times_seen
from python_path import python_path
from torch import nn

import kit
from kit.cli import Lint
from kit.data import Resizing
from kit.losses import cross_entropy
from kit.models.pretrained import fpn, statistics, unet
from kit.prediction import Frame, Predictor
from kit.runs import Submission, load
from kit.submission import Competition, Dialect, errors_of, lint
from kit.submission.rle import decode

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ORGANS = Dialect(("id", "kind", "runs"), "class", class_column="kind", labels=("square", "disc"))


def normalised(dataset, mean, std):
    return {id: ((dataset.read_image(id) / 255 - mean) / std).transpose(2, 0, 1) for id in dataset.ids}


# --- 53: what was kept of other data


@pytest.mark.slow
def test_fault_53_dropped_and_added_ids_get_their_own_images_in_training(tmp_path):
    whole = Shapes(count=16)
    for number, keep in enumerate((slice(None), slice(1, None, 2), slice(0, 8), slice(None, None, -1))):
        dataset = Shapes(count=16)
        dataset.ids = dataset.ids[keep]
        kept = Kept()
        run_recipe(dataset, tmp_path / str(number), lambda kept=kept: Watched(3, 3, kept), cross_entropy)
        seen = times_seen(kept.training, normalised(whole, *IMAGENET), 1e-4)
        assert seen == {id: 2 * (id in dataset.ids) for id in whole.ids}


@pytest.mark.slow
def test_fault_53_a_mended_mask_reaches_training_and_no_older_run_is_continued(tmp_path):
    def masks_trained_on(dataset, folder):
        seen = set()

        def loss(logits, masks):
            seen.update(mask.numpy().astype(np.uint8).tobytes() for mask in masks)
            return cross_entropy(logits, masks)

        run_recipe(dataset, folder, lambda: Watched(3, 3), loss)
        return seen

    class Slip(Shapes):
        def read_mask(self, id):
            return np.roll(super().read_mask(id), 3, axis=1)  # the slip: a shift

    slip = masks_trained_on(Slip(), tmp_path / "slip")

    class Slip(Shapes):
        """Another docstring."""

    mended = Slip()
    assert masks_trained_on(mended, tmp_path / "mended") == {mended.read_mask(id).tobytes() for id in mended.ids}
    assert slip != {mended.read_mask(id).tobytes() for id in mended.ids}
    with pytest.raises(ValueError, match=r"(?s)config\.json.*data.*--run-dir"):
        masks_trained_on(mended, tmp_path / "slip")


def test_fault_53_rows_in_progress_of_another_rule_or_dialect_are_not_used(tmp_path):
    dataset = Shapes()
    run = run_recipe(dataset, tmp_path, nearest_colour, cross_entropy, lr=1e-5)
    found = []
    for order in ("C", "F"):
        competition = Competition(dataset, Dialect(("key", "runs"), "class", order, key="{id}-{class}"), ["test_00"])
        submission = Submission(competition, folder=tmp_path / order)
        path = kit.runs.submit(run, submission, nearest_colour)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        found.append([decode(row["runs"], SIZE, order) for row in rows])
    np.testing.assert_array_equal(found[0], found[1])


# --- 60 and 65: CSVs as people have them

SAMPLE = "ImageId,EncodedPixels\nscan 7,-1\nscan 8,-1\nÆscan 9,-1\n"
RIGHT = SAMPLE.replace("scan 7,-1", "scan 7,12 5 40 5")


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        (lambda text: text.encode("utf-8-sig"), 0, "begins with a byte-order mark"),
        (lambda text: text.replace("\n", "\n\n").encode(), 0, "a blank line"),
        (lambda text: text.replace("7,12", "7 ,12").encode(), 1, "blanks around ImageId, 'scan 7 ': write 'scan 7'"),
        (lambda text: text.encode("latin-1"), 1, "Latin-1"),
        (lambda text: text.encode("utf-16"), 1, "UTF-16"),
        (lambda text: text.replace("ImageId,EncodedPixels", "id,rle").encode(), 1, "--columns id rle"),
        (
            lambda text: "\n".join(sorted(text.splitlines(), reverse=True)[-1:] + text.splitlines()[:0:-1]).encode(),
            0,
            "order",
        ),
        (lambda text: text.replace(",-1", ",").encode(), 1, "an empty mask is written '-1'"),
        (lambda text: text.replace(",-1", ",-").encode(), 1, "an empty mask is written '-1'"),
        (lambda text: unicodedata.normalize("NFD", text.replace("Æ", "Å")).encode(), 1, "unknown"),
    ],
)
def test_fault_60_a_csv_of_another_kind_is_read_or_named(tmp_path, capsys, change, status, told):
    (tmp_path / "sample.csv").write_text(SAMPLE)
    (tmp_path / "s.csv").write_bytes(change(RIGHT))
    assert Lint(tmp_path / "s.csv", sample=tmp_path / "sample.csv", shape=(9, 14)).run() == status
    shown = capsys.readouterr().out
    assert "an empty mask is '-1'" in shown
    assert told in shown


def test_fault_65_an_empty_csv_and_another_order_of_rows_are_warnings(tmp_path, capsys):
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            nn.init.zeros_(self.conv.weight)
            nn.init.constant_(self.conv.bias, 0)
            self.conv.bias.data[0] = 50

        def forward(self, images):
            return self.conv(images)

    dataset = Shapes()
    competition = Competition(dataset, ORGANS, dataset.test_ids)
    run_recipe(dataset, tmp_path, Blind, cross_entropy, submission=Submission(competition, folder=tmp_path))
    assert "warning: all 8 masks are empty" in capsys.readouterr().out
    [path] = tmp_path.glob("*.csv")
    lines = path.read_text().splitlines()
    (tmp_path / "sample.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert Lint(path, sample=tmp_path / "sample.csv", shape=SIZE).run() == 0
    assert "order" in capsys.readouterr().out


# --- 62 and 69: other people's weights

SMALL = {"num_classes": 1, "decoder_channels": (8, 8, 8, 8, 8)}


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.slow
def test_fault_62_checkpoints_of_timm_torchvision_smp_and_frameworks_load(tmp_path, capsys):
    torch.manual_seed(5)
    theirs = torchvision.models.resnet18().state_dict()
    whole = smp.Unet("resnet18", encoder_weights=None, decoder_channels=(8, 8, 8, 8, 8)).state_dict()
    first = "conv1.weight"
    files = {
        "torchvision": (theirs, theirs[first]),
        "timm": (timm.create_model("resnet18").state_dict(), None),
        "smp": (whole, whole["encoder.conv1.weight"]),
        "DataParallel": (prefixed("module.", theirs), theirs[first]),
        "Lightning": (
            {"pytorch-lightning_version": "2.5", "state_dict": prefixed("net.", whole), "epoch": 3},
            whole["encoder.conv1.weight"],
        ),
        "mmseg": ({"meta": {"epoch": 7}, "state_dict": prefixed("backbone.", theirs)}, theirs[first]),
    }
    for name, (content, expected) in files.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        found = unet("resnet18", str(path), **SMALL).net.encoder.state_dict()[first]
        assert torch.equal(found, content[first] if expected is None else expected), name
        assert f"{name}.pth, a" in capsys.readouterr().out


def test_fault_62_a_file_that_does_not_fit_is_named_for_what_it_is(tmp_path):
    torch.save({"state_dict": timm.create_model("test_vit").state_dict(), "arch": "test_vit"}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"^\S+other\.pth is a checkpoint of the architecture 'test_vit'"):
        fpn("resnet18", str(tmp_path / "other.pth"), num_classes=1)
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth is a file of torch with a list in it and holds no named tensors"):
        fpn("resnet18", str(tmp_path / "list.pth"), num_classes=1)


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnet_lite0", "tu-mixer_b16_224"])
def test_fault_69_an_encoder_gets_images_normalised_as_its_weights_expect(encoder, tmp_path):
    cfg = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    assert not np.allclose(cfg.mean, IMAGENET[0])
    dataset, kept = Shapes(tests=0), Kept()
    frame = Frame(Resizing(SIZE), statistics(encoder, "imagenet"))
    run_recipe(dataset, tmp_path, lambda: Watched(3, 3, kept), cross_entropy, frame=frame)
    for inputs in (kept.training, [image for image in kept.prediction if image.any()]):
        assert min(times_seen(inputs, normalised(dataset, np.array(cfg.mean), np.array(cfg.std)), 1e-4).values()) > 0


# --- 66 to 68: what a run folder and a submission must bear

PREDICT = """
import sys
from pathlib import Path
import numpy as np
from any_data import Config, Shapes, nearest_colour, opened
from kit.prediction import Predictor
from kit.runs import load
run = opened(Config(Path(sys.argv[1]) / "any_data"), Shapes())
predictor = Predictor([load(run, fold, nearest_colour()) for fold in (0, 1)], run.frame, run.tta)
print(*(predictor.predict(run.dataset.read_image(id)).tobytes().hex() for id in run.dataset.test_ids))
"""


@pytest.mark.slow  # a new interpreter without root's powers
@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_fault_66_a_read_only_run_folder_predicts(tmp_path):
    """From Python. A bundle and its command line come with issues of their own; resuming has to write."""
    powers = os.geteuid() == 0  # root may write anywhere, until it gives that up
    if powers and shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give up its powers with")
    dataset = Shapes()
    run = run_recipe(dataset, tmp_path / "disk", nearest_colour, cross_entropy, lr=1e-5)
    predictor = Predictor([load(run, fold, nearest_colour()) for fold in (0, 1)], run.frame, run.tta)
    expected = [predictor.predict(dataset.read_image(id)).tobytes().hex() for id in dataset.test_ids]
    folders = [tmp_path / "disk", *(path for path in tmp_path.glob("disk/**/*") if path.is_dir())]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("disk/**/*")}
    for folder in folders:
        folder.chmod(0o555)
    root = Path(kit.__file__).parents[1]
    env = os.environ | {"PYTHONPATH": python_path(root, root / "tests"), "KIT_CACHE": str(tmp_path / "disk/cache")}
    command = [*(["setpriv", "--bounding-set=-dac_override"] if powers else []), sys.executable, "-c", PREDICT]
    done = subprocess.run([*command, str(tmp_path / "disk")], env=env, capture_output=True, text=True)
    for folder in folders:
        folder.chmod(0o755)  # so that pytest can clear up
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-len(expected) :] == expected
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("disk/**/*")} == before


def test_fault_67_more_larger_and_corrupt_test_images_still_make_a_valid_csv(tmp_path, capsys):
    """Without the clock: a valid CSV before the last image is predicted comes with an issue of its own."""

    class Hidden(Shapes):
        """Trained on small images; the hidden ones are more, larger and of other ratios, and two are no images."""

        def __init__(self):
            super().__init__(tests=11)
            self.sizes = (SIZE,)

        def shape(self, id):
            return (90 + int(id[-2:]), 61) if id.startswith("test") else SIZE

        def read_image(self, id):
            if id == "test_03":
                raise OSError(f"{id}.png: cut short")
            image = super().read_image(id)
            return image[..., 0] if id == "test_08" else image

    dataset = Hidden()
    competition = Competition(dataset, ORGANS, dataset.test_ids)
    submission = Submission(competition, folder=tmp_path, on_bad_image="empty")
    run = run_recipe(dataset, tmp_path, nearest_colour, cross_entropy, submission=submission, lr=1e-5)
    [path] = tmp_path.glob("*.csv")
    assert errors_of(lint(path, competition)) == []
    shown = capsys.readouterr().out
    assert "2 of 11 test images cannot be read: their masks are empty" in shown
    assert "test_08: the image is (98, 61), expected (height, width, 3)" in shown
    predictor = Predictor([load(run, fold, nearest_colour()) for fold in (0, 1)], run.frame)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["kind"]) for row in rows] == [
        (id, kind) for id in dataset.test_ids for kind in ("square", "disc")
    ]
    for row in rows:
        found = decode(row["runs"], dataset.shape(row["id"]))
        if row["id"] in {"test_03", "test_08"}:
            assert not found.any()
        else:
            predicted = predictor.predict(dataset.read_image(row["id"]))
            wrong = found != (predicted == {"square": 1, "disc": 2}[row["kind"]])
            assert wrong.sum() <= 2  # alone in its batch, a level may be rounded the other way


def test_fault_68_overlapping_split_and_missing_objects_are_found_by_line(tmp_path):
    """In a CSV that exists. kit writes no rows of objects yet, see Submission; with them come masks with holes."""
    (tmp_path / "sample.csv").write_text("cell_id,pixels\n" + "".join(f"c{number},\n" for number in range(4)))
    rows = ["c0,5 4", "c1,30 6", "c0,8 2", "c2,", "c2,61 1"]  # c0 overlaps and is apart, c2 is empty too, c3 is missing
    (tmp_path / "s.csv").write_text("cell_id,pixels\n" + "\n".join(rows) + "\n")
    problems = lint(tmp_path / "s.csv", Dialect(("cell_id", "pixels"), "instance"), tmp_path / "sample.csv", (8, 16))
    told = "\n".join(map(str, problems))
    assert "line 4 ('c0'): overlaps line 2: both hold pixel 8" in told
    assert "lie apart, the last was line 2" in told
    assert "line 5 ('c2'): an empty row beside other rows of its image" in told
    assert "'c3' of the sample file has no row" in told
