"""What does a folder of files hold, and which recipe suits it? The room behind `python -m kit new`.

file_sets.py   files that are alike in place and name: a pattern each
pairing.py     which sets are images, and which are their masks
split_words.py the words that say what is held out
merging.py     one pattern for train/ and val/
roles.py       images, masks and tests by id, and the patterns that name them
templates.py   ids from several parts of a path
labels.py      what the values of masks are
numbers.py     whether numbers in masks are classes or count objects
palettes.py    masks whose palettes have another order than most
tables.py      CSV files: run lengths, sample submission, facts of images
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
goal.py        decides the metric, and how the CSV is written
choices.py     all decisions, each with its reason
writing.py     writes the recipe
command.py     prints, or writes: what the command line calls
"""

import importlib

_ROOMS = {"Asked": "roles", "Choices": "choices", "Wishes": "choices", "choose": "choices", "new": "command"}
_ROOMS["recipe_text"] = "writing"
__all__ = list(_ROOMS)


def __getattr__(name: str) -> object:
    """Import a file at the first use of its names: the command line needs only the metrics' names until then."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"kit.new.{_ROOMS[name]}"), name)
