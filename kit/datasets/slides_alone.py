"""Slides without masks, wherever they lie: what a trained run predicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.formats import BadImage
from kit.data.regions import open_regions
from kit.data.scaled import ScaledRegions
from kit.datasets.image_files import image_patterns
from kit.datasets.images_alone import Images


class SlidesAlone(Images):
    """The slides below a folder, which nothing reads whole.

    scale: by which they are shrunk. reading: as of the run's data set (Slides.reading); {} for files that are images,
    by their names. The rest is as of Images. Slides in zips must be unpacked, because parts of them are read.
    Raises FileNotFoundError where there is no such folder, ValueError for a zip.
    """

    def __init__(
        self, root: Path | str, channels: Sequence[str], dtype: str | None, reading: Mapping[str, object], scale: int
    ) -> None:
        if Path(root).suffix.lower() == ".zip":
            raise ValueError(f"{root} is a zip: unpack it, because parts of slides are read")
        patterns = image_patterns(reading["images"], None, "images") if reading.get("images") else None
        super().__init__(root, channels, dtype, patterns)
        self.scale = scale
        self._shapes: dict[str, tuple[int, int]] = {}  # the linter asks for each row of a CSV

    def regions(self, id: str) -> ScaledRegions:
        """The slide, shrunk by `scale`, opened anew. Raises BadImage or OSError, or KeyError for an unknown id."""
        data, (path,) = self._files.data, self._files.paths([self._known(id)])
        if not (data.root / path).is_file():
            raise BadImage(f"{path} lies in a zip: unpack it, because parts of it are read")
        return ScaledRegions(open_regions(data.root / path), self.scale)

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a slide at its own size, from its header. Raises as regions."""
        if id not in self._shapes:
            self._shapes[id] = self.regions(id).regions.shape[:2]
        return self._shapes[id]

    def read_image(self, id: str) -> np.ndarray:
        """Raise ValueError: a slide may be larger than memory."""
        raise ValueError(f"{id}: a slide is not read whole; take parts of it by regions(id)")
