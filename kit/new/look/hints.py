"""A pattern that would match, for one that does not: {id} where there should be a wildcard, or the other way about."""

from collections.abc import Iterator, Sequence

from kit.datasets.patterns import WILDCARD, Pattern


def hint(text: str, paths: Sequence[str]) -> str:
    """What a pattern without files may have meant, as an end for a message; "" where no likely one has files."""
    for other in _variants(text):
        if count := sum(Pattern(other).match(path) is not None for path in paths):
            return (
                f". Did you mean {other!r}, which {count:,} match? {{id}} stands for one text at each place, * for any"
            )
    return ""


def _variants(text: str) -> Iterator[str]:
    """Likely patterns beside this one: fewer {id}, more folders, any suffix, other capital letters of the suffix."""
    places = list(WILDCARD.finditer(text))
    ids = [found for found in places if found[0] == "{id}"]
    if len(ids) > 1:  # {id}/images/{id}.png, where the file has another name than the folder
        for kept in ids:
            yield _replaced(text, [found for found in ids if found is not kept], "*")
    if ids:
        yield _replaced(text, ids, "*")
        yield _replaced(text, ids, "**/*")
    folder, slash, name = text.rpartition("/")
    yield f"**/{name}"
    yield f"{folder}{slash}**/{name}"
    if "." in name:
        yield f"{folder}{slash}{name.rpartition('.')[0]}.*"


def _replaced(text: str, places: Sequence, by: str) -> str:
    for found in reversed(places):
        text = text[: found.start()] + by + text[found.end() :]
    return text
