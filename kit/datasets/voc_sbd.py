"""SBD, the masks that Hariharan et al. drew for 11,355 images of VOC 2011: "Semantic Contours", ICCV 2011.

Files: benchmark_RELEASE/dataset/{img/<id>.jpg, cls/<id>.mat, inst/<id>.mat, train.txt, val.txt}. A .mat of cls holds
GTcls, one of inst GTinst; their field Segmentation has a label for each pixel. SBD has no void: the pixels at an
object's edge are labelled.
"""

from pathlib import Path

import numpy as np

from kit.data.formats import BadImage
from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.datasets.voc_mat import read_labels
from kit.system.files import check_name, raise_all

MAX_BYTES = 4 << 20  # of one .mat; they take tens of kilobytes


class SBD:
    """The lists, masks and maps of objects of SBD in `folder`, which holds benchmark_RELEASE/dataset, or is that.

    train_ids, val_ids: as listed. Raises FileNotFoundError without cls/ or a list, ValueError for a bad list.
    """

    def __init__(self, folder: Path | str):
        places = [Path(folder, "benchmark_RELEASE/dataset"), Path(folder, "dataset"), Path(folder)]
        root = next((place for place in places if (place / "cls").is_dir()), None)
        if root is None:
            raise FileNotFoundError(
                f"{folder} holds no SBD: expected benchmark_RELEASE/dataset/cls/<id>.mat below it. "
                "Unpack SBD's benchmark.tgz there, or fetch it into data/sbd: python -m kit download sbd"
            )
        self.data, problems = DataFolder(root), []
        self.train_ids, self.val_ids = (
            read_list(self.data.read(name), f"{root / name}", problems) for name in ("train.txt", "val.txt")
        )
        raise_all(problems, f"problems with the lists of SBD in {root}")

    def read_mask(self, id: str) -> np.ndarray:
        """Read the classes -> u8 (H, W), not yet checked against VOC's. Raises BadImage or OSError."""
        return self._read(f"cls/{id}.mat", "GTcls")

    def read_instances(self, id: str) -> np.ndarray:
        """Read the objects -> u8 (H, W), 0 is none, then 1, 2, … Raises BadImage or OSError."""
        return self._read(f"inst/{id}.mat", "GTinst")

    def _read(self, name: str, struct: str) -> np.ndarray:
        """Field Segmentation of the struct, u8 (H, W)."""
        content = self.data.read(name, MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise BadImage(f"{name}: over {MAX_BYTES:,} bytes, expected some ten thousand. Fetch it again")
        try:
            return read_labels(content, struct, "Segmentation")
        except ValueError as error:
            raise BadImage(f"{name}: {struct}.Segmentation cannot be read: {error}. Fetch it again") from error


def read_list(content: bytes, name: str, problems: list[str]) -> list[str]:
    """The ids (NFC) of a list of images, a line each, in its order; unsafe and double ones go to `problems`."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        problems.append(f"{name} is no list of ids in UTF-8: {error}")
        return []
    ids: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        id = nfc(line.strip())
        if not id:
            continue
        try:
            check_name(id)
        except ValueError as error:
            problems.append(f"{name}, line {number}: {error}")
            continue
        if id in ids:
            problems.append(f"{name}, line {number}: {id} is listed twice")
        ids[id] = None
    if not ids:
        problems.append(f"{name} lists no image")
    return list(ids)
