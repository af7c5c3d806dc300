"""Which images are held out together?

kfold.py    makes folds: plain, stratified, of whole groups, both; labels from numbers; the check for leaks
balance.py  the assignment behind stratified groups: even, and never an empty fold
area.py     whole groups, balanced by the share of foreground
contiguous.py  runs of neighbouring slices
tiles.py    groups of images that are tiles of one photograph, found by their edges
keeping.py  folds.csv of a run folder, frozen when the first fold begins
auditing.py audit: leaks, look-alikes and odd images of a data set. Its parts: looks.py remembers each image; hashes.py
            and verify.py find copies.py; twins.py, sequences.py, metadata.py; quality.py, shift.py
"""

from kit.folds.area import area_group_kfold
from kit.folds.contiguous import contiguous_kfold
from kit.folds.keeping import freeze_folds, is_begun, is_trained, keep_folds, read_folds
from kit.folds.kfold import check_leaks, group_kfold, kfold, quantile_labels, stratified_group_kfold, stratified_kfold
from kit.folds.tiles import tile_groups

__all__ = [
    "Audit",
    "area_group_kfold",
    "audit",
    "check_leaks",
    "contiguous_kfold",
    "freeze_folds",
    "group_kfold",
    "is_begun",
    "is_trained",
    "keep_folds",
    "kfold",
    "quantile_labels",
    "read_folds",
    "stratified_group_kfold",
    "stratified_kfold",
    "tile_groups",
]


def __getattr__(name: str) -> object:
    """Import the audit when it is first used: it reads images, and few scripts need it."""
    if name not in ("Audit", "audit"):
        raise AttributeError(f"module 'kit.folds' has no attribute {name!r}")
    from kit.folds import auditing

    return getattr(auditing, name)
