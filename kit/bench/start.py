"""The first call of each kernel in a new process: compiled code comes from the disk, not from the compiler.

python -m kit.bench.start       milliseconds by kernel, as a line of JSON
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kit.bench.measure import Row
from kit.data.shrink import shrink
from kit.prediction import enlarge
from kit.scoring import confusion as metrics
from kit.submission import rle

LIMIT = 50.0  # milliseconds


def first_calls() -> dict[str, float]:
    """Milliseconds of the first call of each kernel in this process."""
    mask, logits = np.zeros((64, 96), np.uint8), np.ones((16, 24), np.float32)
    mask[20:40, 30:60] = 1
    levels, image = mask[::2, ::2] * np.uint8(200), np.zeros((64, 96, 3), np.uint8)
    kernels = {
        "rle.encode": lambda: rle.encode(mask),
        "rle.decode": lambda: rle.decode("5 3 90 10", mask.shape),
        "edges_above, of logits": lambda: enlarge.edges_above(logits, mask.shape, 0.0),
        "edges_above, of levels": lambda: enlarge.edges_above(levels, mask.shape, 127.5),
        "enlarge": lambda: enlarge.enlarge(levels, mask.shape),
        "confusion_matrix": lambda: metrics.confusion_matrix(mask, mask, 2),
        "binary_scores": lambda: metrics.binary_scores(mask, mask),
        "shrink": lambda: shrink(image, (30, 50)),
    }
    taken = {}
    for name, call in kernels.items():
        clock = time.perf_counter()
        call()
        taken[name] = 1000 * (time.perf_counter() - clock)
    return taken


def rows(scratch: Path, results: Path) -> Iterator[Row]:
    """Each kernel's time in a second new process; the first fills the cache of compiled code, if it is empty."""
    command = [sys.executable, "-m", "kit.bench.start"]
    for _ in range(2):
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name, milliseconds in json.loads(printed).items():
        job = f"first call of {name} in a new process"
        yield Row(job, f"{milliseconds:.3g} ms", "the limit", f"{LIMIT:g} ms", LIMIT / milliseconds, 1.0)


if __name__ == "__main__":
    print(json.dumps(first_calls()))
