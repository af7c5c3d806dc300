"""The ledger's file: one fact a line, as JSON; lines are only ever added.

    ledger = Ledger(Path("runs/ledger.jsonl"))
    ledger.add([{"fact": "score", "csv": "mine.csv", "public": 0.9971}])    only what is not there yet
    ledger.facts()

Each line has a `key`, a hash of its content without the time: a fact that says what the last one of its subject said
(a run folder, a submission), as git's union merge brings it from two branches, counts once. A correction back to an
earlier value is a new fact. Several processes may add lines at once. A line that was cut short by a kill is
passed over, and the next one begins on a line of its own.
"""

import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import filelock

from kit.system.files import short_hash, write_atomic
from kit.system.plain import plain

NAME, PLACE = "ledger.jsonl", "KIT_LEDGER"
RUNS = "runs"  # the usual folder of run folders
WAIT = 60  # seconds for the lock: its holder reads and writes one small file
OF_THE_MOMENT = {"time", "key", "parent", "changed"}  # what a fact holds beside what it says


@dataclass(frozen=True)
class Ledger:
    """A ledger. The file is made when the first fact is added."""

    path: Path

    def facts(self) -> list[dict]:
        """All facts in the order of time. A line that is no JSON object, as one cut short, is passed over."""
        return _read(self.path.read_bytes()) if self.path.is_file() else []

    def add(self, facts: Iterable[dict]) -> list[dict]:
        """Add facts that say something new of their subject; return these. A fact without a time gets that of now."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=WAIT):
            content = self.path.read_bytes() if self.path.is_file() else b""
            last, new = {subject_of(fact): fact["key"] for fact in _read(content)}, []
            for fact in map(plain, facts):
                key, subject = key_of(fact), subject_of(fact)
                if last.get(subject) != key:
                    last[subject] = key
                    new.append({"time": now(), **fact, "key": key})
            lines = "".join(json.dumps(fact, allow_nan=False) + "\n" for fact in new).encode()
            if new:
                self._append(lines if content.endswith(b"\n") or not content else b"\n" + lines)
            if new and not content:
                _try_to_merge_by_union(self.path)
        return new

    def _append(self, lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def place_of(folder: Path) -> Path:
    """Where the runs of `folder`, a run folder, are recorded: $KIT_LEDGER, else ledger.jsonl beside the run folders.

    A run folder may lie one folder deeper, as runs/voc/32s: then the ledger lies in the folder named runs. Folders
    above the current one do not count.
    """
    if os.environ.get(PLACE):
        return Path(os.environ[PLACE])
    here, above = Path.cwd(), [*folder.absolute().parents][:2]
    inside = [parent for parent in above if parent == here or here in parent.parents] or above
    return next((parent for parent in inside if parent.name == RUNS), above[0]) / NAME


def ledger_of(folder: Path) -> Path:
    """The ledger of a folder that holds run folders: $KIT_LEDGER, else ledger.jsonl in it."""
    return Path(os.environ[PLACE]) if os.environ.get(PLACE) else folder / NAME


def key_of(fact: dict) -> str:
    """A hash of what a fact says."""
    return short_hash(json.dumps({k: v for k, v in fact.items() if k not in OF_THE_MOMENT}, sort_keys=True))


def subject_of(fact: dict) -> tuple:
    """What a fact is about. A later fact of the same subject takes the place of an earlier one."""
    kind = fact["fact"]
    if kind == "run":
        return kind, fact.get("folder", fact.get("run")), str(fact.get("csv"))
    if kind == "blend":
        return kind, fact.get("csv")
    if kind == "score" and fact.get("ref") is not None:
        return kind, fact["ref"]
    if kind == "score":
        boards = tuple(fact.get(board) is not None for board in ("public", "private"))
        return kind, fact.get("csv"), fact.get("run"), fact.get("date"), fact.get("source"), boards
    return (kind,)


def now() -> str:
    """The time, as UTC to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(content: bytes) -> list[dict]:
    found = []
    for line in content.splitlines():
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if isinstance(fact, dict) and {"fact", "key"} <= fact.keys():
            found.append(plain(fact))
    last, kept = {}, []
    for fact in sorted(found, key=lambda fact: str(fact.get("time", ""))):
        subject = subject_of(fact)
        if last.get(subject) != fact["key"]:
            last[subject] = fact["key"]
            kept.append(fact)
    return kept


def _try_to_merge_by_union(path: Path) -> None:
    try:
        merge_by_union(path)
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # the facts are in the ledger all the same
        print(f"note: git will not merge {path} by itself ({type(error).__name__}: {error})", file=sys.stderr)


def merge_by_union(path: Path) -> None:
    """In a git repository: let git merge the ledger of two branches by keeping the lines of both.

    Writes a line into .gitattributes beside the ledger. Does nothing where git ignores the ledger.
    """
    inside = any((parent / ".git").exists() for parent in path.absolute().parents)
    git = shutil.which("git") if inside else None
    if git is None:
        return
    ask = [git, "-C", str(path.parent), "check-ignore", "--quiet", path.name]
    if subprocess.run(ask, capture_output=True, check=False, timeout=WAIT).returncode == 0:
        return
    attributes, line = path.with_name(".gitattributes"), f"{path.name} merge=union"
    kept = attributes.read_text() if attributes.is_file() else ""
    if line not in kept.splitlines():
        write_atomic(attributes, kept + ("\n" if kept and not kept.endswith("\n") else "") + line + "\n")
