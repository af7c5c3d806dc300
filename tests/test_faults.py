"""The faults that the main job survives, by number, each provoked by a test of its own in tests/faults/."""

import ast
import functools
from pathlib import Path

import pytest

FAULTS = {
    1: "truncated JPEG",
    2: "flipped bytes inside a JPEG",
    3: "empty file, or text saved as .jpg",
    4: "EXIF rotation",
    5: "a header that claims 50,000 x 50,000",
    6: "grey, RGBA, CMYK, 16-bit, palette; GIF or PNG bytes under a .jpg name",
    7: "several frames where one is expected",
    8: "unicode, spaces and odd characters in paths",
    9: "missing, extra and double image/mask pairs, all listed",
    10: "link loops and pipes in the data folder",
    11: "palette PNG gives indices, not colours",
    12: "mask values that the competition's rule does not know",
    13: "a label that is no class",
    14: "a mask of another size than its image",
    15: "resizing never invents a label",
    16: "empty truth and empty prediction",
    17: "a class absent everywhere",
    18: "ignored pixels are out of intersection and union",
    19: "every pixel ignored",
    20: "a size not divisible by the stride",
    21: "RLE: an odd number of tokens",
    22: "RLE: zero or negative start or length",
    23: "RLE: overlap, unsorted",
    24: "RLE: past the end",
    25: "RLE: an integer of 30 digits",
    26: "RLE: non-ASCII digits, NaN, floats",
    27: "runs that touch the first or the last pixel",
    28: "rows and columns swapped",
    29: "an empty RLE survives a CSV round trip",
    30: "ids NA, null, 000123 survive a CSV round trip",
    31: "missing, double, unknown, reordered ids, all listed",
    32: "killed at any byte of a checkpoint write",
    33: "disk full while writing",
    34: "killed anywhere in training",
    35: "everything in the state is restored",
    36: "a checkpoint that would run code",
    37: "a checkpoint of another model, fold or configuration",
    38: "a loss that is not finite",
    39: "a metric of NaN is never the best",
    40: "Dice of float16 logits at 1024 x 1024",
    41: "no memory left",
    42: "a data worker is killed",
    43: "no shared memory left",
    44: "nowhere to keep numba's cache",
    45: "augmentations differ between epochs and workers",
    46: "a group in two folds",
    47: "two runs in one folder, and a lock whose holder is dead",
    48: "Ctrl-C",
    49: "a downloaded archive that slips, links or bombs",
    50: "an interrupted or wrong download, an error page saved as data",
    51: "an id that is a path, or HTML",
    52: "an id that a spreadsheet would run",
    53: "caches, stores and rows of other ids, masks or reading code",
    54: "a palette whose first colour is white",
    55: "12 or 16 bits in a 16-bit file",
    56: "an image or mask of another type, number of dimensions or channels than declared",
    57: "masks of 0 and 255 where 255 means ignored, and a class that never occurs",
    58: "ids and groups that are numbers, missing, with folders, or twice",
    59: "too few groups for the folds",
    60: "a CSV of another spelling, encoding, header or empty cell",
    61: "one unreadable test image",
    62: "a checkpoint of timm, torchvision, smp or a training framework",
    63: "NFC and NFD spellings of a name",
    64: "two runs with other folds in one folder",
    65: "a CSV without a mask, or with its rows in another order",
    66: "a run folder on a read-only disk: it predicts from Python. There are no bundles yet",
    67: "hidden test data: more, larger and corrupt images. There is no clock yet",
    68: "overlapping, split and missing rows of objects: in a CSV. kit writes no rows of objects yet",
    69: "an encoder that expects another mean and deviation",
}


@functools.cache
def names_of_tests():
    files = sorted((Path(__file__).parent / "faults").glob("test_*.py"))
    return [node.name for file in files for node in ast.parse(file.read_text()).body if hasattr(node, "name")]


@pytest.mark.parametrize("number", FAULTS)
def test_the_fault_is_provoked(number):
    assert any(name.startswith(f"test_fault_{number:02}_") for name in names_of_tests()), FAULTS[number]
