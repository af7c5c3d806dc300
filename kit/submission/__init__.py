"""What does the competition accept?

dialect.py       Dialect: how a competition writes its CSV; masks to rows and back (runtext.py: other starts)
competition.py   Competition: a data set with its test images, metric, sample and dialect
labels.py        classes against the labels of rows
known.py         the dialects of competitions
csv_masks.py     CsvMasks: the true masks of a Folder, from a CSV (csv_checks.py)
csv_ids.py       CsvIds: the test images of a Folder, as a CSV names them
detect.py        find a dialect from the competition's own files; check_numbers.py compares one with them
rle.py           masks to run lengths and back (rle_kernels.py)
objects.py       label images and rows of objects, each with its class
tables.py        write and read the CSV (formats.py: encodings, separators, blank lines; names.py: NFC)
rows.py          the rows kept while predicting
lint.py          is a CSV right? (lint_ids.py, lint_masks.py, lint_objects.py, lint_order.py; problems.py: Problem)
score.py         the score of a CSV where the truth is known
compare.py       a CSV of true masks against the data set's own masks
"""

from kit.submission.compare import compare_masks
from kit.submission.competition import Competition
from kit.submission.csv_ids import CsvIds
from kit.submission.csv_masks import CsvMasks
from kit.submission.detect import detect
from kit.submission.dialect import Dialect
from kit.submission.known import (
    AIRBUS,
    CARVANA,
    CLOUDS,
    CONTRAILS,
    DSB2018,
    HUBMAP,
    SALT,
    SEVERSTAL,
    SEVERSTAL_2019,
    SIIM,
    UW_MADISON,
)
from kit.submission.lint import errors_of, lint
from kit.submission.objects import object_masks, object_reader, segments_of
from kit.submission.problems import Problem
from kit.submission.rows import RowParts, rows_in_order
from kit.submission.score import score, truth_reader
from kit.submission.tables import read_rows, write

__all__ = [
    "AIRBUS",
    "CARVANA",
    "CLOUDS",
    "CONTRAILS",
    "DSB2018",
    "HUBMAP",
    "SALT",
    "SEVERSTAL",
    "SEVERSTAL_2019",
    "SIIM",
    "UW_MADISON",
    "Competition",
    "CsvIds",
    "CsvMasks",
    "Dialect",
    "Problem",
    "RowParts",
    "compare_masks",
    "detect",
    "errors_of",
    "lint",
    "object_masks",
    "object_reader",
    "read_rows",
    "rows_in_order",
    "score",
    "segments_of",
    "truth_reader",
    "write",
]
