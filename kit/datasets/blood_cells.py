"""Blood cells: the white cell in the middle of small images of a stained blood smear.

Files: Train_Data/train-<number>.jpg and train-<number>-mask.jpg, 128×128; Test_Data/<name>.jpg, 318 to 2150 pixels
wide and without masks. The test images have sizes that are never trained on. Test_Data may be absent.

Two facts limit a score; both were measured on all 164 pairs. Every mask is a 32×32 mask enlarged fourfold: a mask and
the same mask with a smooth outline (Gaussian, 2 pixels) have an IoU of 0.975, and drawn ellipses of these sizes and
their form in 4×4 blocks one of 0.94. One cell was outlined twice (train-57 and train-58): where both images show it,
the two masks agree with an IoU of 0.89.
"""

import re
from pathlib import Path

import numpy as np

from kit.data.masks import decode_mask, threshold_mask
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import files_by_id, unpaired
from kit.datasets.paired import PairedFiles
from kit.system.files import raise_all

IMAGE_NAME = re.compile(r"(train-[0-9]+)\.jpe?g", re.IGNORECASE)
MASK_NAME = re.compile(r"(train-[0-9]+)-mask\.jpe?g", re.IGNORECASE)
TEST_NAME = re.compile(r"(.+)\.jpe?g", re.IGNORECASE)
GROUP, FIRST = 11, 8  # groups end before the numbers 8, 19, 30, …
THRESHOLD = 127  # the masks are JPEGs: 0 to 9 and 246 to 255 where 0 and 255 are meant


class BloodCells(PairedFiles):
    """The images and masks by id, `train-<number>`, and the test images by their names.

    ids: the train images by number. test_ids: sorted.
    groups: 11 neighbouring numbers each, because neighbours are often of one photograph. In the real data three pairs
    overlap (8 and 9; 57 and 58, which show one cell; 160 and 161). 41 train images are cut from test images; ten test
    images hold two or three of them, always within three numbers. Test images whose hexadecimal names differ in the
    last digit alone hold neighbours too. A group size of 11 with its start at 8 is the smallest that separates none of
    these, and the only start. The smear of an image is not known: the times in the names of their test images show
    that 41, 46, 66, 67 and 83 were taken within two minutes.
    The test images show trained cells, so predictions there look better than on new smears.
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file.
    """

    name = "blood_cells"
    slug = "blood-cells"
    classes = ("background", "white cell")
    notes = (
        f"The masks are JPEGs: a pixel is cell where its grey is above {THRESHOLD}.",
        f"Folds keep {GROUP} neighbouring images together: no known photograph is in two folds, but a smear may be.",
    )

    def __init__(self, data_dir: Path | str):
        self.data = DataFolder(data_dir)
        problems = []
        images, self._masks = _pair_files(self.data.names("Train_Data"), problems)
        tests = files_by_id(self.data.names("Test_Data"), "Test_Data", TEST_NAME, "<name>.jpg", problems)
        problems += [f"{tests[id]} has the id of a train image" for id in sorted(tests.keys() & images)]
        if not images:
            problems.append("no photographs in Train_Data/ or Train_Data.zip; expected train-<number>.jpg")
        self.ids = sorted(images, key=lambda id: (_number(id), id))
        self.groups = [f"block-{(_number(id) + GROUP - FIRST) // GROUP:02}" for id in self.ids]
        self.test_ids = sorted(tests)
        self._images = images | tests
        raise_all(problems, f"problems with the files of the blood cells in {data_dir}")

    def decode_labels(self, data: bytes, name: str) -> np.ndarray:
        """Decode a mask -> u8 (H, W), 1 is cell. Raises BadImage."""
        return threshold_mask(decode_mask(data, name), THRESHOLD, name)

    def test_fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the test images."""
        return fingerprint_of(self.data, [self._images[id] for id in self.test_ids])


def _number(id: str) -> int:
    return int(id.partition("-")[2])


def _pair_files(names: list[str], problems: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The images and masks of Train_Data by id; misnamed, unsafe, double and unpaired files go to `problems`."""
    masked = [name for name in names if MASK_NAME.fullmatch(name)]
    others = sorted(set(names) - set(masked))
    example = "train-<number>.jpg or train-<number>-mask.jpg"
    images = files_by_id(others, "Train_Data", IMAGE_NAME, example, problems)
    masks = files_by_id(masked, "Train_Data", MASK_NAME, example, problems)
    problems += unpaired(images, masks, "mask Train_Data/{}-mask.jpg", "image Train_Data/{}.jpg")
    return images, masks
