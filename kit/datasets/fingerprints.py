"""A hash of a data set's files that changes when a file is added, removed or renamed, or holds something else."""

import hashlib
from collections.abc import Sequence

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc


def fingerprint_of(data: DataFolder, paths: Sequence[str], *facts: object) -> str:
    """SHA-256 over the paths (NFC) in their order, the CRC-32 and the size of each file, and the repr of `facts`.

    facts: what else decides how the files are read. Folders, zips and copies of the same files give the same hash.
    """
    contents = data.contents(paths)
    rows = [(nfc(path), *contents[path]) for path in paths]
    return hashlib.sha256(repr((facts, rows)).encode()).hexdigest()
