"""Timing kit against others: interleaved rounds, medians, ratios, one table in Markdown."""

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kit.runs.provenance import versions


@dataclass(frozen=True)
class Contest:
    """One job, as kit does it and as others do, on the same input."""

    job: str
    kit: Callable[[], object]
    others: dict[str, Callable[[], object]]
    wanted: dict[str, float] = field(default_factory=dict)  # how many times as fast as these kit is to be
    agree: Callable[[object, object], bool] | None = None  # (kit's result, another's) -> are they the same?
    per: int = 1  # the job is so many of what it is called


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    job: str
    kit: str  # its time, rate or share
    against: str
    other: str
    ratio: float  # how many times as fast kit is, or as good
    wanted: float | None = None

    @property
    def met(self) -> bool:
        """Whether the ratio is what was wanted of it."""
        return self.wanted is None or self.ratio >= self.wanted


def contested(contests: Iterable[Contest], rounds: int = 15) -> Iterator[Row]:
    """Run the contests. Raises ValueError where kit's result is not that of another."""
    for contest in contests:
        jobs = {"kit": contest.kit, **contest.others}
        results = {name: job() for name, job in jobs.items()}  # the first call compiles, opens files, fills caches
        for name in contest.others:
            if contest.agree is not None and not contest.agree(results["kit"], results[name]):
                raise ValueError(f"{contest.job}: kit's result is not that of {name}")
        del results
        seconds = interleaved(jobs, rounds)
        own = statistics.median(seconds["kit"])
        for name in contest.others:
            ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["kit"], strict=True))
            other = statistics.median(seconds[name])
            own_text, other_text = (duration(one / contest.per) for one in (own, other))
            yield Row(contest.job, own_text, name, other_text, ratio, contest.wanted.get(name))


def interleaved(jobs: dict[str, Callable[[], object]], rounds: int, least: float = 0.01) -> dict[str, list[float]]:
    """Seconds a call of each job, in so many rounds in turn, each begun by another job.

    A round calls a job as often as takes `least` seconds, so that the clock's own time does not count.
    """
    calls = {name: max(1, int(least / _seconds(job, 1))) for name, job in jobs.items()}
    names, seconds = list(jobs), {name: [] for name in jobs}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(_seconds(jobs[name], calls[name]))
    return seconds


def _seconds(job: Callable[[], object], calls: int) -> float:
    clock = time.perf_counter()
    for _ in range(calls):
        job()
    return (time.perf_counter() - clock) / calls


def rate(job: Callable[[], int]) -> float:
    """Images a second; the job returns how many it did. What it leaves queued on a GPU is waited for."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()  # for what was queued before
    clock = time.perf_counter()
    done = job()
    wait()
    return done / (time.perf_counter() - clock)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    unit, size = next(((unit, size) for unit, size in (("s", 1), ("ms", 1e-3)) if seconds >= size), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}"


def table(found: Iterable[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| job | kit | against | it takes | ratio | wanted |", "|---|---|---|---|---|---|"]
    for row in found:
        wanted = "" if row.wanted is None else f"{row.wanted:g}{'' if row.met else ' (missed)'}"
        lines.append(f"| {row.job} | {row.kit} | {row.against} | {row.other} | {row.ratio:.3g} | {wanted} |")
    return "\n".join(lines)


def machine(device) -> str:
    """What the figures were measured on, in one line."""
    return f"{_processor()}; " + ", ".join(f"{name} {version}" for name, version in versions(device).items())


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())
