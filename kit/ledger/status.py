"""All runs in a folder: which folds are finished, running or stopped, the scores, and what to run next.

Only small files are read and locks looked at; nothing is imported that needs seconds. A fold is

    finished    trained, predicted and scored
    running     a process holds its lock
    stopped     begun, and no process is at work on it: the same command resumes it
    waiting     not begun
"""

import dataclasses
import importlib.util
import json
import math
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.ledger.recording import finished_of, planned_of, stale_of, tuned_of
from kit.ledger.table import with_ends
from kit.system.files import counted, is_locked
from kit.system.plain import plain
from kit.system.run_folder import name_of_predictions, read_json

RECENT = 3  # epochs whose mean time is that of the next ones
AVERAGED = "soup.json"  # of a run whose weights are averages of another one's
SIGNS = ("metrics.jsonl", "last.pt", "begun", "last.safetensors", "origin.json")


@dataclass(frozen=True)
class FoldStatus:
    """fold: its number, or "full0" of a full fit with seed 0. epoch: the last that is whole.

    seconds_left: of training, in a running fold, None before the first epoch is whole. seconds_since: the last change
    of a file, None where there is none.
    """

    fold: int | str
    state: str
    epoch: int = 0
    epochs: int | None = None
    seconds_left: float | None = None
    seconds_since: float | None = None


@dataclass(frozen=True)
class RunStatus:
    """score: {"name", "value", "low", "high"} of the finished folds, None before the first. next: a command, or "".

    stale: the run's CSVs that were written with another rule than that of now, as before it was tuned.
    score_folds: the folds of the score, where they are not those that are finished now; else ().
    """

    run: str
    folder: str
    folds: tuple[FoldStatus, ...]
    full: tuple[FoldStatus, ...]
    score: dict | None
    why: str
    next: str
    stale: tuple[str, ...] = ()
    score_folds: tuple[int, ...] = ()

    def plain(self) -> dict:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def run_folders(folder: Path) -> list[Path]:
    """The run folders in `folder`, also one level deeper, as runs/voc/32s; or `folder` itself where it is one."""
    if (folder / "config.json").is_file():
        return [folder]
    found = [*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]
    return sorted(path.parent for path in found if (path.parent / "folds.csv").is_file())


def status_of(folder: Path, now: float | None = None) -> RunStatus:
    """The status of a run folder. now: seconds since 1970. Raises ValueError naming a damaged file."""
    now = time.time() if now is None else now
    epochs = _epochs(folder)
    folds = [_fold_status(folder / f"fold{fold}", fold, epochs, now) for fold in range(planned_of(folder))]
    full = [_fold_status(path, path.name, epochs, now) for path in sorted(folder.glob("full*")) if path.is_dir()]
    stale = _stale(folder)
    why, command = _next(folder, folds, full, stale)
    names, parts, score = (folder.resolve().name, str(folder)), (tuple(folds), tuple(full)), _score(folder)
    return RunStatus(*names, *parts, score, why, command, stale, _other_folds(folder, folds))


def _stale(folder: Path) -> tuple[str, ...]:
    finished = finished_of(folder, read_json(folder / "predictor.json").get("recipe"))
    tuned = tuned_of(folder, name_of_predictions(finished)) if finished else None
    return tuple(f"{name}.csv" for name in stale_of(folder, tuned and tuned.get("rule")))


def _fold_status(folder: Path, fold: int | str, epochs: int | None, now: float) -> FoldStatus:
    lines = _lines(folder / "metrics.jsonl")
    done = int(lines[-1].get("epoch", 0)) if lines else 0
    changed = max((path.stat().st_mtime for name in SIGNS if (path := folder / name).exists()), default=None)
    since = None if changed is None else max(0.0, now - changed)
    if "key" in read_json(folder / "finished.json"):
        return FoldStatus(fold, "finished", done, epochs, None, since)
    if _is_held(folder):
        return FoldStatus(fold, "running", done, epochs, _left(lines, epochs, folder, now), since)
    return FoldStatus(fold, "waiting" if changed is None else "stopped", done, epochs, None, since)


def _is_held(folder: Path) -> bool:
    if not (folder / "lock").exists():
        return False
    try:
        return is_locked(folder)
    except OSError:  # a folder that cannot be written to: nobody trains there
        return False


def _lines(path: Path) -> list[dict]:
    """The lines of metrics.jsonl that are whole."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _left(lines: Sequence[dict], epochs: int | None, folder: Path, now: float) -> float | None:
    """The seconds until training ends, by the mean time of the last epochs."""
    if not lines or epochs is None:
        return None
    last = lines[-RECENT:]
    each = sum(line.get("seconds", 0) + line.get("val_seconds", 0) for line in last) / len(last)
    if not math.isfinite(each):
        return None
    since = now - (folder / "metrics.jsonl").stat().st_mtime
    return max(0.0, (epochs - int(lines[-1].get("epoch", 0))) * each - since)


def _epochs(folder: Path) -> int | None:
    """How many epochs a fold is trained."""
    text = read_json(folder / "settings.json").get("plan.epochs")
    text = text if text is not None else read_json(folder / "config.json").get("config", {}).get("epochs")
    return int(text) if str(text).isdecimal() else None


def _score(folder: Path) -> dict | None:
    """The score of the finished folds, of report.json: the competition's metric, else mean Dice."""
    report = read_json(folder / "report.json")
    metric, dice = report.get("metric"), report.get("pooled", {}).get("dice_mean")
    found = metric or (dice and {"name": "mean Dice over images", **dice})
    found = found or read_json(folder / AVERAGED).get("score")  # of averaged weights, which no recipe reports on
    return found and plain({name: found.get(name) for name in ("name", "value", "low", "high")})


def _other_folds(folder: Path, folds: Sequence[FoldStatus]) -> tuple[int, ...]:
    """The folds of report.json, where others are finished now; () where they are the same, and without a report."""
    reported = read_json(folder / "report.json").get("folds", {}).get("finished", ())
    return () if {*reported} == {one.fold for one in folds if one.state == "finished"} else tuple(reported)


def _next(
    folder: Path, folds: Sequence[FoldStatus], full: Sequence[FoldStatus], stale: Sequence[str]
) -> tuple[str, str]:
    """Why, and the command to run next."""
    of = {state: [one.fold for one in (*folds, *full) if one.state == state] for state in ("running", "stopped")}
    waiting = [one.fold for one in folds if one.state == "waiting"]
    if of["running"]:
        return f"{_named(of['running'])} {'is' if len(of['running']) == 1 else 'are'} at work", ""
    left = [fold for fold in of["stopped"] if isinstance(fold, int)] + waiting
    is_averaged = (folder / AVERAGED).is_file()  # no recipe trains there
    if left and not is_averaged:
        why = f"resumes {_named(of['stopped'])}" if of["stopped"] else f"trains {_named(waiting)}"
        return why, command_of(folder, left[0] if len(left) == 1 or of["stopped"] else "all")
    if of["stopped"]:
        return f"resumes {of['stopped'][0]}", command_of(folder, "full", str(of["stopped"][0]).removeprefix("full"))
    if not folds:
        return "", ""
    if (why := _untuned(folder)) and importlib.util.find_spec("kit.cli.tune"):
        return f"all folds are finished: {why}", f"python -m kit tune {shlex.quote(str(folder))}"
    if any("_fold" not in name for name in stale):
        return "all folds are finished: writes the CSV again, with the rule of now", command_of(folder, "all")
    if not full and not is_averaged and read_json(folder / "predictor.json").get("dialect"):
        return "all folds are finished: trains on all data", command_of(folder, "full")
    return "all folds are finished: which run to submit", "python -m kit ledger"


def _untuned(folder: Path) -> str:
    """What tuning would do; "" where rule.json was chosen on the predictions of now, whether it is used or not."""
    if not (folder / "rule.json").exists():
        return "chooses the threshold"
    now = name_of_predictions(finished_of(folder, read_json(folder / "predictor.json").get("recipe")))
    if read_json(folder / "rule.json").get("key") == now:
        return ""
    return "chooses the threshold again; rule.json is of other predictions than those of now"


def command_of(folder: Path, fold: int | str, seed: str | None = None) -> str:
    """The recipe's command, as it was last given, with another --fold (and --seed).

    Where the folder was copied or moved, its --run-dir is the folder of now.
    """
    config = read_json(folder / "config.json")
    words, known = shlex.split(config.get("command", "")), config.get("config", {}).get("run_dir")
    if known is not None and not _is_at(folder, Path(known)):
        words = _with_flag(words, "--run-dir", str(folder))
    words = _with_flag(words, "--fold", str(fold))
    if seed is not None:
        words = _with_flag(words, "--seed", seed)
    processes = config.get("versions", {}).get("processes", "1")
    if processes != "1":
        words = ["torchrun", "--nproc-per-node", processes, *words[1:]]
    return shlex.join(words)


def _is_at(folder: Path, known: Path) -> bool:
    """Whether a run folder is still where the command that made it says. known: its --run-dir.

    A relative one may be from another working directory: then the folder's last parts must be the same.
    """
    if known.resolve() == folder.resolve():
        return True
    if known.is_absolute() or (known / "config.json").is_file():  # the run is there or was there: this is a copy
        return False
    tail = tuple(part for part in Path(os.path.normpath(known)).parts if part != "..")
    return any(parts[len(parts) - len(tail) :] == tail for parts in (folder.absolute().parts, folder.resolve().parts))


def _with_flag(words: list[str], flag: str, value: str) -> list[str]:
    names = (flag, f"--{flag[2:].replace('-', '_')}")  # recipes read both spellings
    kept = [word for word in words if not word.startswith(tuple(f"{name}=" for name in names))]
    while (place := next((place for place, word in enumerate(kept) if word in names), None)) is not None:
        del kept[place : place + 2]
    return [*kept, flag, value]


def text_of(runs: Sequence[RunStatus]) -> str:
    """The text that `python -m kit status` prints."""
    return "\n\n".join(_run_text(run) for run in runs)


def _run_text(run: RunStatus) -> str:
    score = "no fold is scored yet"
    if found := run.score:
        score = f"{found['name']} {with_ends(found)}"
    if run.score_folds:
        score += f", of {_named(run.score_folds)}: report.json is of other folds than those that are finished now"
    done = sum(one.state == "finished" for one in run.folds)
    lines = [f"{run.folder}: {done} of {counted(len(run.folds), 'fold')} finished, {score}"]
    lines += [f"  {_fold_text(one)}" for one in (*run.folds, *run.full) if one.state in {"running", "stopped"}]
    waiting = [one.fold for one in run.folds if one.state == "waiting"]
    lines += [f"  {_named(waiting)}: not begun"] if waiting else []
    lines += [f"  {one.fold}: finished" for one in run.full if one.state == "finished"]
    if run.stale:
        lines.append(f"  written with another rule than that of now: {', '.join(run.stale)}")
    if run.why:
        lines.append(f"  next: {run.next}  ({run.why})" if run.next else f"  next: wait; {run.why}")
    return "\n".join(lines)


def _fold_text(one: FoldStatus) -> str:
    name = f"fold {one.fold}" if isinstance(one.fold, int) else str(one.fold)
    epochs = f"epoch {one.epoch} of {one.epochs}" if one.epochs else f"epoch {one.epoch}"
    if one.state == "stopped":
        return f"{name}: stopped after {epochs}, last at work {duration(one.seconds_since)} ago"
    if one.epochs and one.epoch >= one.epochs:
        return f"{name}: running, trained; it predicts the images held out"
    left = "" if one.seconds_left is None else f", {duration(one.seconds_left)} of training left"
    return f"{name}: running, {epochs} done{left}"


def _named(folds: Sequence[int | str]) -> str:
    numbers = [fold for fold in folds if isinstance(fold, int)]
    parts = [f"fold{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"] if numbers else []
    return ", ".join(parts + [str(fold) for fold in folds if not isinstance(fold, int)])


def duration(seconds: float | None) -> str:
    """A time span in the unit that fits."""
    if seconds is None:
        return "some time"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
