"""`python -m kit new`: print what was found and decided, and write the recipe."""

import json
from collections.abc import Sequence
from pathlib import Path

from kit.new.decisions.choices import Choices, Wishes, decide
from kit.new.look.questions import OpenQuestion, Question, question_of
from kit.new.writing import recipe_text
from kit.system.files import counted, list_some, write_atomic

MOST_LISTED = 20  # problems


def new(path: Path | None, root: Path, wishes: Wishes, *, as_json: bool = False) -> int:
    """Look at `root` and write a recipe to `path`; None: only print. Returns the exit status, 1 with problems.

    The recipe is written even where files have problems, because the report of them says what to mend; training
    refuses them again. It is not written where something must be asked: the questions then come below what was found.
    Raises FileExistsError where `path` is there, ValueError for a folder without images.
    """
    if path is not None and path.exists():
        raise FileExistsError(f"{path} is there already. Choose another name, or delete it")
    if path is not None and path.suffix != ".py":
        raise ValueError(f"{path} is the name of the recipe, a script: expected NAME.py")
    try:
        choices = decide(root, wishes)
    except OpenQuestion as error:
        questions = [question_of(error, wishes.flags())]
        seen = {"reasons": [list(one) for one in error.so_far], **_asked(questions)}
        text = [*(f"{what:9} {words}" for what, words in error.so_far), *questions[0].lines()]
        print(json.dumps(seen, indent=2) if as_json else "\n".join(text), flush=True)
        return 1
    print(json.dumps(facts(choices), indent=2, default=str) if as_json else "\n".join(lines(choices)), flush=True)
    if choices.questions:
        return 1
    if path is not None:
        write_atomic(path, recipe_text(choices, root, path))
        if not as_json:
            print(f"written: {path}\nrun it:  python {path} --fold 0", flush=True)
    return int(bool(choices.found.problems))


def lines(choices: Choices) -> list[str]:
    """What was found and decided, a line each; then doubts, problems and questions."""
    found = choices.found
    text = [f"{what:9} {why}" for what, why in choices.reasons]
    text += [f"not used  {one}" for one in found.unused]
    text += [f"doubt     {one}" for one in choices.doubts]
    if found.problems:
        text.append(
            f"{counted(len(found.problems), 'problem')}, to be mended before training:{list_some(found.problems)}"
        )
    for question in choices.questions:
        text += question.lines()
    if choices.questions:
        text.append("Nothing was written: answer by the flags above, or mend the files")
    return text


def _asked(questions: Sequence[Question]) -> dict:
    """The open questions for programs; the first on its own too."""
    every = [one.facts() for one in questions]
    return {"question": every[0] if every else None, "questions": every}


def facts(choices: Choices) -> dict:
    """The same for programs, as JSON holds it."""
    found, meaning, sizing, goal = choices.found, choices.meaning, choices.sizing, choices.goal
    return {
        "images": len(found.images),
        "tests": len(found.tests),
        "patterns": found.patterns,
        "task": meaning and meaning.task,
        "classes": meaning and meaning.classes,
        "values": None if meaning is None or meaning.values is None else str(meaning.values),
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
        "metric": goal and goal.metric,
        "dialect": None if goal is None or goal.dialect is None else vars(goal.dialect),
        "reasons": [list(one) for one in choices.reasons],
        "unused": found.unused,
        "doubts": choices.doubts,
        "problems": found.problems,
        **_asked(choices.questions),
    }
