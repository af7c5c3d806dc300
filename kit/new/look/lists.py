"""Text files that list the images of a split, as val.txt of PASCAL VOC or test.txt of Oxford-IIIT Pet."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.datasets.patterns import suffix_of
from kit.new.look.split_words import split_of
from kit.submission.names import IMAGE_ENDING

LEAST_KNOWN = 0.9  # of the lines whose first word must be an image
MOST_BYTES = 50_000_000


class SplitList(NamedTuple):
    """A list of images that are held out. path: of the text file; ids: of the images that it names."""

    path: str
    ids: frozenset[str]


def find_split(data: DataFolder, paths: Iterable[str], ids: Collection[str]) -> SplitList | None:
    """The largest list of some of the images whose file is named as one that is held out; None where there is none.

    An id is the first word of a line, with or without the image's suffix. Files in zips are passed over.
    """
    known, found = set(ids), []
    for path in paths:
        name = path.rpartition("/")[2].rpartition(".")[0]
        if suffix_of(path) != "txt" or not split_of(name) or not (data.root / path).is_file():
            continue
        if (data.root / path).stat().st_size > MOST_BYTES:
            continue
        lines = data.read(path).decode("utf-8", errors="replace").splitlines()
        words = [nfc(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]
        named = {word if word in known else IMAGE_ENDING.sub("", word) for word in words}
        own = named & known
        if words and len(own) >= LEAST_KNOWN * len(named) and len(own) < len(known):
            found.append(SplitList(path, frozenset(own)))
    return max(found, key=lambda one: (len(one.ids), one.path), default=None)
