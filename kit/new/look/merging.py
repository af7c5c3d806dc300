"""One pattern for the images of several parts, as train/ and val/, and one for their masks."""

import os
import re
from collections.abc import Callable, Sequence

from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.look.pairing import Pairing

Join = Callable[[list[str]], str]


def merged(pairings: Sequence[Pairing], paths: Sequence[str]) -> tuple[str, str] | None:
    """The patterns of all images and of all masks, as */*.jpg and *annot/*.png; None where there are none.

    Where * would match further files, the parts are named: {train,val}/*.jpg and {train,val}annot/*.png.
    paths: of all image files.
    """
    if not all(pair.at is None for pair in pairings):
        return None
    for join in (_with_star, _with_words, _within_words):
        images = _joined([pair.images.pattern for pair in pairings], join)
        masks = _joined([pair.masks.pattern for pair in pairings], join)
        if images and masks and _fit(Pattern(images), Pattern(masks), pairings, paths):
            return images, masks
    return None


def _fit(images: Pattern, masks: Pattern, pairings: Sequence[Pairing], paths: Sequence[str]) -> bool:
    """Whether the patterns match the files of these pairs and no others, and pair them by their wildcards."""
    masked = {path for path in paths if masks.match(path)}
    if masked != {path for pair in pairings for path in pair.masks.paths}:
        return False
    if {path for path in paths if images.match(path)} - masked != {p for pair in pairings for p in pair.images.paths}:
        return False
    return all(
        images.match(image).groups() == masks.match(own[0]).groups()
        for pair in pairings
        for image, own in pair.shared.items()
    )


def _joined(patterns: Sequence[str], join: Join) -> str | None:
    """The patterns as one, joined where their parts differ; None where they have other numbers of parts."""
    split = [pattern.split("/") for pattern in patterns]
    if len({len(parts) for parts in split}) > 1:
        return None
    differing = [list(dict.fromkeys(parts)) for parts in zip(*split, strict=True)]
    joined = "/".join(parts[0] if len(parts) == 1 else join(parts) for parts in differing)
    return joined if all(map(_is_plain, re.findall(r"\{([^}]*,[^}]*)\}", joined))) else None


def _is_plain(text: str) -> bool:
    return WILDCARD.search(text) is None and "{" not in text


def _with_star(parts: list[str]) -> str:
    front, back = _ends(parts)
    return f"{front}*{back}".replace("**", "*")


def _with_words(parts: list[str]) -> str:
    """{train,test}annot: whole words, although they begin alike."""
    front, back = _ends(parts)
    return _braced(parts, re.sub(r"[^\W_]+\Z", "", front), back)


def _within_words(parts: list[str]) -> str:
    """images{Tr,Val}: also within a word."""
    return _braced(parts, *_ends(parts))


def _braced(parts: list[str], front: str, back: str) -> str:
    return f"{front}{{{','.join(part[len(front) : len(part) - len(back)] for part in parts)}}}{back}"


def _ends(parts: list[str]) -> tuple[str, str]:
    """The text with which all parts begin, and that with which they end."""
    front = os.path.commonprefix(parts)  # noqa: RUF071 (letters are meant, not folders)
    return front, os.path.commonprefix([part[len(front) :][::-1] for part in parts])[::-1]  # noqa: RUF071
