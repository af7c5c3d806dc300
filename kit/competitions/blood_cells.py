"""Blood cells: the white cell in the middle of small pictures of a stained blood smear.

Files: Train_Data/train-<number>.jpg and train-<number>-mask.jpg, 128×128; Test_Data/<name>.jpg, from 318 to 2150
pixels wide and without masks: pictures to predict at sizes never trained on. Test_Data may be absent.

What limits a score, measured on all 164 pairs: every mask is a 32×32 one enlarged fourfold. A mask and its outline
smoothed (Gaussian, 2 pixels) have an IoU of 0.975; drawn ellipses of these sizes and their form in 4×4 blocks, 0.94.
One cell was outlined twice (train-57 and train-58): over what both pictures show, the two agree with IoU 0.89.
"""

import re
from pathlib import Path

import numpy as np

from kit.competitions import DataFolder, fingerprint_of, pair_files, picture_size
from kit.files import check_id, raise_all
from kit.images import BadImage, decode_image, decode_mask, threshold_mask

PATTERNS = (
    re.compile(r"(train-[0-9]+)\.jpe?g", re.IGNORECASE),
    re.compile(r"(train-[0-9]+)-mask\.jpe?g", re.IGNORECASE),
)
EXAMPLE = "train-<number>.jpg or train-<number>-mask.jpg"
TEST_NAME = re.compile(r"(.+)\.jpe?g", re.IGNORECASE)
GROUP, FIRST = 11, 8  # groups end before the numbers 8, 19, 30, …
THRESHOLD = 127  # the masks are JPEGs: 0 to 9 and 246 to 255 where 0 and 255 are meant


class BloodCells:
    """The images and masks by id, `train-<number>`, and the test images by their names.

    ids: the train images by number; test_ids: sorted. groups: 11 neighbouring numbers each, for neighbours tend to be
    of one photograph. Found in the real data: three pairs overlap (8 and 9, 57 and 58, which is one cell twice, 160 and
    161), and 41 train images are cut from test images, ten of which hold two or three of them, all within three
    numbers; test images with hexadecimal names alike but for the last digit hold neighbours too. 11 is the smallest
    size, with 8 the only start, that parts none of these. Which smear a picture is of is not known: by the times in
    their test images' names 41, 46, 66, 67 and 83 were taken within two minutes.
    That the test images show trained pictures makes predictions there look better than on new smears.
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file.
    """

    name = "blood_cells"
    slug = "blood-cells"
    num_classes = 2
    classes = ("background", "white cell")
    notes = (
        f"The masks are JPEGs: a pixel is cell where its grey is above {THRESHOLD}.",
        f"Folds keep {GROUP} neighbouring pictures together: as far as is known no photograph is in two folds, but a "
        "smear may be.",
    )
    order = "C"
    columns = ("img", "rle_mask")
    sample_csv = None
    truth_csv = None
    drawn = False

    def __init__(self, data_dir: Path | str):
        self.data = DataFolder(data_dir)
        problems = []
        images, self._masks = pair_files(self.data.names("Train_Data"), "Train_Data", PATTERNS, EXAMPLE, problems)
        tests = _test_images(self.data.names("Test_Data"), problems)
        problems += [f"{tests[id]} has the id of a train image" for id in sorted(tests.keys() & images)]
        if not images:
            problems.append("no photographs in Train_Data/ or Train_Data.zip; expected train-<number>.jpg")
        self.ids = sorted(images, key=lambda id: (_number(id), id))
        self.groups = [f"block-{(_number(id) + GROUP - FIRST) // GROUP:02}" for id in self.ids]
        self.test_ids = sorted(tests)
        self._images = images | tests
        raise_all(problems, f"problems with the files of the blood cells in {data_dir}")

    def csv_name(self, id: str) -> str:
        """The name of an image in a CSV of this kit's: the data set has none."""
        return f"{id}.jpg"

    def read_image(self, id: str) -> np.ndarray:
        """Read a train or test image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        name = self._file(self._images, id)
        return decode_image(self.data.read(name), name)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a train mask -> u8 (H, W), 1 is cell. Raises BadImage (also if not of its image's size) or KeyError."""
        name = self._file(self._masks, id)
        mask = threshold_mask(decode_mask(self.data.read(name), name), THRESHOLD, name)
        if mask.shape != self.shape(id):
            raise BadImage(f"{name}: a mask of {mask.shape}, expected {self.shape(id)} like {self._images[id]}")
        return mask

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a train or test image, from its header. Raises BadImage or KeyError."""
        return picture_size(self.data, self._file(self._images, id))

    def fingerprint(self) -> str:
        """SHA-256 over the names and sizes in bytes of Train_Data and Test_Data."""
        return fingerprint_of(self.data, ["Train_Data", "Test_Data"])

    def _file(self, files: dict[str, str], id: str) -> str:
        if id not in files:
            raise KeyError(f"no {'mask' if files is self._masks else 'image'} of the id {id!r} in {self.data.root}")
        return files[id]


def _number(id: str) -> int:
    return int(id.partition("-")[2])


def _test_images(names: list[str], problems: list[str]) -> dict[str, str]:
    """Map ids to "Test_Data/name"; misnamed, unsafe and double ones go to `problems`."""
    files = {}
    for name in names:
        match = TEST_NAME.fullmatch(name)
        if match is None:
            problems.append(f"Test_Data/{name!a} is not named like <name>.jpg")
            continue
        try:
            id = check_id(match[1])
        except ValueError as error:
            problems.append(f"Test_Data/{name!a}: {error}")
            continue
        if id in files:
            problems.append(f"Test_Data/{name} has the same id as {files[id]}")
            continue
        files[id] = f"Test_Data/{name}"
    return files
