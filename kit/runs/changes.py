"""What has changed since a run folder began, in words: which images and masks, which version of kit.

runs/<run>/contents.csv    id,image,mask: a CRC-32 of each as read; beside config.json
"""

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kit.system.files import list_some, write_atomic

CONTENTS = "contents.csv"
SHOWN = 10  # ids in a message


def write_contents(folder: Path, ids: Sequence[str], contents: Sequence[str]) -> None:
    """Write contents.csv. contents: of each id the checksums "image mask"; empty where they are unknown."""
    if contents:
        rows = [(id, *content.split()) for id, content in zip(ids, contents, strict=True)]
        write_atomic(folder / CONTENTS, pd.DataFrame(rows, columns=["id", "image", "mask"]).to_csv(index=False))


def changed_contents(folder: Path, ids: Sequence[str], contents: Sequence[str]) -> str:
    """The images and masks that now read differently, as lines; "" where there is none or nothing was kept."""
    try:
        table = pd.read_csv(io.StringIO((folder / CONTENTS).read_text()), dtype=str, keep_default_na=False)
        then = dict(zip(table["id"], table["image"] + " " + table["mask"], strict=True))
    except (OSError, ValueError, KeyError):  # of an earlier version, or damaged
        return ""
    changed = [
        f"{id}: the {_which(then[id], content)}"
        for id, content in zip(ids, contents, strict=False)
        if then.get(id, content) != content
    ]
    return f"\nnow read differently:{list_some(changed, SHOWN)}" if changed else ""


def _which(then: str, now: str) -> str:
    """Which of image and mask differ between two texts "image mask"."""
    pairs = zip(("image", "mask"), then.split(), now.split(), strict=True)
    return " and the ".join(name for name, one, other in pairs if one != other)


def changed_kit(then: dict[str, str], now: dict[str, str]) -> str:
    """A sentence on another version of kit; "" where it is the same or unknown.

    then, now: the versions that kit.runs.provenance gives.
    """
    names = [name for name in ("kit", "commit") if "unknown" not in (then.get(name, "unknown"), now[name])]
    if all(then[name] == now[name] for name in names):
        return ""
    earlier, present = (" of commit ".join(one[name] for name in names) for one in (then, now))
    return (
        f"\nThe run began with kit {earlier}, and this is kit {present}: a difference that is none of yours may be one "
        "of kit. The earlier kit continues the run"
    )
