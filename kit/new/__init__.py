"""What does a folder of files hold, and which recipe suits it? The room behind `python -m kit new`.

look/        What is there? Files, images, masks, tables; nothing is decided for a network yet
decisions/   What follows? The task, folds, sizes, network and CSV, each with its reason
writing.py   writes the recipe; code_text.py: pieces of Python's text
command.py   prints, or writes: what the command line calls
"""

import importlib

_FILES = {"Asked": "look.asked", "recipe_text": "writing", "new": "command"}
_FILES |= dict.fromkeys(("Choices", "Wishes", "choose", "decide"), "decisions.choices")
__all__ = list(_FILES)


def __getattr__(name: str) -> object:
    """Import a file at the first use of its names: the command line needs only the metrics' names until then."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"kit.new.{_FILES[name]}"), name)
