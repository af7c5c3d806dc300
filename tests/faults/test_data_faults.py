"""Faults 13 to 15, 18 to 20, 33, 36, 40, 44 to 47, 51, 56 to 58 and 61, in samples, losses, files and stores."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from tiny import TinyDataset
from torch import nn
from torch.utils.data import DataLoader

import kit
from kit.data.augment import Augment, photo_augment
from kit.data.cache import ImageCache, SizedReader
from kit.data.check import check_dataset
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches, SegmentationDataset
from kit.folds.kfold import check_leaks
from kit.losses import bce, bce_dice, cross_entropy, soft_dice
from kit.models.pretrained import PadToStride, unet
from kit.prediction import TTA, VIEWS, Tiled, probabilities
from kit.prediction.store import Store
from kit.system.files import run_lock, write_atomic

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


class Mislabelled(TinyDataset):
    """car1_02's mask has labels that are no class, car2_01's another size than its picture."""

    def read_mask(self, id):
        mask = super().read_mask(id).copy()
        if id == "car1_02":
            mask[:2] = [[7], [255]]
        return mask.T if id == "car2_01" else mask


def test_fault_13_a_label_that_is_no_class_never_reaches_training():
    with pytest.raises(ValueError, match=r"car1_02: mask labels \[7\], expected 0 to 1 or 255"):
        SizedReader(Mislabelled(), Resizing((32, 40)))("car1_02")


def test_fault_14_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"car2_01: the mask is \(61, 45\), its image \(45, 61\)"):
        SizedReader(Mislabelled(), Resizing((32, 40)))("car2_01")


def test_fault_13_and_14_are_listed_together_before_training_starts(tmp_path):
    with pytest.raises(ValueError, match="2 samples cannot be read") as refusal:
        ImageCache.open(Mislabelled(), Resizing((32, 40)), tmp_path)
    assert "car1_02" in str(refusal.value)
    assert "car2_01" in str(refusal.value)


def test_fault_15_augmentation_invents_no_label():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 7, 255], np.uint8)
    mask = cv2.resize(rng.choice(labels, (6, 8)), (96, 72), interpolation=cv2.INTER_NEAREST)
    image = np.repeat(mask[..., None], 3, axis=2)
    filled = Augment([A.Affine(rotate=(-45, 45), fill_mask=255, p=1), A.RandomScale(0.5, p=1), A.ElasticTransform(p=1)])
    for augment in (photo_augment(), photo_augment(crop=(50, 120)), filled):
        for index in range(60):
            assert set(np.unique(augment(image, mask, 0, index)[1])) <= set(labels.tolist())


@pytest.mark.parametrize("loss", [bce, soft_dice, bce_dice, cross_entropy])
def test_fault_19_every_pixel_ignored(loss):
    logits = torch.randn(2, 3 if loss is cross_entropy else 1, 9, 9, requires_grad=True)
    value = loss(logits, torch.full((2, 9, 9), 255))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [bce, soft_dice, bce_dice, cross_entropy])
def test_fault_19_one_picture_of_a_batch_ignored(loss):
    logits = torch.randn(2, 3 if loss is cross_entropy else 1, 9, 9, requires_grad=True)
    masks = torch.ones(2, 9, 9, dtype=torch.long)
    masks[0] = 255
    value = loss(logits, masks)
    value.backward()
    assert value.isfinite()
    assert (logits.grad[0] == 0).all()
    assert (logits.grad[1] != 0).all()


class Strided(nn.Module):
    """Refuses, as encoders do, sides that are no multiple of 16; its logits are the picture's first channel."""

    def forward(self, images):
        assert images.shape[2] % 16 == images.shape[3] % 16 == 0
        return nn.functional.interpolate(images[:, :1, ::16, ::16], scale_factor=16) * 0 + images[:, :1]


@pytest.mark.parametrize("size", [(1, 1), (15, 17), (97, 131), (64, 48)])
def test_fault_20_sizes_that_no_stride_divides(size):
    picture = torch.randn(2, 3, *size)
    net = PadToStride(Strided(), 16)
    assert torch.equal(net(picture), picture[:, :1])
    assert torch.equal(net.to(memory_format=torch.channels_last)(picture), picture[:, :1])
    tta = TTA(VIEWS["d4"])
    torch.testing.assert_close(probabilities(net, picture, tta), picture[:, :1].sigmoid())
    torch.testing.assert_close(Tiled(net, (30, 33))(picture), picture[:, :1])


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from kit.system.files import write_atomic
from kit.prediction.store import Store
from kit.scoring.counts import Scores
import pandas as pd

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 256, (1, 300, 400), dtype=np.uint8)
scores = Scores(pd.DataFrame({"id": ["a" * 99] * 1000}), noise.astype(np.int64), None)
writes = [
    lambda: write_atomic(folder / "file", b"x" * 100_000),
    lambda: write_atomic(folder / "file", lambda file: [file.write(b"x" * 99) for _ in range(1000)]),
    lambda: Store(folder).write("picture", noise),
    lambda: scores.write(folder),
]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # a file ends here, as it does where a disk is full
for write in writes:
    try:
        write()
        print("written")
    except OSError as error:
        print(error)
"""


@pytest.mark.slow  # a new interpreter
@posix
def test_fault_33_a_full_disk_leaves_what_was_there(tmp_path):
    old = {"file": "old", "picture.png": "old", "scores.npz": "old", "oof.csv": "old"}
    for name, content in old.items():
        (tmp_path / name).write_text(content)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    for line, name in zip(done.stdout.splitlines(), ["file", "file", "picture.png", "scores.npz"], strict=True):
        assert f"could not write {tmp_path / name} (the old file, if any, is intact)" in line
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_fault_33_a_disk_that_fills_up_inside_a_writer(tmp_path):
    write_atomic(tmp_path / "file", "old")

    def fill(file):
        file.write(b"half")
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(OSError, match=r"could not write .*No space left"):
        write_atomic(tmp_path / "file", fill)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


class Bomb:
    """Unpickled, it makes a folder of the name that it was given."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb, 2))])
def test_fault_36_encoder_weights_that_would_run_code(tmp_path, save):
    save({"features.0.0.weight": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb\.pth is a file of torch that holds Python objects"):
        unet("mobilenet_v2", str(tmp_path / "bomb.pth"), num_classes=1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [60_000.0, 8.0, -60_000.0])
def test_fault_40_half_precision_at_1024(dtype, value):
    """A sum over a picture overflows float16 at 65,504; the losses must not."""
    masks = torch.ones(1, 1024, 1024, dtype=torch.uint8)
    masks[:, :512] = 0
    logits = torch.full((1, 1, 1024, 1024), value, dtype=dtype, requires_grad=True)
    found = bce_dice(logits, masks)
    (gradient,) = torch.autograd.grad(found, logits)
    assert found.isfinite()
    assert gradient.isfinite().all()
    assert soft_dice(logits, masks).item() == pytest.approx(1 / 3 if value > 0 else 1, abs=1e-3)


IMPORT = "import numpy, kit.submission.rle as rle; print(rle.encode(numpy.eye(2, dtype='uint8')), rle.__file__)"


@pytest.mark.slow  # a new interpreter
@posix
def test_fault_44_neither_the_package_nor_the_home_can_be_written(tmp_path):
    powers = os.geteuid() == 0  # root may write anywhere, until it gives that up
    if powers and shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give up its powers with")
    package = shutil.copytree(Path(kit.__file__).parent, tmp_path / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir(mode=0o555)
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    env = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*(["setpriv", "--bounding-set=-dac_override"] if powers else []), sys.executable, "-c", IMPORT]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # so that pytest can clear up
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "4", "1", str(package / "submission/rle.py")]
    assert not list(package.rglob("*.nbi"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # said where there is one core
def test_fault_45_augmentations_differ_between_epochs_and_workers(workers):
    competition = TinyDataset()
    samples = SegmentationDataset(
        SizedReader(competition, Resizing((48, 64))), competition.ids[:1] * 12, photo_augment()
    )
    keys = [[(epoch, index)] for epoch in (0, 1) for index in range(12)]
    loader = DataLoader(samples, batch_sampler=keys, num_workers=workers)
    seen = {batch.image.numpy().tobytes() for batch in loader}
    assert len(seen) >= 22  # of one and the same picture; one in 25 is left as it was, or only mirrored


def test_fault_46_every_group_in_two_folds_is_named():
    check_leaks(["a", "a", "b"], [0, 0, 1])
    groups = ["car1", "car2", "car1", "car3", "car2", "car2", "car4"]
    with pytest.raises(ValueError, match=r"2 groups in more than one fold.*car1: folds 0, 1; car2: folds 0, 1, 2"):
        check_leaks(groups, [0, 0, 1, 1, 1, 2, 2])
    with pytest.raises(ValueError, match=r"30 groups in more.*; and 10 more$"):
        check_leaks([f"car{i}" for i in range(30)] * 2, [0] * 30 + [1] * 30)


HOLD = """
import sys, time
from pathlib import Path
from kit.system.files import run_lock
from torch.utils.data import DataLoader

with run_lock(Path(sys.argv[1])):
    for _ in DataLoader(range(10**6), num_workers=1, multiprocessing_context="fork"):
        print("held", flush=True)
        time.sleep(60)
"""


@posix
def test_fault_47_a_second_run_is_refused_and_a_dead_ones_lock_taken_over(tmp_path):
    """Also while data workers of the dead run live on for some seconds: they must not have inherited the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BlockingIOError, match=rf"another run is at work in {tmp_path}\. .* or end it"),
            run_lock(tmp_path),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("id", ["../x", "../../etc/x", "/tmp/x", "a//b", "a/", "a/../b", "a\\b", "..", "", "a\0b"])
def test_fault_51_an_id_that_is_a_path_reaches_no_file(tmp_path, id):
    store, outside = Store(tmp_path / "runs" / "oof"), tmp_path / "x.png"
    outside.write_bytes(b"mine")
    for use in (
        lambda: store.write(id, np.zeros((1, 2, 2), np.uint8)),
        lambda: store.read(id),
        lambda: store.forget([id]),
        lambda: id in store,
    ):
        with pytest.raises(ValueError, match="is no file name"):
            use()
    assert [path.name for path in tmp_path.rglob("*")] == ["x.png"]
    assert outside.read_bytes() == b"mine"


class Sliced(TinyDataset):
    """Ids with folders, as UW-Madison has them."""

    def __init__(self):
        super().__init__()
        self.ids = [id.replace("_", "/day0/slice_") for id in self.ids]


def test_fault_58_ids_with_folders_are_cached_and_kept_apart(tmp_path):
    dataset = Sliced()
    check_dataset(dataset)
    read = ImageCache.open(dataset, Resizing((32, 40)), tmp_path)
    store = Store(tmp_path / "oof")
    for number, id in enumerate([*dataset.ids, "car0%2Fday0%2Fslice_01", "car0_day0_slice_01"]):
        store.write(id, np.full((1, 3, 4), number, np.uint8))
    assert [int(store.read(id)[0, 0, 0]) for id in dataset.ids] == list(range(12))
    assert len(list((tmp_path / "oof").iterdir())) == 14
    assert read(dataset.ids[3])[0].shape == (32, 40, 3)


class Flat(TinyDataset):
    """Images of one channel without its axis: a compiled kernel once read them out of bounds."""

    def read_image(self, id):
        return super().read_image(id)[..., 0]


def test_fault_56_an_image_without_channels_reaches_no_kernel(tmp_path):
    for read in (
        lambda: SizedReader(Flat(), Resizing((32, 40)))("car1_02"),
        lambda: ImageCache.open(Flat(), Resizing((32, 40)), tmp_path),
        lambda: check_dataset(Flat()),
    ):
        with pytest.raises(ValueError, match=r"car1_02: the image is \(45, 61\), expected \(height, width, 3\)"):
            read()
    [first, *_] = ImageBatches(Flat(), ["test_00", "test_01"], Resizing((32, 40)), 2)
    assert first.ids == []
    assert "test_00: the image is (45, 61)" in first.problems["test_00"]


class Unlucky(TinyDataset):
    """One test image makes the reader's own code fail."""

    def read_image(self, id):
        return {}[id] if id == "test_01" else super().read_image(id)


def test_fault_61_an_error_of_the_readers_own_code_costs_one_image():
    [batch] = ImageBatches(Unlucky(), ["test_00", "test_01", "test_02"], Resizing((32, 40)), 3)
    assert batch.ids == ["test_00", "test_02"]
    assert batch.problems == {"test_01": "test_01: KeyError: 'test_01'"}
    assert len(batch.images) == 3


def test_fault_57_a_mask_of_0_and_255_is_refused_before_training():
    class Raw(TinyDataset):
        def read_mask(self, id):
            return np.uint8(255) * super().read_mask(id)

    with pytest.raises(ValueError, match=r"the masks hold only 0 and 255.*binary_mask"):
        check_dataset(Raw())


def test_fault_58_an_id_twice_is_refused_before_training():
    class Twice(TinyDataset):
        def __init__(self):
            super().__init__()
            self.ids += self.ids[:2]
            self.groups += self.groups[:2]

    with pytest.raises(ValueError, match=r"(?s)'car0_01' is there 2 times.*'car0_02' is there 2 times"):
        check_dataset(Twice())
