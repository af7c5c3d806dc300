"""The mask of a slide from a file, band by band: TIFF, NPY, grey PNG, or any image that decoders take whole."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kit.data.formats import MAX_PIXELS, BadImage, format_of
from kit.data.masks import StoredMask
from kit.data.png_rows import png_bands, png_header
from kit.data.regions import HEAD_BYTES, open_regions
from kit.data.run_masks import RunMask, run_mask_of
from kit.datasets.values import MaskValues

BAND_BYTES = 1 << 25  # of a mask file that are in memory together


def mask_of_file(root: Path, file: str, values: MaskValues) -> RunMask:
    """The runs of the mask file root/file. What its values mean is decided by all that are in the file.

    Raises BadImage or OSError.
    """
    path = root / file
    with path.open("rb") as opened:
        kind = format_of(opened.read(HEAD_BYTES), file)
    if kind in {"TIFF", "NPY"}:
        return _mask_of_bands(file, values, *_stored_bands(path, file))
    if kind == "PNG" and (header := png_header(path)).height * header.width > MAX_PIXELS:
        return _mask_of_bands(file, values, png_bands(path), header[:2], header.bits)
    mask = values.read(path.read_bytes(), file)
    return run_mask_of([mask], mask.shape)


def mask_of_layers(layers: Iterable[RunMask]) -> RunMask:
    """The masks of 0 and 1 of classes that may overlap, one after the other, as one: class numbers from 1.

    Raises ValueError where their sizes differ.
    """
    layers = list(layers)
    if len(sizes := {layer.shape for layer in layers}) > 1:
        raise ValueError(f"the masks of the classes have the sizes {sorted(sizes)}, expected one")
    edges = {number: layer.edges[1] for number, layer in enumerate(layers, start=1) if 1 in layer.edges}
    return RunMask(layers[0].shape, layers[0].order, edges)


def _mask_of_bands(
    file: str, values: MaskValues, bands: Iterable[np.ndarray], size: tuple[int, int], bits: int = 8
) -> RunMask:
    """The runs of class numbers of bands of stored values u8 (rows, W)."""
    found = run_mask_of(bands, size)
    present = np.array([[0, *found.edges]], np.uint8).view(StoredMask)
    present.bits = bits
    if values.is_colours:
        raise BadImage(f"{file}: a mask of numbers, and `values` maps colours. Map its numbers: values={{0: 0, …}}")
    labels = values.apply(present, file)[0].tolist()
    if labels[0]:
        raise BadImage(f"{file}: its value 0 is class {labels[0]}, expected the background. Save it so")
    return found.relabelled(dict(zip(np.asarray(present)[0].tolist(), labels, strict=True)))


def _stored_bands(path: Path, file: str) -> tuple[Iterable[np.ndarray], tuple[int, int]]:
    """The values of a TIFF or NPY mask in bands u8 (rows, W), and its (height, width)."""
    stored = open_regions(path)
    if stored.shape[2] != 1 or stored.dtype not in (np.uint8, np.bool_):
        raise BadImage(
            f"{file}: a mask of {stored.shape[2]} channels of {stored.dtype}, expected one of 8 bits. Save it so"
        )
    height, width = stored.shape[:2]
    step = max(1, BAND_BYTES // width // stored.block[0]) * stored.block[0]
    bands = (stored.read(y, 0, min(step, height - y), width)[..., 0] for y in range(0, height, step))
    return (band.view(np.uint8) for band in bands), (height, width)
