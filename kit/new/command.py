"""`python -m kit new`: print what was found and decided, and write the recipe."""

import json
from pathlib import Path

from kit.new.choices import Choices, Wishes, choose
from kit.new.writing import recipe_text
from kit.system.files import list_some, write_atomic

MOST_LISTED = 20  # problems


def new(path: Path | None, root: Path, wishes: Wishes, *, as_json: bool = False) -> int:
    """Look at `root` and write a recipe to `path`; None: only print. Returns the exit status, 1 with problems.

    The recipe is written even where files have problems, because the report of them says what to mend; training
    refuses them again. Raises ValueError where the data cannot tell, FileExistsError where `path` is there.
    """
    if path is not None and path.exists():
        raise FileExistsError(f"{path} is there already. Choose another name, or delete it")
    if path is not None and path.suffix != ".py":
        raise ValueError(f"{path} is the name of the recipe, a script: expected NAME.py")
    choices = choose(root, wishes)
    print(json.dumps(facts(choices), indent=2, default=str) if as_json else "\n".join(lines(choices)), flush=True)
    if path is not None:
        write_atomic(path, recipe_text(choices, root, path))
        if not as_json:
            print(f"written: {path}\nrun it:  python {path} --fold 0", flush=True)
    return int(bool(choices.found.problems))


def lines(choices: Choices) -> list[str]:
    """What was found and decided, a line each; then doubts and problems."""
    found = choices.found
    text = [f"{what:9} {why}" for what, why in choices.reasons]
    text += [f"not used  {one}" for one in found.unused]
    text += [f"doubt     {one}" for one in choices.doubts]
    if found.problems:
        text.append(f"{len(found.problems)} problems, to be mended before training:{list_some(found.problems)}")
    return text


def facts(choices: Choices) -> dict:
    """The same for programs, as JSON holds it."""
    found, meaning, sizing, goal = choices.found, choices.meaning, choices.sizing, choices.goal
    return {
        "images": len(found.images),
        "tests": len(found.tests),
        "patterns": found.patterns,
        "task": meaning.task,
        "classes": meaning.classes,
        "values": None if meaning.values is None else str(meaning.values),
        "groups": choices.groups,
        "group_count": choices.grouping.count if choices.grouping else None,
        "folds": 1 if found.split else choices.folds,
        "held_out": len(found.split),
        "channels": choices.channels,
        "dtype": found.dtype,
        "size": sizing.size,
        "crop": sizing.crop,
        "keep_ratio": sizing.keep_ratio,
        "encoder": choices.network.encoder,
        "encoder_weights": choices.network.weights,
        "batch_size": sizing.batch_size,
        "epochs": sizing.epochs,
        "metric": goal.metric,
        "dialect": None if goal.dialect is None else vars(goal.dialect),
        "reasons": [list(one) for one in choices.reasons],
        "unused": found.unused,
        "doubts": choices.doubts,
        "problems": found.problems,
    }
