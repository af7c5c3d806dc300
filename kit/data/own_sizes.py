"""Rows of several sizes in one flat array, as a cache of images at their own sizes keeps them."""

import numpy as np


class OwnSizes:
    """Row by row the pixels of samples: rows[3] is a view (h, w, …) of `flat`.

    flat: (P, …) of all pixels, sample after sample. sizes: int64 (n, 2), height and width of each. P is their sum.
    """

    def __init__(self, flat: np.ndarray, sizes: np.ndarray) -> None:
        self.flat, self.sizes = flat, sizes
        self.starts = np.concatenate([[0], np.cumsum(sizes.prod(axis=1))])

    @property
    def dtype(self) -> np.dtype:
        """Of all samples."""
        return self.flat.dtype

    def __getitem__(self, row: int) -> np.ndarray:
        pixels = self.flat[self.starts[row] : self.starts[row + 1]]
        return pixels.reshape(*self.sizes[row], *self.flat.shape[1:])

    def __setitem__(self, row: int, sample: np.ndarray) -> None:
        """Raises ValueError where the sample has another size than was said."""
        if sample.shape[:2] != tuple(self.sizes[row]):
            found, said = ("×".join(map(str, size)) for size in (sample.shape[:2], self.sizes[row]))
            raise ValueError(f"the image is {found}, and the data set's shape(id) says {said}: correct shape")
        self[row][...] = sample

    def flush(self) -> None:
        """Bring what was written to the disk."""
        self.flat.flush()
