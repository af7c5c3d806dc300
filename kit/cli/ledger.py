"""python -m kit ledger: every run with its score here and on the leaderboard, and what follows from them."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.ledger.facts import Ledger as File
from kit.ledger.facts import ledger_of
from kit.ledger.kaggle import read_submissions
from kit.ledger.recording import record
from kit.ledger.status import run_folders
from kit.ledger.table import text_of
from kit.ledger.view import CSV, view
from kit.system.files import counted
from kit.system.plain import plain


@dataclass(frozen=True)
class Ledger:
    """Show all runs with their scores here and on the leaderboard, whether these agree, and two final submissions.

    "kit ledger": the table; run folders that are not in the ledger are added first.

    "kit ledger score FILE.csv 0.9971 --public": note a score, of a CSV, a run folder, a run's name or id.

    "kit ledger kaggle COMPETITION": read all scores through Kaggle's client.

    "kit ledger public --share 0.3": state which share of the test images the public score is of.

    "kit ledger record RUN --parent RUN": add a run folder, and say which run it was made from.

    Recipes record their runs themselves when folds are finished. The ledger is a file of one JSON object a line to
    which lines are only added; it may lie in git.
    """

    action: Annotated[Literal["show", "score", "kaggle", "public", "record"], tyro.conf.Positional] = "show"
    what: Annotated[tuple[str, ...], tyro.conf.Positional] = ()  # see above
    runs: Path = Path("runs")  # the folder of the run folders
    ledger: Path | None = None  # its file; $KIT_LEDGER, else ledger.jsonl in --runs
    public: bool = False  # the score is of the public leaderboard
    private: bool = False  # the score is of the private leaderboard
    share: float | None = None  # of the test images behind the public score, above 0 and at most 1
    groups: float | None = None  # of images behind the public score (patients, cars), where you know it
    parent: str | None = None  # the run that this one was made from; else the one that differs least
    base: str | None = None  # the run that differences are taken to; else the first with a public score
    json: bool = False  # one JSON object, for programs

    def run(self) -> int:
        """Do the action; 1 if it could not be done."""
        actions: dict[str, Callable[[], dict]] = {
            "show": self._show,
            "score": self._score,
            "kaggle": self._kaggle,
            "public": self._public,
            "record": self._record,
        }
        try:
            done = actions[self.action]()
        except (ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}) if self.json else f"error: {error}")
            return 1
        text = done.pop("text")
        found = plain({"ledger": str(self._file.path), **done})
        print(json.dumps(found, allow_nan=False) if self.json else text)
        return 0

    @property
    def _file(self) -> File:
        return File(self.ledger or ledger_of(self.runs))

    def _show(self) -> dict:
        self._expect(0, "nothing more")
        problems = []
        for folder in run_folders(self.runs):
            try:
                record(folder, self._file)
            except (ValueError, OSError) as error:
                problems.append(f"{folder} could not be recorded: {error}")
        facts = self._file.facts()
        seen = view(facts, self.base and self._id(self.base, facts))
        seen["notes"] += problems
        return {**seen, "text": text_of(seen)}

    def _score(self) -> dict:
        name, score = self._expect(2, "a CSV or a run, and its score, as in: kit ledger score mine.csv 0.9971 --public")
        if self.public == self.private:
            raise ValueError("say which leaderboard the score is of: --public or --private")
        facts = self._file.facts()
        fact = {"fact": "score", "csv": None, "run": None, "public": None, "private": None, "source": "typed"}
        fact |= {"csv": Path(name).name} if CSV.search(name) else {"run": self._id(name, facts)}
        fact["public" if self.public else "private"] = number(score, "the score")
        new = self._file.add([fact])
        return {"added": len(new), "text": f"{'noted' if new else 'known already'}: {name} {score}"}

    def _kaggle(self) -> dict:
        (competition,) = self._expect(1, "the competition's name, as in its address: kaggle.com/competitions/NAME")
        found = read_submissions(competition)
        new = self._file.add(_of_kaggle(row) for row in reversed(found))
        scored = sum(row["publicScore"] is not None for row in found)
        text = f"{counted(len(found), 'submission')} at Kaggle, {scored} with a public score; {len(new)} new here"
        return {"submissions": len(found), "scored": scored, "added": len(new), "text": text}

    def _public(self) -> dict:
        self._expect(0, "--share or --groups, as in: kit ledger public --share 0.3")
        if self.share is None and self.groups is None:
            raise ValueError("state --share (of the test images, as 0.3), or --groups, or both")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"--share {self.share}: expected a share above 0 and at most 1, as 0.3 for 30 %")
        if self.groups is not None and not 1 <= self.groups < math.inf:
            raise ValueError(f"--groups {self.groups}: expected 1 or more")
        new = self._file.add([{"fact": "public", "share": self.share, "groups": self.groups}])
        return {"added": len(new), "text": "noted" if new else "known already"}

    def _record(self) -> dict:
        (name,) = self._expect(1, "a run folder")
        parent = self.parent and self._id(self.parent, self._file.facts())
        found = record(Path(name), self._file, parent=parent)
        text = f"recorded: {name}" if found else f"{name}: nothing new; it is recorded, or no fold is finished"
        return {"added": int(found is not None), "text": text}

    def _expect(self, count: int, what: str) -> tuple[str, ...]:
        if len(self.what) != count:
            raise ValueError(f"kit ledger {self.action} takes {what}; got {' '.join(self.what) or 'nothing'}")
        return self.what

    def _id(self, name: str, facts: list[dict]) -> str:
        """The id of a run that is named by its folder, its name or the first digits of its id. ValueError without."""
        runs = [fact for fact in facts if fact["fact"] == "run"]
        called = Path(name).name if Path(name).name else name
        own = [run for run in runs if run["run"] == called] or [run for run in runs if run["id"].startswith(name)]
        if not own:
            known = ", ".join(dict.fromkeys(run["run"] for run in runs)) or "none"
            raise ValueError(f"{self._file.path} has no run {name}. Known: {known}")
        return own[-1]["id"]


def number(text: str, what: str) -> float:
    """The number that a text holds. Raises ValueError."""
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{what} is a number as 0.9971, got {text!r}")
    return found


def _of_kaggle(row: dict) -> dict:
    """A row of Kaggle's client as a fact."""
    names = {"csv": "fileName", "ref": "ref", "date": "date", "description": "description", "status": "status"}
    texts = {name: None if row.get(theirs) is None else str(row[theirs]) for name, theirs in names.items()}
    scores = {"public": row["publicScore"], "private": row["privateScore"]}
    return {"fact": "score", "run": None, "source": "kaggle", **texts, **scores}
