"""Python as text: values, calls and imports, in lines of at most 120 columns as ruff formats them."""

import re
import textwrap
from collections.abc import Sequence

WIDTH = 120


class Code(str):
    """Text that is Python already."""


def quoted(value: object) -> str:
    """Python's text of a value, with double quotes; text with a backslash is raw, as regular expressions are."""
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        if '"' in value or value.endswith("\\"):
            return repr(value)
        return f'r"{value}"' if "\\" in value else f'"{value}"'
    if isinstance(value, tuple):
        return f"({', '.join(map(quoted, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {quoted(one)}" for key, one in value.items()) + "}"
    return repr(value)


def call(front: str, parts: Sequence[str], end: str = ")", indent: str = "    ") -> str:
    """front + the parts with commas + end: in one line, else the parts in one line of their own, else a line each."""
    line = f"{indent}{front}{', '.join(parts)}{end}"
    if len(line) <= WIDTH:
        return line
    inner = f"{indent}    {', '.join(parts)}"
    if len(inner) <= WIDTH and "(" not in front[:-1].rpartition("=")[0]:
        return f"{indent}{front}\n{inner}\n{indent}{end}"
    return f"{indent}{front}\n" + "".join(f"{indent}    {part},\n" for part in parts) + f"{indent}{end}"


def argument(name: str, value: object, indent: str = "        ") -> str:
    """A line name=value, of an argument that stands on its own; a long tuple or mapping has a line for each part."""
    line = f"{indent}{name}={quoted(value)},"
    if len(line) <= WIDTH or not isinstance(value, tuple | dict):
        return line
    if isinstance(value, tuple):
        parts, ends = [quoted(one) for one in value], "()"
    else:
        parts, ends = [f"{quoted(key)}: {quoted(one)}" for key, one in value.items()], "{}"
    return f"{indent}{name}={ends[0]}\n" + "".join(f"{indent}    {part},\n" for part in parts) + f"{indent}{ends[1]},"


def imported(module: str, names: Sequence[str]) -> str:
    """An import, its names in the order of ruff: constants, classes, functions."""
    ordered = sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def wrapped(text: str, indent: str = "") -> str:
    """Text for a docstring, in lines that fit."""
    plain = re.sub(r"\s+", " ", text).replace("\\", "/").replace('"""', "'''")
    lines = textwrap.wrap(plain, WIDTH - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)
