"""Masks whose values hold a class and a number each: what is asked about them, and what a task makes of them."""

from collections.abc import Iterable

from kit.new.decisions.values import Meaning
from kit.new.look.coding import Coding
from kit.new.look.numbers import MOST_CLASSES
from kit.new.look.questions import OpenQuestion

SHOWN = 6
BY_HAND = (
    "for each class by itself save masks in which other objects are 0, and write a recipe of each (--masks PATTERN); "
    "code of your own may give the metrics kit.scoring.Segments, a label image and the class of each label, as "
    "recipes/coco_panoptic.py does"
)


def question_about(coding: Coding) -> OpenQuestion:
    """The question whether these are objects or classes."""
    whole = f"value // {coding.base}"
    if coding.plain:
        whole += f", where it is {coding.base} or more"
    choices = {"instances": f"each value is an object{', of one class for all' * (len(coding.numbers) > 1)}"}
    if (count := coding.count + len(coding.plain)) < MOST_CLASSES:
        choices["multiclass"] = f"each of {count} values is a class by itself"
    text = f"the {coding}. They may number objects, or be codes of classes; for classes alone save masks of {whole}"
    return OpenQuestion(text, "--task", choices)


def doubts_of(coding: Coding, meaning: Meaning) -> list[str]:
    """What a task makes of such values that the user may not expect."""
    if meaning.task == "multiclass":
        return [f"the {coding}; each value is taken for a class by itself, as asked for"]
    if meaning.task != "instances":
        return []
    doubts = []
    if len(coding.numbers) > 1:
        doubts.append(
            f"objects of {len(coding.numbers)} classes ({_listed(coding.numbers)}) become one class, because "
            f"recipes of kit new know objects of one class:\n  the {coding};\n  {BY_HAND}"
        )
    if coding.plain:
        doubts.append(
            f"values without a number ({_listed(coding.plain)}) are each taken for one object of an image: where they "
            "are none, as road or sky, save them as 0"
        )
    return doubts


def _listed(values: Iterable[int]) -> str:
    names = [*map(str, values)]
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
