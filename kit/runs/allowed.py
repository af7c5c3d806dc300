"""audit.json of a run folder: whether it was audited, and leaks that somebody allows, with the reason.

The audit fails a run whose folds or test images hold copies of what is trained on. Where this is meant, as in a
competition whose own split has copies, the reason is kept here, and the report shows it.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.folds.auditing import audit, describe, leak_error
from kit.submission.competition import fingerprint_of_tests
from kit.system.files import counted, short_hash, write_atomic
from kit.system.run_folder import AUDIT, unexplained

SHOWN = 3  # leaks in a note


def audit_once(folder: Path, dataset: Dataset, folds: np.ndarray, data: Mapping[str, str], allowed: str = "") -> None:
    """Audit data and folds before training, unless audit.json says that these have been looked at.

    data: what names the content of all training images, as kit.data.check.data_identity does. allowed: the reason why
    leaks are accepted. Raises ValueError where there are leaks that neither it nor an earlier reason is about.
    audit.json is written first.
    """
    tests = fingerprint_of_tests(dataset, list(getattr(dataset, "test_ids", ())))
    of = short_hash((sorted(data.items()), tests, folds.tolist()))
    before = _read(folder)
    kept = {"allowed": None, "covers": [], **before}
    if kept.get("of") != of:
        found = audit(dataset, folds)
        for note in found.notes:
            print(f"note: {note}", flush=True)
        kept |= {"of": of, "leaks": [describe(one) for one in found.fails]}
    if allowed:
        kept |= {"allowed": allowed, "covers": kept["leaks"]}
    if kept != before:
        _write(folder, kept)
    if unexplained(kept):
        raise ValueError(
            f"{leak_error(dataset.name, kept['leaks'])}\nWhere all of them are meant, "
            'open_run(…, audit="the reason, in words") allows them, and the report shows the reason'
        )


def keep_reason(folder: Path, reason: str, leaks: Sequence[str]) -> Path:
    """Keep why these leaks, a line each, are allowed in `folder`. Returns the file's path."""
    check_reason(reason)
    kept = {}
    with contextlib.suppress(ValueError):
        kept = _read(folder)
    found = list(leaks)
    return _write(folder, {"of": kept.get("of"), "allowed": reason.strip(), "leaks": found, "covers": found})


def keep_leaks(folder: Path, leaks: Sequence[str]) -> None:
    """Remember in `folder` what an audit of its folds found, also that it found nothing. An earlier reason stays.

    leaks: a line each. The report, a comparison and the ledger then say that the run leaks.
    """
    kept = {"of": None, "allowed": None, "leaks": [], "covers": []}
    with contextlib.suppress(ValueError):
        kept |= _read(folder)
    if kept["leaks"] != list(leaks):
        _write(folder, kept | {"of": None, "leaks": list(leaks)})


def check_reason(reason: str) -> None:
    """Raise ValueError for an empty reason."""
    if not reason.strip():
        raise ValueError("a leak is allowed for a reason: write it in words, for those who read the scores")


def leak_notes(folder: Path) -> list[str]:
    """A sentence for the report where an audit found leaks, allowed or not."""
    kept = _read(folder)
    if not kept.get("leaks"):
        return []
    leaks = kept["leaks"]
    more = f"; and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    shown = "; ".join(leaks[:SHOWN]) + more
    said = "Nobody has given a reason to allow them."
    if not unexplained(kept):
        said = f"They were allowed. The reason given: {kept['allowed'].rstrip('.')}."
    return [f"The audit found {counted(len(leaks), 'leak')}, so the scores may be too high. {said} Found: {shown}."]


def _write(folder: Path, kept: dict) -> Path:
    path = Path(folder) / AUDIT
    write_atomic(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return path


def _read(folder: Path) -> dict:
    """The content of audit.json; {} without one. Raises ValueError where it is damaged."""
    path = Path(folder) / AUDIT
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        allowed, leaks = kept["allowed"], [str(line) for line in kept["leaks"]]
        covers = [str(line) for line in kept.get("covers", leaks if allowed else [])]
        return {"of": kept.get("of"), "allowed": allowed, "leaks": leaks, "covers": covers}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run the audit again, or delete it") from error
