"""Draw a slide as a tiled TIFF, predict it in a stream, and print the peak memory: a process of its own for the tests.

python tests/prediction/slide_memory.py FOLDER SIDE [SCALE [ORDER]]
"""

import json
import resource
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import tifffile
import torch
from torch import nn

from kit.data.normalise import IMAGENET
from kit.data.regions import Regions, open_regions
from kit.data.resize import Resizing
from kit.data.scaled import ScaledRegions
from kit.prediction import TTA, Frame, Predictor
from kit.prediction.slides import predict_slide
from kit.submission import rle

TILE = 512  # of the file and of the network


def drawn_tile(y, x):
    """Tissue: a pale ground with noise, and discs of a darker colour on a jittered grid; the same at every size."""
    rows, columns = np.mgrid[y : y + TILE, x : x + TILE].astype(np.float32)
    disc = np.zeros((TILE, TILE), bool)
    for cell_y in range(y // 300 - 1, (y + TILE) // 300 + 2):
        for cell_x in range(x // 300 - 1, (x + TILE) // 300 + 2):
            shift = np.random.default_rng([abs(cell_y), abs(cell_x)]).uniform(60, 240, 3)
            disc |= np.hypot(rows - cell_y * 300 - shift[0], columns - cell_x * 300 - shift[1]) < shift[2] / 3
    noise = np.random.default_rng([y, x, 1]).integers(-12, 13, (TILE, TILE, 3))
    return (np.where(disc[..., None], [150, 70, 120], [225, 200, 220]) + noise).clip(0, 255).astype(np.uint8)


def draw(path, side):
    """Write the slide of side × side pixels, a tile at a time."""
    places = [(y, x) for y in range(0, side, TILE) for x in range(0, side, TILE)]
    tiles = (zlib.compress(drawn_tile(y, x).tobytes(), 1) for y, x in places)
    kind = {"photometric": "rgb", "compression": "zlib", "bigtiff": True, "metadata": None}
    tifffile.imwrite(path, tiles, shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), **kind)


def network():
    """A tiny network that finds the darker discs: two convolutions over a smoothed green channel."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    with torch.no_grad():
        net[0].weight.abs_().mul_(-1)
        net[2].weight.abs_()
        net[0].bias.zero_()
        net[2].bias[:] = -0.3
    return net


class Cut(Regions):
    """The first rows and columns of a larger image."""

    def __init__(self, regions, side):
        self.regions, self.name, self.dtype, self.block = regions, regions.name, regions.dtype, regions.block
        self.shape = (side, side, regions.shape[2])

    def _read(self, y, x, height, width):
        return self.regions.read(y, x, height, width)


def predictor(threads=1):
    torch.set_num_threads(threads)
    return Predictor([network()], Frame(Resizing(None), tile=(TILE, TILE), normalise=IMAGENET), TTA())


def main(folder, side, scale=1, order="C"):
    path = Path(folder) / f"slide_{side}.tif"
    if not path.exists():
        draw(path, side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own, slide = predictor(), ScaledRegions(open_regions(path), scale)
    own.predict(np.zeros((64, 64, 3), np.uint8))  # what torch takes for itself at its first image
    loaded, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter()
    runs = predict_slide(own, slide, order)
    seconds = time.perf_counter() - clock
    text = rle.encode_edges(runs.edges[1], side * side)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"side": side, "scale": scale, "order": order, "imports MB": before, "before MB": loaded, "peak MB": peak}
    print(json.dumps({**found, "seconds": seconds, "runs": len(runs.edges[1]) // 2, "crc": zlib.crc32(text.encode())}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:4]), *sys.argv[4:5])
