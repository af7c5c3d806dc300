"""Edges: the places where the value of a binary mask changes, counted from 0 along its rows.

Even entries begin a run of ones, odd ones are the first pixel after it. Run lengths and masks both follow from them.
"""

import numpy as np

from kit.system.kernels import kernel


def new_edges(pixels: int) -> np.ndarray:
    """Room for the edges of a mask of so many `pixels`: int32 (pixels + 1,), int64 from 2³¹ pixels on."""
    return np.empty(pixels + 1, np.int32 if pixels < 2**31 else np.int64)  # untouched pages of it cost nothing


def mask_of_edges(edges: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mask with these edges: uint8 (H, W) of 0 and 1. edges: int32 or int64 (2R,), rising, up to H · W."""
    edges = np.ascontiguousarray(edges)
    if edges.ndim != 1 or edges.dtype not in (np.int32, np.int64) or (edges.size and edges[-1] > shape[0] * shape[1]):
        raise ValueError(f"edges are int32 or int64 (2R,) inside {shape}, got {edges.dtype} {edges.shape}")
    mask = np.empty(shape, np.uint8)
    _fill(edges, mask.reshape(-1))
    return mask


@kernel
def _fill(edges, pixels):
    end = 0
    for i in range(0, edges.size, 2):
        pixels[end : edges[i]] = 0
        end = edges[i + 1]
        pixels[edges[i] : end] = 1
    pixels[end:] = 0
