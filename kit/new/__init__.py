"""What does a folder of files hold, and which recipe suits it? The room behind `python -m kit new`.

file_sets.py   files that are alike in place and name: a pattern each
pairing.py     which sets are images, and which are their masks
split_words.py the words that say what is held out
class_files.py masks of which each class has a file
merging.py     one pattern for train/ and val/
asked.py       what the user says of the files
roles.py       images and masks by id, and the patterns that name them; to_predict.py: the same of tests
templates.py   ids from several parts of a path
labels.py      what the values of masks are
numbers.py     whether numbers in masks are classes or count objects
palettes.py    masks whose palettes have another order than most
tables.py      CSV files: run lengths, sample submission, facts of images
spellings.py   masks in a CSV that are not written as "start length …"
hints.py       a pattern that would match, for one that does not
questions.py   what the files cannot tell, and the flag that says it
lists.py       text files that list what is held out
study.py       all of these together
alikeness.py   whether images of a group are more alike than others
groups.py      groupings by ids, folders and tables, and the evidence for each
parts.py       parts of large files
slides.py      what differs for slides
upright.py     whether images have an upper side
meaning.py     decides the task and the classes
values.py      what values mean where a file holds the classes of an image
sizing.py      decides sizes, network, batches and epochs for the device
metrics.py     the names of metrics
network.py     decides encoder and weights, by what is at hand
csv_meaning.py the same of masks in a CSV
rows.py        decides how the CSV is written
goal.py        decides the metric
choices.py     all decisions, each with its reason
writing.py     writes the recipe
command.py     prints, or writes: what the command line calls
"""

import importlib

_ROOMS = {"Asked": "asked", "Choices": "choices", "Wishes": "choices", "choose": "choices", "decide": "choices"}
_ROOMS["new"] = "command"
_ROOMS["recipe_text"] = "writing"
__all__ = list(_ROOMS)


def __getattr__(name: str) -> object:
    """Import a file at the first use of its names: the command line needs only the metrics' names until then."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"kit.new.{_ROOMS[name]}"), name)
