"""Names of classes in a JSON or text file beside the data: {"1": "liver"}, or lines such as "1: liver"."""

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.datasets.patterns import suffix_of

LARGEST = 100_000  # bytes of a file that is read
TELLING = re.compile(r"class|label|legend|categor|colou?r|name|palette|map", re.IGNORECASE)  # in a file's name
SUFFIXES = ("json", "txt")
OTHERS = ("yaml", "yml", "xml", "xlsx", "md", "pdf")  # which may say it too, and are not read
VALUE = r"\d+(?:[ ,;]+\d+[ ,;]+\d+)?"  # a number, or a colour
LINE = re.compile(rf"(?P<key>{VALUE})[\s:=,;]+(?P<name>[^\d\s].*)|(?P<front>.*?[^\d\s:=,;])[\s:=,;]+(?P<end>{VALUE})")
IDS = ("id", "value", "index", "label_id", "class_id", "color", "colour", "pixel")
NAMES = ("name", "label", "class", "title")


class Legend(NamedTuple):
    """A file that names classes. names: by value, or by colour (red, green, blue). listed: names alone, in order."""

    path: str
    names: dict[object, str]
    listed: tuple[str, ...] = ()

    def of(self, used: list) -> dict[object, str] | None:
        """The name of each of the values; a 0 or black without one is the background. None where one has no name."""
        names = self.names or self._by_place(used)
        found = {value: names.get(value, "background" if value in (0, (0, 0, 0)) else None) for value in used}
        return None if None in found.values() or len({*found.values()}) < len(found) else found

    def _by_place(self, used: list) -> dict[object, str]:
        """Names by their place: from 0, or from 1 where there are as many as values without the 0."""
        if used == list(range(len(self.listed))):
            return dict(enumerate(self.listed))
        return dict(enumerate(self.listed, start=1)) if used == list(range(len(self.listed) + 1)) else {}


def read_legends(data: DataFolder, paths: Iterable[str]) -> list[Legend]:
    """The legends among the files."""
    found = []
    for path in paths:
        if suffix_of(path) in SUFFIXES and (content := _read(data, path)):
            names = _of_json(content) if suffix_of(path) == "json" else _of_lines(content)
            is_listed = isinstance(names, list) and TELLING.search(path.rpartition("/")[2]) is not None
            if names and (is_listed or isinstance(names, dict)):
                found.append(Legend(path, {}, tuple(names)) if is_listed else Legend(path, names))
    return found


def not_read(paths: Iterable[str], legends: Iterable[Legend]) -> list[str]:
    """Files that may say what the classes are, by their names, and that are no legend."""
    known = {one.path for one in legends}
    likely = [path for path in paths if suffix_of(path) in (*SUFFIXES, *OTHERS) and path not in known]
    return [path for path in likely if path.count("/") < 2 and TELLING.search(path.rpartition("/")[2])]


def _read(data: DataFolder, path: str) -> str:
    try:
        content = data.read(path)
        return content.decode() if len(content) <= LARGEST else ""
    except (ValueError, OSError):  # not UTF-8, or in a damaged zip
        return ""


def _of_json(content: str) -> dict[object, str] | list[str]:
    try:
        return _names_in(json.loads(content))
    except (ValueError, RecursionError):
        return {}


def _names_in(facts: object) -> dict[object, str] | list[str]:
    """Names by value, or a list of names, in what a JSON file holds: at its top or one key below."""
    if isinstance(facts, list):
        if facts and all(isinstance(one, str) for one in facts):
            return [nfc(one) for one in facts]
        return _whole([_of_fields(one) for one in facts if isinstance(one, dict)], len(facts))
    if not isinstance(facts, dict) or not facts:
        return {}
    if names := _whole([_pair(key, value) for key, value in facts.items()], len(facts)):
        return names
    return next(filter(None, (_names_in(one) for one in facts.values() if isinstance(one, list | dict))), {})


def _of_fields(facts: dict) -> tuple[object, str] | None:
    """The value and the name of {"id": 1, "name": "liver"}."""
    own = {str(key).casefold(): value for key, value in facts.items()}
    name = next((own[key] for key in NAMES if isinstance(own.get(key), str)), None)
    value = next((own[key] for key in IDS if _value(own.get(key)) is not None), None)
    return None if name is None or value is None else _pair(value, name)


def _pair(one: object, other: object) -> tuple[object, str] | None:
    """A value and a name, in either order."""
    for value, name in ((one, other), (other, one)):
        if (number := _value(value)) is not None and isinstance(name, str) and _value(name) is None:
            return number, nfc(name.strip())
    return None


def _value(text: object) -> object:
    """A number from 0, or a colour of three; None for anything else."""
    if isinstance(text, list) and len(text) == 3 and all(type(part) is int for part in text):
        return tuple(text)
    if type(text) is int and text >= 0:
        return text
    numbers = re.fullmatch(r"[\[( ]*(\d+)(?:[ ,;]+(\d+)[ ,;]+(\d+))?[\]) ]*", text) if isinstance(text, str) else None
    if numbers is None:
        return None
    return int(numbers[1]) if numbers[2] is None else tuple(map(int, numbers.groups()))


def _of_lines(content: str) -> dict[object, str] | list[str]:
    """Names of a text file: of lines with a value and a name, else its lines."""
    lines = [line.strip() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = [LINE.fullmatch(line) for line in lines]
    if lines and all(pairs):
        return _whole([_pair(one["key"] or one["end"], one["name"] or one["front"]) for one in pairs], len(lines))
    return [nfc(line) for line in lines] if not any(map(_value, lines)) else {}


def _whole(pairs: list, count: int) -> dict[object, str]:
    """The pairs as a mapping; {} where one is lacking, or a value comes twice."""
    names = dict(pair for pair in pairs if pair is not None)
    return names if count > 0 and len(names) == count else {}
