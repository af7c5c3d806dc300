"""audit.json of a run folder: whether it was audited, and leaks that somebody allows, with the reason.

The audit fails a run whose folds or test images hold copies of what is trained on. Where this is meant, as in a
competition whose own split has copies, the reason is kept here, and the report shows it.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset, data_key
from kit.folds.auditing import audit, describe, leak_error
from kit.system.files import counted, short_hash, write_atomic

NAME = "audit.json"
SHOWN = 3  # leaks in a note


def audit_once(folder: Path, dataset: Dataset, folds: np.ndarray, allowed: str = "") -> None:
    """Audit data and folds before training, unless audit.json says that these have been looked at.

    allowed: the reason why leaks are accepted; "" raises ValueError where there are any. audit.json is written first.
    """
    of = short_hash((data_key(dataset), dataset.test_fingerprint(), folds.tolist()))
    kept = _read(folder)
    if kept.get("of") != of:
        leaks = [describe(one) for one in audit(dataset, folds).fails]
        kept = {"of": of, "allowed": None, "leaks": leaks}
    kept["allowed"] = allowed or kept["allowed"]
    if kept != _read(folder):
        _write(folder, kept)
    if kept["leaks"] and not kept["allowed"]:
        raise leak_error(dataset.name, kept["leaks"])


def keep_reason(folder: Path, reason: str, leaks: Sequence[str]) -> Path:
    """Keep why these leaks, a line each, are allowed in `folder`. Returns the file's path."""
    check_reason(reason)
    kept = {}
    with contextlib.suppress(ValueError):
        kept = _read(folder)
    return _write(folder, {"of": kept.get("of"), "allowed": reason.strip(), "leaks": list(leaks)})


def check_reason(reason: str) -> None:
    """Raise ValueError for an empty reason."""
    if not reason.strip():
        raise ValueError("a leak is allowed for a reason: write it in words, for those who read the scores")


def leak_notes(folder: Path) -> list[str]:
    """A sentence for the report where leaks were allowed."""
    kept = _read(folder)
    if not kept.get("leaks") or not kept.get("allowed"):
        return []
    reason, leaks = kept["allowed"].rstrip("."), kept["leaks"]
    more = f"; and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
    shown = "; ".join(leaks[:SHOWN]) + more
    return [
        f"The audit found {counted(len(leaks), 'leak')}, so the scores may be too high. They were allowed. The reason "
        f"given: {reason}. Found: {shown}."
    ]


def _write(folder: Path, kept: dict) -> Path:
    path = Path(folder) / NAME
    write_atomic(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return path


def _read(folder: Path) -> dict:
    """The content of audit.json; {} without one. Raises ValueError where it is damaged."""
    path = Path(folder) / NAME
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {"of": kept.get("of"), "allowed": kept["allowed"], "leaks": [str(line) for line in kept["leaks"]]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run the audit again, or delete it") from error
