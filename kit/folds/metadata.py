"""Twins by what is written about images: one moment of one camera, or rows of a table that are alike.

Shown are (1) images of two places whose EXIF names the same camera and a time at most SECONDS apart; (2) groups whose
rows in a CSV beside the images are the same in columns that would hardly agree by chance. The size of a file and the
times of the disk are not compared: files of equal size are many, and copying or unpacking sets the times.
"""

import contextlib
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kit.data.dataset import Dataset
from kit.data.formats import open_with_pillow
from kit.datasets.files import DataFolder
from kit.datasets.image_paths import folder_of, image_paths
from kit.datasets.reading import HEADER_BYTES
from kit.system.threads import ordered_map

SECONDS = 2  # between two photographs of one scene
MODEL, EXIF, TAKEN, SERIAL = 0x0110, 0x8769, 0x9003, 0xA431  # EXIF tags
LONGEST = 60  # characters of a cell: masks as run lengths are longer
LARGEST = 20_000_000  # bytes of a table
CHANCE = 0.05  # groups expected to share a row by chance, were the columns independent
MOST = 20  # twins that are shown


@dataclass(frozen=True)
class Rows:
    """Two groups or images that something written connects. what: the words; images: one of each."""

    first: str
    second: str
    what: str
    images: tuple[str, str]


def metadata_twins(dataset: Dataset, places: Mapping[str, str], groups: Mapping[str, str]) -> list[Rows]:
    """The twins, EXIF's first. places: of each image, where it stands; groups: of each training image."""
    data = folder_of(dataset)
    if data is None:
        return []
    return [*_same_moment(dataset, data, places), *_same_rows(data, groups)][:MOST]


def _same_moment(dataset: Dataset, data: DataFolder, places: Mapping[str, str]) -> list[Rows]:
    """Neighbours in time, of one camera, that stand in two places."""
    taken: dict[tuple[str, str], list[tuple[datetime, str]]] = {}
    for id, found in zip(places, ordered_map(lambda id: _exif(dataset, data, id), places, 4), strict=True):
        if found is not None:
            taken.setdefault(found[:2], []).append((found[2], id))
    twins = []
    for (model, _), moments in taken.items():
        moments.sort()
        for (before, one), (after, other) in itertools.pairwise(moments):
            seconds = (after - before).total_seconds()
            if seconds <= SECONDS and places[one] != places[other]:
                when = "in the same second" if seconds == 0 else f"{seconds:.0f} s apart"
                twins.append(Rows(one, other, f"EXIF: taken {when} by one {model}", (one, other)))
    return twins


def _exif(dataset: Dataset, data: DataFolder, id: str) -> tuple[str, str, datetime] | None:
    """Camera, its number and the time of an image; None where EXIF does not say both camera and time."""
    with contextlib.suppress(Exception):  # headers of many programs; the pixels are checked elsewhere
        path = image_paths(dataset, id)[0]
        if path.casefold().endswith((".jpg", ".jpeg", ".tif", ".tiff")):
            exif = open_with_pillow(data.read(path, HEADER_BYTES), path).getexif()
            own = exif.get_ifd(EXIF)
            model, taken = str(exif.get(MODEL, "")).strip("\0 "), str(own.get(TAKEN, ""))
            if model and taken:
                return model, str(own.get(SERIAL, "")), datetime.strptime(taken.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    return None


def _same_rows(data: DataFolder, groups: Mapping[str, str]) -> list[Rows]:
    """Groups with the same row in a CSV of the data's folder."""
    found = []
    for path in sorted(data.root.glob("*.csv")):
        with contextlib.suppress(OSError, UnicodeDecodeError, csv.Error):
            if path.stat().st_size <= LARGEST:
                text = path.read_text(encoding="utf-8-sig")
                found += _twins_in(path.name, [*csv.DictReader(io.StringIO(text, newline=""))], groups)
    return found


def _twins_in(name: str, rows: Sequence[dict], groups: Mapping[str, str]) -> list[Rows]:
    """The twins in one table; none where no column holds the ids or the groups."""
    images: dict[str, str] = {}
    for id, group in groups.items():
        images.setdefault(group, id)
    of_key = {**groups, **{group: group for group in images}}
    of_key |= {f"{id}{suffix}": group for id, group in groups.items() for suffix in (".jpg", ".png")}
    columns = [column for column in (rows[0] if rows else ()) if column is not None]
    keys = [column for column in columns if _share(rows, column, of_key) >= 0.9 * len(images)]
    if not keys or len(images) < 3:
        return []
    by_group: dict[str, tuple] = {}
    others = [column for column in columns if column != keys[0]]
    others = [column for column in others if all(len(str(row.get(column) or "")) <= LONGEST for row in rows)]
    for row in rows:
        if (group := of_key.get(str(row[keys[0]]))) is not None:
            by_group.setdefault(group, tuple(str(row.get(column) or "").strip() for column in others))
    return _alike(name, others, by_group, images)


def _share(rows: Sequence[dict], column: str, of_key: Mapping[str, str]) -> int:
    """How many groups a column names."""
    return len({of_key[str(row[column])] for row in rows if str(row[column]) in of_key})


def _alike(name: str, columns: list[str], rows: Mapping[str, tuple], images: Mapping[str, str]) -> list[Rows]:
    """Pairs of groups with one row, the least likely by chance first."""
    n, counts = len(rows), [Counter(values) for values in zip(*rows.values(), strict=True)]
    members: dict[tuple, list[str]] = {}
    for group, row in rows.items():
        members.setdefault(row, []).append(group)
    found = []
    for row, same in members.items():
        expected = n * float(_product(count[value] / n for count, value in zip(counts, row, strict=True)))
        if len(same) > 1 and expected <= CHANCE:
            what = ", ".join(f"{column} {value}" for column, value in zip(columns, row, strict=True) if value)
            found += [(expected, one, other, what) for one, other in itertools.pairwise(same)]
    return [Rows(a, b, f"{name}: {what[:120]}", (images[a], images[b])) for _, a, b, what in sorted(found)]


def _product(values: Iterable[float]) -> float:
    result = 1.0
    for value in values:
        result *= value
    return result
