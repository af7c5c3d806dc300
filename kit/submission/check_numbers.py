"""Are order and first number of a dialect that was written by hand those of the competition's own files?"""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from kit.submission.competition import Competition
from kit.submission.detect import Look, look, order_of, with_numbers
from kit.submission.dialect import Dialect

COMPARED = 16  # images whose masks are compared


def check_numbers(competition: Competition) -> list[str]:
    """Warnings where the sample's masks, or the training CSV's, are numbered in another way than the dialect says.

    A forgotten order="F" gives a CSV that is well formed and scores next to nothing. Raises ValueError where it is the
    training CSV, pixel by pixel or by how ragged its masks are.
    """
    dialect, warnings = competition.dialect, []
    if competition.sample_csv is not None and (order := _order_of_sample(competition)) not in (None, dialect.order):
        warnings.append(
            f'masks in {Path(competition.sample_csv).name} are ragged in order="{dialect.order}", which the dialect '
            f'says, and smooth in order="{order}": compare the competition\'s page, and give Dialect(order="{order}")'
        )
    if competition.train_csv is not None:
        name = Path(competition.train_csv).name
        found = _numbers_of(dialect, look(competition.train_csv), competition.dataset)
        if found is None:
            warnings.append(f"{name} could not tell whether the dialect numbers pixels as the competition does")
        elif found != dialect:
            names = [part for part in ("order", "base", "relative") if getattr(found, part) != getattr(dialect, part)]
            said, right = (", ".join(f"{part}={getattr(one, part)!r}" for part in names) for one in (dialect, found))
            raise ValueError(
                f"the masks in {name} fit the data set's images with {right}; the dialect says {said}. Give "
                f"Dialect(…, {right}), or no train_csv where the submission is written in another way"
            )
    return warnings


def _order_of_sample(competition: Competition) -> str | None:
    """The order in which the sample's masks are smooth, each cell once; None of placeholders, which cannot tell."""
    sample = look(competition.sample_csv)
    sample.masks = [(key, cell) for cell, key in {cell: key for key, cell in sample.masks}.items()]
    with contextlib.suppress(ValueError, OSError):
        return order_of(competition.dialect, sample, competition.shape)
    return None


def _numbers_of(dialect: Dialect, train: Look, dataset: object) -> Dialect | None:
    """The dialect with the numbers of the training CSV: by the masks, else its order by their raggedness; else None."""
    keys = list(dict.fromkeys(key for key, _ in train.masks))[:COMPARED]
    train.masks = [(key, cell) for key, cell in train.masks if key in keys]
    with contextlib.suppress(ValueError, OSError):
        return with_numbers(dialect, train, dataset.shape, lambda id: _foreground(dataset.read_mask(id)))
    with contextlib.suppress(ValueError, OSError):  # the files are other masks, or a few say too little
        return replace(dialect, order=order_of(dialect, train, dataset.shape))
    return None


def _foreground(mask: np.ndarray) -> np.ndarray:
    """A mask u8 (H, W), with 255 where it is ignored; of layers (H, W, K) or labels of objects 0 and 1."""
    if mask.ndim == 3:
        return mask.any(axis=2).view(np.uint8)
    return mask if mask.dtype == np.uint8 else (mask > 0).view(np.uint8)
