"""The words in names of folders and files that say what is held out: one list for sets of images and for text files."""

import re
from typing import Literal

from kit.datasets.pairs import IMAGE_WORDS, MASK_WORDS

TRAIN = ("train", "training", "tr")
VAL = ("val", "valid", "validation", "dev", "holdout")
TEST = ("test", "testing", "ts")
SPLIT_WORDS = (*TRAIN, *VAL, *TEST)
TELLING = "|".join(sorted({*IMAGE_WORDS, *MASK_WORDS, "set", "data"}, key=len, reverse=True))
TRAIN_PART, VAL_PART, TEST_PART = (
    re.compile(rf"(?:{TELLING})?(?:{'|'.join(words)})(?:{TELLING})?") for words in (TRAIN, VAL, TEST)
)  # alone, or joined to a word for images or masks: valannot, imagesTs


def split_of(text: str) -> Literal["val", "test", ""]:
    """ "val" or "test" where a part of a path or pattern is one of these words; else "".

    Parts end at every mark and number, and where a capital letter follows a small one.
    """
    if any(map(VAL_PART.fullmatch, _parts(text))):
        return "val"
    return "test" if any(map(TEST_PART.fullmatch, _parts(text))) else ""


def is_train(text: str) -> bool:
    """Whether a part of a path or pattern is a word for what is trained on."""
    return any(map(TRAIN_PART.fullmatch, _parts(text)))


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()) if part]
