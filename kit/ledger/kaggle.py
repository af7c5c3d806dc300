"""Public scores read through Kaggle's own client, `kaggle competitions submissions`, which is called as a program.

The client authenticates when it is imported, so it is not imported. It shows the newest submissions, in pages: where
it names a token for the next page ("Next Page Token = …"), that page is asked for, until one is empty. Versions up to
2.2.5 name none for submissions; they show up to 200 at once. Scores are texts or null.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable

PAGE = 200  # submissions asked for at once
TRIES, FIRST_WAIT, SECONDS = 5, 2.0, 120  # of an answer 429; seconds before the second one; of one call
TOKEN = re.compile(r"^Next Page Token = (\S+)\s*$", re.MULTILINE)
BUSY = re.compile(r"\b429\b|too many requests|rate limit", re.IGNORECASE)
ADVICE = "https://www.kaggle.com/docs/api says how to log in; `kaggle competitions list` tries it"


def read_submissions(competition: str, wait: Callable[[float], None] = time.sleep) -> list[dict]:
    """All submissions that the client shows, newest first: ref, fileName, date, description, status, the scores.

    publicScore and privateScore are numbers or None. wait: sleeps for so many seconds before a further try.
    Raises FileNotFoundError without the client, ValueError with its words where it fails.
    """
    program = shutil.which("kaggle")
    if program is None:
        raise FileNotFoundError(
            "Kaggle's client is not installed: no program `kaggle` on the PATH. `pip install kaggle`, log in, and try "
            "again; or type the score: python -m kit ledger score FILE.csv 0.123 --public"
        )
    found, token, tokens = [], None, set()
    while token not in tokens:
        tokens.add(token)
        command = [program, "competitions", "submissions", competition, "--format", "json", "--page-size", str(PAGE)]
        text = _ask([*command, *(["--page-token", token] if token else [])], wait)
        rows = _rows(text)
        known = {row.get("ref") for row in found}
        found += [row for row in rows if row.get("ref") is None or row.get("ref") not in known]
        token = name[1] if rows and (name := TOKEN.search(text)) else None
        if token is None:
            break
    return [{**row, **{name: _number(row.get(name)) for name in ("publicScore", "privateScore")}} for row in found]


def _ask(command: list[str], wait: Callable[[float], None]) -> str:
    """What the client prints. Asked again, after twice the time each, while Kaggle answers 429."""
    for attempt in range(TRIES):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ValueError(f"Kaggle's client gave no answer in {SECONDS} seconds. Try again later") from None
        said = f"{done.stderr}\n{done.stdout}".strip()
        if done.returncode == 0 and not (BUSY.search(done.stderr) and "[" not in done.stdout):
            return done.stdout
        if not BUSY.search(said):
            raise ValueError(_failure(said, done.returncode))
        if attempt + 1 < TRIES:
            wait(FIRST_WAIT * 2**attempt)
    raise ValueError(f"Kaggle refused {TRIES} calls in a row (429, too many requests). Try again in some minutes")


def _failure(said: str, code: int) -> str:
    if "unrecognized arguments" in said or "invalid choice" in said:
        return f"Kaggle's client is too old: 2.2.3 or newer is needed (pip install -U kaggle). It said: {said[-300:]}"
    return f"Kaggle's client failed (exit {code}): {said[-500:] or 'it said nothing'}\n{ADVICE}"


def _rows(text: str) -> list[dict]:
    """The rows of a page: a JSON list, perhaps below lines of text; none where the client says that there are none."""
    start = re.search(r"^\[", text, re.MULTILINE)
    if start is None:
        if "no submissions found" in text.lower() or not TOKEN.sub("", text).strip():
            return []
        raise ValueError(f"Kaggle's client printed no JSON: {text.strip()[:300]}")
    try:
        rows, _ = json.JSONDecoder().raw_decode(text, start.start())
    except ValueError as error:
        raise ValueError(f"Kaggle's client printed JSON that cannot be read ({error})") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"Kaggle's client printed other JSON than a list of submissions: {text.strip()[:300]}")
    return rows


def _number(value: object) -> float | None:
    """A score as a number; None for null, an empty text or anything else that is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
