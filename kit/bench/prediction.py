"""Prediction with a network that only sleeps: what everything around the network costs.

python -m kit.bench.prediction FOLDER COUNT SECONDS     one measurement in a process of its own, as a line of JSON
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kit.bench.cars import LOW, Cars, car_logits, competition
from kit.bench.measure import Row
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches
from kit.prediction import Frame, Predictor
from kit.prediction.predictor import images_at_once
from kit.runs.submit import encode_levels
from kit.submission.lint import lint
from kit.submission.rows import RowParts, rows_in_order
from kit.submission.tables import write

ASLEEP = 0.005  # seconds an image
THREADS = 2
GPU = torch.device("cuda")  # a network that sleeps stands for one: batches are as large as there


class Sleeper(nn.Module):
    """A network that takes `seconds` an image and no processor, and always finds the same car."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.logits = seconds, torch.from_numpy(car_logits())

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, 512, 512) -> logits (N, 1, 512, 512)."""
        time.sleep(self.seconds * len(images))
        return self.logits.expand(len(images), 1, *LOW)


def predict_to_csv(cars: Cars, predictor: Predictor, folder: Path, threads: int = THREADS) -> Path:
    """Predict every image from its JPEG to its row of the CSV, as kit.runs.submit does it on a GPU; the CSV's path."""
    dialect, resizing = competition(cars).dialect, predictor.frame.resizing
    count, pin = images_at_once(predictor.tta, resizing.size, GPU), predictor.device.type != "cpu"
    batches = ImageBatches(cars, cars.test_ids, resizing, count, threads, pin)

    def cells(id: str, full: tuple[int, int], levels: np.ndarray) -> tuple[str, list]:
        return id, dialect.cells(id, encode_levels(levels, full, dialect.order))

    with RowParts(folder / "rows", rank=0) as kept:
        for id, rows in predictor.stream_batches(batches, cells, ahead=True):
            kept.add(id, rows)
    path = folder / "submission.csv"
    write(rows_in_order(folder / "rows", cars.test_ids, dialect), path, dialect)
    return path


def frame(size: tuple[int, int] = LOW) -> Frame:
    """Images at `size`."""
    return Frame(Resizing(size), normalise=IMAGENET)


def measured(folder: Path, count: int, asleep: float = ASLEEP) -> dict[str, float]:
    """Seconds and peak memory (MiB) of predicting so many images, in a process of its own."""
    command = [sys.executable, "-m", "kit.bench.prediction", str(folder), str(count), str(asleep)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def rows(scratch: Path, results: Path, count: int = 2000) -> Iterator[Row]:
    """The rate against the network's own, and memory against that of a tenth of the images."""
    few, many = measured(scratch, count // 10), measured(scratch, count)
    rate, limit = count / many["seconds"], 1 / ASLEEP
    job = f"prediction with a network of {1000 * ASLEEP:g} ms, 1918×1280 JPEG to CSV row"
    yield Row(job, f"{rate:.0f}/s", "the network alone", f"{limit:.0f}/s", rate / limit, 0.85)
    memory = f"peak memory of predicting {count} images"
    texts = [f"{one['peak']:.0f} MiB" for one in (many, few)]
    yield Row(memory, texts[0], f"{count // 10} images", texts[1], few["peak"] / many["peak"], 1 / 1.1)


def _main(folder: Path, count: int, asleep: float) -> None:
    torch.set_num_threads(1)  # the other cores decode
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        predict_to_csv(Cars(folder / "cars", 16), Predictor([Sleeper(0.0)], frame()), Path(scratch, "warm"))
        cars, clock = Cars(folder / "cars", count), time.perf_counter()
        path = predict_to_csv(cars, Predictor([Sleeper(asleep)], frame()), Path(scratch, "run"))
        seconds = time.perf_counter() - clock
        if problems := lint(path, competition(cars)):
            raise ValueError("\n".join(map(str, problems)))
    print(json.dumps({"seconds": seconds, "peak": _peak()}))


def _peak() -> float:
    """The most memory that this process has held, MiB. Not from getrusage: there a child begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
