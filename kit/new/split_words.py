"""The words in names of folders and files that say what is held out: one list for sets of images and for text files."""

import re
from typing import Literal

from kit.datasets.pairs import IMAGE_WORDS, MASK_WORDS

TRAIN = ("train", "training", "tr")
VAL = ("val", "valid", "validation", "dev", "holdout")
TEST = ("test", "testing", "ts")
SPLIT_WORDS = (*TRAIN, *VAL, *TEST)
TELLING = "|".join(sorted({*IMAGE_WORDS, *MASK_WORDS, "set", "data"}, key=len, reverse=True))
VAL_PART, TEST_PART = (
    re.compile(rf"(?:{TELLING})?(?:{'|'.join(words)})(?:{TELLING})?") for words in (VAL, TEST)
)  # alone, or joined to a word for images or masks: valannot, imagesTs


def split_of(text: str) -> Literal["val", "test", ""]:
    """ "val" or "test" where a part of a path or pattern is one of these words; else "".

    Parts end at every mark and number, and where a capital letter follows a small one.
    """
    parts = [part for part in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()) if part]
    if any(map(VAL_PART.fullmatch, parts)):
        return "val"
    return "test" if any(map(TEST_PART.fullmatch, parts)) else ""
