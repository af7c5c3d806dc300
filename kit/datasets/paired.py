"""What data sets share whose images and masks are one file each: reading them by id. Each finds its own files."""

from collections.abc import Mapping

import numpy as np

from kit.data.dataset import Dataset
from kit.data.images import decode_image
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.reading import check_size, read_size


class PairedFiles(Dataset):
    """RGB images and their masks, a file each. A subclass sets the three attributes and writes decode_labels.

    data: the folder. _images, _masks: paths by id; test images are among the images.
    """

    data: DataFolder
    _images: Mapping[str, str]
    _masks: Mapping[str, str]

    def decode_labels(self, data: bytes, name: str) -> np.ndarray:
        """Decode a mask file -> u8 (H, W) of class numbers, 255 is ignored. Raises BadImage."""
        raise NotImplementedError(f"{type(self).__name__} has no decode_labels(self, data, name)")

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        name = self._file(self._images, id)
        return decode_image(self.data.read(name), name, channels=3)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask -> u8 (H, W) of class numbers. Raises BadImage (also if not of its image's size) or KeyError."""
        name = self._file(self._masks, id)
        return check_size(self.decode_labels(self.data.read(name), name), self.shape(id), name, self._images[id])

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header. Raises BadImage or KeyError."""
        return read_size(self.data, self._file(self._images, id))

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the images and masks."""
        return fingerprint_of(self.data, [files[id] for files in (self._images, self._masks) for id in self.ids])

    def _file(self, files: Mapping[str, str], id: str) -> str:
        if id not in files:
            raise KeyError(f"no {'mask' if files is self._masks else 'image'} of the id {id!r} in {self.data.root}")
        return files[id]
