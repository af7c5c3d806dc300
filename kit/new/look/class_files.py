"""Masks of which each class has a file: masks/7_liver.png and masks/7_spleen.png, or liver/7.png and spleen/7.png."""

import os
import re
from collections.abc import Callable, Sequence

from kit.datasets.pairs import IMAGE_WORDS, MASK_WORDS
from kit.new.look.file_sets import FileSet
from kit.new.look.labels import Labels
from kit.new.look.pairing import Pairing
from kit.new.look.split_words import SPLIT_WORDS

NO_CLASSES = {*IMAGE_WORDS, *MASK_WORDS, *SPLIT_WORDS}
# the same thing, drawn by several people or several times
PEOPLE = re.compile(r"rater|reader|expert|annotator|observer|grader", re.IGNORECASE)
VERSIONS = re.compile(r"old|new|first|second|final|draft|backup|copy|orig|original|fixed|corrected|clean(ed)?|v?\d+")


def class_files(first: Pairing, beside: Sequence[Pairing], labels: Callable[[FileSet], Labels]) -> dict[str, Pairing]:
    """The pairs of each class by its name, where several sets of masks of the same images differ in a word; else {}."""
    own = [pair for pair in (first, *beside) if _may_be_class(pair, first, labels)]
    names = dict(zip(_differing([pair.masks.pattern.rpartition(".")[0] for pair in own]), own, strict=True))
    is_one_thing = any(PEOPLE.search(pair.masks.pattern) for pair in own) or any(map(_is_version, names))
    if len(names) < 2 or len(names) < len(own) or own[0] != first or not all(map(_is_class_name, names)):
        return {}
    if is_one_thing:
        return {}
    return dict(sorted(names.items()))


def united(layers: dict[str, Pairing]) -> Pairing:
    """The pairs of all classes as one, with several masks an image."""
    first = next(iter(layers.values()))
    shared: dict[str, list[str]] = {}
    for pair in layers.values():
        for image, masks in pair.shared.items():
            shared.setdefault(image, []).extend(masks)
    masks = tuple(path for pair in layers.values() for path in pair.masks.paths)
    return first._replace(masks=FileSet(first.masks.pattern, masks), shared=shared)


def _may_be_class(pair: Pairing, first: Pairing, labels: Callable[[FileSet], Labels]) -> bool:
    """Whether masks are of two values, a file an image, for the same images."""
    seen = labels(pair.masks)
    is_alike = pair.images == first.images and pair.patterns()[0] == first.patterns()[0] and not pair.is_many
    return is_alike and seen.masks > 0 and not seen.colours and (len(seen.pixels) <= 2 or seen.is_soft)


def _differing(texts: Sequence[str]) -> list[str]:
    """What is between the text with which all begin and that with which they end, in whole words."""
    front = re.sub(r"[^\W_]+\Z", "", os.path.commonprefix(texts))  # noqa: RUF071 (letters are meant, not folders)
    rest = [text[len(front) :] for text in texts]
    back = os.path.commonprefix([text[::-1] for text in rest])[::-1]  # noqa: RUF071
    back = re.sub(r"\A[^\W_]+", "", back)
    return [text[: len(text) - len(back)].strip("_-. ") for text in rest]


def _is_version(name: str) -> bool:
    """Whether a word of the name says which of several drawings of one thing it is."""
    return any(VERSIONS.fullmatch(word) for word in re.split(r"[\W_]+", name.casefold()))


def _is_class_name(name: str) -> bool:
    words = re.split(r"[\W\d_]+", name.casefold())
    return bool(re.fullmatch(r"[^\W\d_][\w \-.]*", name)) and not NO_CLASSES & set(words)
