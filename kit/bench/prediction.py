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

from kit.bench.cars import LOW, Cars, car_logits
from kit.bench.measure import Row
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches
from kit.prediction.predictor import TTA, pictures_at_once, predict, rle_at
from kit.submission import Dialect, RowParts, errors_of, lint, rows_in_order, write
from kit.system.files import raise_all
from kit.training.loop import best_dtype

ASLEEP = 0.005  # seconds a picture
THREADS = 2
SINGLE = TTA()
GPU = torch.device("cuda")  # which a network that sleeps stands for: batches are as large as there


class Sleeper(nn.Module):
    """A network that takes `seconds` a picture and no processor, and always finds the same car."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.logits = seconds, torch.from_numpy(car_logits())

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, 512, 512) -> logits (N, 1, 512, 512)."""
        time.sleep(self.seconds * len(images))
        return self.logits.expand(len(images), 1, *LOW)


def predict_to_csv(
    cars: Cars,
    network: nn.Module,
    folder: Path,
    size: tuple[int, int] = LOW,
    tta: TTA = SINGLE,
    device: str = "cpu",
    threads: int = THREADS,
) -> int:
    """Every picture from its JPEG to its row of the CSV, as kit.runs.submit does it on a GPU; the number of rows."""
    on = torch.device(device)
    dtype = torch.float32 if device == "cpu" else best_dtype(on)
    batches = ImageBatches(
        cars, cars.test_ids, Resizing(size), pictures_at_once(tta, size, GPU), threads, device != "cpu"
    )

    def row(id: str, full: tuple[int, int], levels: np.ndarray) -> tuple[str, str]:
        return cars.csv_name(id), rle_at(levels, full, cars.order)

    dialect = Dialect(order=cars.order)
    with RowParts(folder / "rows", rank=0) as kept:
        for name, rle in predict([network], batches, tta, on, dtype, row, ahead=True):
            kept.add(name, dialect.cells(name, [(1, rle)]))
    names = [cars.csv_name(id) for id in cars.test_ids]
    return write(rows_in_order(folder / "rows", names, dialect), folder / "submission.csv", dialect)


def measured(folder: Path, count: int, asleep: float = ASLEEP) -> dict[str, float]:
    """Seconds and peak memory (MiB) of predicting so many pictures, in a process of its own."""
    command = [sys.executable, "-m", "kit.bench.prediction", str(folder), str(count), str(asleep)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def rows(scratch: Path, results: Path, count: int = 2000) -> Iterator[Row]:
    """The rate against the network's own, and memory against that of a tenth of the pictures."""
    few, many = measured(scratch, count // 10), measured(scratch, count)
    rate, limit = count / many["seconds"], 1 / ASLEEP
    job = f"prediction with a network of {1000 * ASLEEP:g} ms, 1918×1280 JPEG to CSV row"
    yield Row(job, f"{rate:.0f}/s", "the network alone", f"{limit:.0f}/s", rate / limit, 0.85)
    memory = f"peak memory of predicting {count} pictures"
    texts = [f"{one['peak']:.0f} MiB" for one in (many, few)]
    yield Row(memory, texts[0], f"{count // 10} pictures", texts[1], few["peak"] / many["peak"], 1 / 1.1)


def _main(folder: Path, count: int, asleep: float) -> None:
    torch.set_num_threads(1)  # the other cores decode
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        predict_to_csv(Cars(folder / "cars", 16), Sleeper(0.0), Path(scratch, "warm"))
        cars, clock = Cars(folder / "cars", count), time.perf_counter()
        predict_to_csv(cars, Sleeper(asleep), Path(scratch, "run"))
        seconds = time.perf_counter() - clock
        problems = lint(Path(scratch, "run/submission.csv"), Dialect(order=cars.order), shapes=cars.shape)
        raise_all(errors_of(problems), "problems in the CSV")
    print(json.dumps({"seconds": seconds, "peak": _peak()}))


def _peak() -> float:
    """The most memory that this process has held, MiB. Not from getrusage: there a child begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
