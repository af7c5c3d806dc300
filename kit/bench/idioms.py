"""Run lengths as most notebooks write and read them: what kit's are timed against. NumPy alone."""

import numpy as np


def where_idiom(mask: np.ndarray) -> str:
    """The encoder of most notebooks."""
    pixels = np.concatenate([[0], mask.reshape(-1), [0]])
    edges = np.where(pixels[1:] != pixels[:-1])[0] + 1
    edges[1::2] -= edges[::2]
    return " ".join(str(x) for x in edges)


def notebook_decoder(text: str, shape: tuple[int, int]) -> np.ndarray:
    """The decoder of most notebooks."""
    numbers = text.split()
    starts, lengths = (np.asarray(numbers[k::2], dtype=int) for k in (0, 1))
    mask = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for start, end in zip(starts - 1, starts - 1 + lengths, strict=True):
        mask[start:end] = 1
    return mask.reshape(shape)
