"""How the cost of prediction grows with the number of images: time and memory, as rows and as a plot."""

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from kit.bench.measure import Row
from kit.bench.prediction import measured

COUNTS = (100, 1000, 10_000)


def rows(scratch: Path, results: Path, counts: tuple[int, ...] = COUNTS) -> Iterator[Row]:
    """Predict so many images with a network that costs nothing, from JPEG to CSV, and draw growth.png."""
    found = [measured(scratch, count, asleep=0.0) for count in counts]
    each = [1000 * one["seconds"] / count for one, count in zip(found, counts, strict=True)]
    _draw(results / "growth.png", counts, [one["seconds"] for one in found], [one["peak"] for one in found])
    for column, unit, values in (
        ("time an image", "ms", each),
        ("peak memory", "MiB", [one["peak"] for one in found]),
    ):
        job = f"{column}, {counts[-1]:,} images"
        texts = [f"{value:.4g} {unit}" for value in (values[-1], values[-2])]
        yield Row(job, texts[0], f"{counts[-2]:,} images", texts[1], values[-2] / values[-1], 1 / 1.1)


def _draw(path: Path, counts: tuple[int, ...], seconds: list[float], peaks: list[float]) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    time, memory = figure.subplots(1, 2)
    time.loglog(counts, seconds, marker="o")
    time.loglog(
        counts, [seconds[0] * count / counts[0] for count in counts], ls=":", color="grey", label="in proportion"
    )
    time.set(xlabel="images", ylabel="seconds")
    time.legend()
    memory.semilogx(counts, peaks, marker="o")
    memory.set(xlabel="images", ylabel="peak memory, MiB", ylim=(0, None))
    figure.savefig(path, dpi=150)
