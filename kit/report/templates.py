"""The templates of the pages: jinja2 escapes every value, and a name that nobody gives is an error."""

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
import markupsafe


def template(name: str, filters: Mapping[str, Callable] | None = None) -> jinja2.Template:
    """A template of this folder, as report.html. filters: its own, by name."""
    return _compiled(name, tuple((filters or {}).items()))


def inline_script(name: str) -> dict[str, str]:
    """A script of this folder for a page that allows no other: "script", and "script_hash" for its policy."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return {"script": markupsafe.Markup(text), "script_hash": base64.b64encode(digest).decode()}


@functools.cache  # to compile report.html takes as long as to draw a small report
def _compiled(name: str, filters: tuple[tuple[str, Callable], ...]) -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= dict(filters)
    return environment.get_template(name)
