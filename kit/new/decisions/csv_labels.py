"""Which class a label of the CSV is: by its name, by the number that the masks hold, else as the user says."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from kit.new.decisions.label_numbers import numbers_of
from kit.new.decisions.values import Meaning
from kit.new.look.questions import OpenQuestion
from kit.submission.dialect import Dialect


def with_labels(meaning: Meaning, dialect: Dialect, is_named: bool) -> Dialect:
    """The dialect with its labels in the order of the classes. is_named: by the user.

    Raises OpenQuestion where nothing says which is which.
    """
    labels, own = dialect.labels, _foreground(meaning)
    if not labels or len(own) == len(labels) == 1:
        return dialect
    if {name.casefold() for name in own} == {label.casefold() for label in labels}:
        return replace(dialect, labels=in_order(labels, own))
    if is_named and len(own) == len(labels):
        _check_names(own, labels, meaning.table is not None)
    if meaning.table is not None and len(own) == len(labels):
        return dialect  # the classes are those of the CSV, whatever their names
    held, numbers = _numbers_held(meaning), numbers_of(labels)
    if held and sorted(held) == sorted(numbers):
        by_number = dict(zip(numbers, labels, strict=True))
        return replace(dialect, labels=tuple(by_number[number] for number in held))
    counts_from_1 = list(numbers) == list(range(1, len(own) + 1))
    if is_named and len(own) == len(labels) and (counts_from_1 or not numbers):
        return dialect
    raise _open(meaning, labels)


def _check_names(names: Sequence[str], labels: Sequence[str], is_table: bool) -> None:
    """Raise OpenQuestion for names that are no labels of the CSV, where it has words: a slip would swap the labels.

    is_table: the masks are rows with these labels, to which names that are all new are given in their order.
    """
    known = {label.casefold() for label in labels}
    strange = [name for name in names if name.casefold() not in known]
    if is_table and len(strange) == len(names):
        return
    if strange and not all(label.isdecimal() for label in labels):
        raise OpenQuestion(
            f"--classes names {', '.join(strange)}, and the CSV has {', '.join(labels)}: give the names of the CSV, so "
            "that each label is written for its class",
            "--classes",
        )


def in_order(labels: tuple[str, ...], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The labels in the order of the classes, where they have the same names; else as they are."""
    own = {label.casefold(): label for label in labels}
    ordered = tuple(own[name.casefold()] for name in classes if name.casefold() in own)
    return ordered if len(ordered) == len(labels) else labels


def _foreground(meaning: Meaning) -> tuple[str, ...]:
    return meaning.classes if meaning.task == "multilabel" else meaning.classes[1:]


def _numbers_held(meaning: Meaning) -> list[int]:
    """The number that the masks hold for each foreground class, or that of its channel; [] where it has none."""
    own = _foreground(meaning)
    if meaning.task == "multilabel":
        usual = [f"class {number}" for number in range(1, len(own) + 1)]
        return list(range(1, len(own) + 1)) if list(own) == usual else []
    if not isinstance(meaning.values, dict):
        return list(range(1, len(own) + 1)) if meaning.task == "multiclass" else []
    stored = {at: value for value, at in meaning.values.items()}
    held = [stored.get(at) for at in range(1, len(own) + 1)]
    return held if all(isinstance(value, int) for value in held) else []


def _open(meaning: Meaning, labels: Sequence[str]) -> OpenQuestion:
    own = _foreground(meaning)
    if meaning.task == "instances":
        return OpenQuestion(
            f"the CSV has rows of {len(labels)} classes, {', '.join(labels)}, and --task instances reads objects of "
            "one class: where the masks hold a value for each class, --task multiclass",
            "--task",
        )
    if len(own) != len(labels):
        return OpenQuestion(
            f"the CSV has rows of {len(labels)} classes, and the masks {len(own)}: {', '.join(labels)} against "
            f"{', '.join(own)}. Write the masks with the numbers of the CSV; --classes names only what the masks hold",
            "--classes",
        )
    held = list(meaning.values) if isinstance(meaning.values, dict) else list(range(len(own) + 1))
    shown = f"which hold {', '.join(map(str, held))}" if meaning.task != "multilabel" else f"of {', '.join(own)}"
    command = shlex.join(["--classes", *([] if meaning.task == "multilabel" else meaning.classes[:1]), *labels])
    return OpenQuestion(
        f"the CSV names the classes {', '.join(labels)}, and nothing says which is which in the masks, {shown}: "
        f"name them in that order with the CSV's names; if the CSV has it too: {command}",
        "--classes",
    )
