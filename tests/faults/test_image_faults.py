"""Faults 1 to 10 and 51 (as a path): each test provokes the fault of its number."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from encoded import save
from PIL import Image

from kit.data.images import BadImage, decode_image, image_size
from kit.data.masks import decode_mask
from kit.datasets.carvana import Carvana
from kit.datasets.files import DataFolder


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_fault_01_truncated(photo, format):
    data = save(photo, format)
    for keep in (len(data) - 16, len(data) // 2, 30, 12):
        with pytest.raises(BadImage, match=r"^folder/car\.jpg: "):
            decode_image(data[:keep], "folder/car.jpg")


def test_fault_01_jpeg_without_its_last_byte(photo):
    with pytest.raises(BadImage, match=r"^car\.jpg: damaged or cut short"):
        decode_image(save(photo, "JPEG")[:-1], "car.jpg")


def one_bit(data: bytes, position: int, bit: int) -> bytes:
    """`data` of the same length, one bit of it flipped."""
    flipped = bytearray(data)
    flipped[position] ^= 1 << bit
    return bytes(flipped)


def is_refused(data: bytes) -> bool:
    try:
        decode_image(data, "x")
    except BadImage:
        return True
    return False


def pixels_start(data: bytes) -> int:
    """Where the compressed pixels begin in what `save` makes."""
    marks = {b"\xff\xd8": b"\xff\xda", b"\x89P": b"IDAT", b"GI": b"\x2c"}
    return data.index(marks[data[:2]], 13) + 14


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF"])
def test_fault_02_a_flipped_bit_is_found_by_a_scan(carvana, photo, format):
    """By strict decoding alone: nothing is cut, and the damaged file is as long as it was."""
    assert Carvana(carvana).problems() == []
    name, data = ("train_masks/a_02_mask.gif", None) if format == "GIF" else ("train/a_02.jpg", save(photo, format))
    data = data or (carvana / name).read_bytes()
    start = pixels_start(data)
    flips = (one_bit(data, position, 2) for position in range(start, len(data) - 14))
    (carvana / name).write_bytes(next(flip for flip in flips if is_refused(flip)))
    assert (carvana / name).stat().st_size == len(data)
    [problem] = Carvana(carvana).problems()
    assert problem.startswith(f"{name}: damaged or cut short")
    assert len(Carvana(carvana).problems(["a_02"])) == 1
    assert Carvana(carvana).problems(["a_01"]) == []


def test_fault_02_flipped_bytes_are_all_listed(carvana, photo):
    jpeg = bytearray(save(photo, "JPEG"))
    middle = len(jpeg) * 2 // 3
    jpeg[middle : middle + 4] = b"\xff\xd8\xff\x00"
    (carvana / "train/a_01.jpg").write_bytes(jpeg)
    gif = (carvana / "train_masks/a_02_mask.gif").read_bytes()
    (carvana / "train_masks/a_02_mask.gif").write_bytes(gif[:-30])
    (carvana / "test/b_02.jpg").write_bytes(b"")
    assert [problem.split(":")[0] for problem in Carvana(carvana).problems()] == [
        "train/a_01.jpg",
        "test/b_02.jpg",
        "train_masks/a_02_mask.gif",
    ]


@pytest.mark.parametrize(("format", "least"), [("PNG", 100), ("GIF", 30), ("JPEG", 5)])  # a JPEG has no checksum
def test_fault_02_the_share_of_single_flips_that_is_found(photo, mask, format, least):
    data = save(mask if format == "GIF" else photo, format)
    start = 8 if format == "PNG" else pixels_start(data)
    rng = np.random.default_rng(0)
    places = zip(rng.integers(start, len(data) - 12, 100), rng.integers(8, size=100), strict=True)
    assert sum(is_refused(one_bit(data, position, bit)) for position, bit in places) >= least


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "no image that is known"),
        (bytes(5000), "no image that is known"),
    ],
)
def test_fault_03_no_image(data, told):
    for decode in (decode_image, decode_mask, image_size):
        with pytest.raises(BadImage, match=rf"^a_01\.jpg: {told}"):
            decode(data, "a_01.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_fault_04_exif_rotation(photo, format):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(photo, format, exif=exif)
    for decode in (decode_image, decode_mask):
        with pytest.raises(BadImage, match=r"^a\.jpg: EXIF orientation 6.*upright"):
            decode(data, "a.jpg")
    exif[0x0112] = 1
    assert decode_image(save(photo, format, exif=exif), "a.jpg").shape == (90, 120, 3)


def test_fault_04_exif_after_the_pixels_of_a_png(photo):
    exif = Image.Exif()
    exif[0x0112] = 8
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    data = save(photo, "PNG")
    with pytest.raises(BadImage, match="EXIF orientation 8"):
        decode_image(data[:-12] + chunk + data[-12:], "a.png")


def claims(side: int) -> dict[str, bytes]:
    """Small files whose headers claim side x side pixels in colour (a GIF's and a BMP's in 256 colours)."""
    png = b"\x89PNG\r\n\x1a\n"
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    for chunk in (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"):
        png += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    gif += b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x01\x44\x00;"
    bmp = bytearray(save(np.zeros((8, 8), np.uint8), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    jpeg = bytearray(save(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 2), (273, 8), (277, 3), (278, side), (279, 3 * side**2)]
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags))  # width, height, bits, and where the one strip lies
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value % 2**32) for tag, value in tags) + bytes(4)
    return {"a.png": png, "a.gif": gif, "a.bmp": bytes(bmp), "a.tif": tiff, "a.jpg": bytes(jpeg)}


DECODE_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from PIL import Image
from kit.data.images import BadImage, decode_image, image_size
from kit.data.masks import decode_mask

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
try:
    Image.new("L", (50_000, 50_000))
    print("the limit does not hold")
except MemoryError:
    pass
for path in sorted(Path(sys.argv[1]).iterdir()):
    for decode in (decode_image, decode_mask, image_size):
        try:
            print("accepted", decode(path.read_bytes(), path.name))
        except BadImage as refusal:
            print(refusal)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit a process's memory")
def test_fault_05_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path):
    for name, data in claims(50_000).items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", DECODE_IN_LITTLE_MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [name for name in ("a.bmp", "a.gif", "a.jpg", "a.png", "a.tif") for _ in range(3)]
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{name}: its header says 50000×50000 pixels"), line


OPEN_IN_LITTLE_MEMORY = "from kit.data.regions import open_regions" + DECODE_IN_LITTLE_MEMORY
OPEN_IN_LITTLE_MEMORY = OPEN_IN_LITTLE_MEMORY.replace("(decode_image, decode_mask, image_size)", "(open_regions,)")
OPEN_IN_LITTLE_MEMORY = OPEN_IN_LITTLE_MEMORY.replace("decode(path.read_bytes(), path.name)", "decode(path)")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit a process's memory")
def test_fault_05_nor_is_memory_taken_where_files_are_read_by_regions(tmp_path):
    for name, data in claims(50_000).items():
        (tmp_path / name).write_bytes(data)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((64, 64), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+") as file:  # one tile of 50,000², a thousandth of it there
        for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(50_000)
    command = [sys.executable, "-W", "error", "-c", OPEN_IN_LITTLE_MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.rpartition("/")[2].split(": ", 1) for line in done.stdout.splitlines())
    assert lines.keys() == {"a.bmp", "a.gif", "a.jpg", "a.png", "a.tif", "b.tif"}
    for name in ("a.bmp", "a.gif", "a.jpg", "a.png"):
        assert lines[name].startswith("its header says 50000×50000 pixels")
    assert "cut short" in lines["a.tif"]
    assert lines["b.tif"].startswith("strips or tiles of 2,500 MB, expected at most 268")


def test_fault_05_the_headers_claim_a_size_that_would_be_taken():
    """The files above are refused for their size: with another they are read."""
    for name, data in claims(64).items():
        assert image_size(data, name) == (64, 64)


def test_fault_06_unusual_pixels_and_wrong_suffixes(photo):
    image = Image.fromarray(photo)
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(decode_image(save(grey, "PNG"), "x.jpg", channels=3), np.dstack([grey] * 3))
    opaque, translucent = (np.dstack([photo, np.full((90, 120), alpha, np.uint8)]) for alpha in (255, 7))
    np.testing.assert_array_equal(decode_image(save(opaque, "PNG"), "x.jpg", channels=3), photo)
    np.testing.assert_array_equal(decode_image(save(translucent, "PNG"), "x.jpg"), translucent)
    deep = decode_image(save(grey.astype(np.uint16) * 257, "PNG"), "x.jpg", channels=3)
    np.testing.assert_array_equal(deep, np.dstack([grey.astype(np.uint16) * 257] * 3))
    palette = image.quantize(32)
    for format in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode_image(save(palette, format), "x.jpg"), np.asarray(palette.convert("RGB")))
    bilevel = decode_image(save(grey > 100, "PNG"), "x.jpg", channels=3)
    np.testing.assert_array_equal(bilevel[..., 1], (grey > 100) * 255)
    for jpeg in (save(image.convert("CMYK"), "JPEG"), save(grey, "JPEG")):
        reference = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        assert np.abs(decode_image(jpeg, "x.png", channels=3).astype(int) - reference).max() <= 2


def test_fault_06_damaged_cmyk_jpeg(photo):
    data = save(Image.fromarray(photo).convert("CMYK"), "JPEG")
    with pytest.raises(BadImage, match="damaged"):
        decode_image(data[: len(data) // 2] + data[-2:], "x.jpg")


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF"])
def test_fault_07_several_frames(photo, format):
    other = Image.fromarray(photo[::-1])
    data = save(photo, format, save_all=True, append_images=[other])
    for decode in (decode_image, decode_mask, image_size):
        with pytest.raises(BadImage, match=r"^a\.gif: 2 frames or pages"):
            decode(data, "a.gif")


def test_fault_08_odd_paths(carvana):
    odd = carvana.rename(carvana.with_name("мои данные 車 #1 %20 'q'"))
    for folder, end in (("train", ".jpg"), ("train_masks", "_mask.gif")):
        (odd / folder / f"a_02{end}").rename(odd / folder / f"é 車 (1)_02{end}")
    data = Carvana(odd)
    assert data.ids == ["a_01", "é 車 (1)_02"]
    assert data.groups == ["a", "é 車 (1)"]
    assert data.read_mask("é 車 (1)_02").shape == data.shape("é 車 (1)_02") == (90, 120)
    assert data.problems() == []


def test_fault_09_pairs_that_do_not_match(carvana, photo, mask):
    jpeg, gif = save(photo, "JPEG"), save(mask, "GIF")
    (carvana / "train_masks/a_01_mask.gif").unlink()
    (carvana / "train_masks/z_09_mask.gif").write_bytes(gif)
    for name in ("a_02.jpeg", "A_02.JPG", "c_01.jpg", "notes.txt"):
        (carvana / "train" / name).write_bytes(jpeg)
    with (carvana / "sample_submission.csv").open("a") as file:
        file.write("b_01.jpg,1 1\nb_03.jpg,1 1\n")
    with pytest.raises(ValueError, match="problems with Carvana's files") as refusal:
        Carvana(carvana)
    for told in (
        "train/a_01.jpg has no mask train_masks/a_01_mask.gif",
        "train/c_01.jpg has no mask",
        "train_masks/z_09_mask.gif has no image train/z_09.jpg",
        "train/a_02.jpeg has the same id as train/A_02.JPG",
        "train/'notes.txt' is not named like <car>_<view>.jpg",
        "sample_submission.csv names 'b_01.jpg' 2 times",
        "sample_submission.csv names 'b_03.jpg', which is not in test",
    ):
        assert told in str(refusal.value)


def test_fault_09_the_list_is_bounded(carvana, photo):
    for view in range(100, 150):
        (carvana / f"train/a_{view}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)50 problems.*and 30 more") as refusal:
        Carvana(carvana)
    assert str(refusal.value).count("has no mask") == 20


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as on POSIX")
def test_fault_10_pipes_and_link_loops(carvana):
    os.mkfifo(carvana / "train/a_03.jpg")
    (carvana / "train/a_04.jpg").symlink_to("a_04.jpg")
    (carvana / "train/up").symlink_to("..")
    with pytest.raises(ValueError, match=r"(?s)no regular file.*a_03\.jpg.*a_04\.jpg.*up"):
        Carvana(carvana)
    with pytest.raises(FileNotFoundError, match="no regular file"):
        DataFolder(carvana).read("train/a_03.jpg")


def test_fault_51_ids_that_are_paths(carvana, tmp_path):
    (tmp_path / "x_01.jpg").write_bytes((carvana / "train/a_01.jpg").read_bytes())
    data = Carvana(carvana)
    for id in ("../../x_01", str(tmp_path / "x_01"), "../train/a_01"):
        with pytest.raises(KeyError, match="no image of the id"):
            data.read_image(id)
    for path in ("../x_01.jpg", "train/../../x_01.jpg", str(tmp_path / "x_01.jpg"), ".."):
        with pytest.raises(ValueError, match="is no file name"):
            DataFolder(carvana).read(path)
    (carvana / "sample_submission.csv").write_text("img,rle_mask\n../../x_01.jpg,1 1\n")
    with pytest.raises(ValueError, match="which is not in test"):
        Carvana(carvana)


@pytest.mark.parametrize(
    "name", ["train/../../x_01.jpg", "/etc/x_01.jpg", "train/..\\x_01.jpg", "train/deeper/x_01.jpg"]
)
def test_fault_51_zip_members_that_are_paths(tmp_path, photo, name):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/a_01.jpg", save(photo, "JPEG"))
        archive.writestr(name, save(photo, "JPEG"))
    with pytest.raises(ValueError, match=r"train\.zip holds links, paths, or a name twice"):
        Carvana(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="Windows allows no such name")
def test_fault_51_control_characters_in_file_names(carvana):
    (carvana / "train/a\n_01.jpg").write_bytes(b"")
    (carvana / "train/a\x1b_01.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="2 problems") as refusal:
        Carvana(carvana)
    assert "\x1b" not in str(refusal.value)


def test_fault_06_a_webp_under_the_name_of_a_jpeg(carvana, photo):
    (carvana / "train/a_02.jpg").write_bytes(save(photo, "WEBP", lossless=True))
    np.testing.assert_array_equal(Carvana(carvana).read_image("a_02"), photo)
    assert Carvana(carvana).shape("a_02") == (90, 120)
    assert Carvana(carvana).problems() == []


def test_fault_06_a_fourth_band_is_never_dropped_without_a_word(photo):
    bands = np.dstack([photo, photo[..., :1] // 2])
    for format in ("PNG", "TIFF", "WEBP"):
        data = save(Image.fromarray(bands, "RGBA"), format, **({"lossless": True} if format == "WEBP" else {}))
        np.testing.assert_array_equal(decode_image(data, "x").shape, (90, 120, 4))
        with pytest.raises(BadImage, match=r"^x: 4 channels, expected 3.*channels=4"):
            decode_image(data, "x", channels=3)
