"""What the files do not show, and the flag that says it. All that is open is asked at once, below what was found."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
ORDERS = {"C": "along rows", "F": "down columns"}


@dataclass(frozen=True)
class Question:
    """text: what is open, and why. flag: that says it; "" where no flag helps. choices: the flag's values, in words.

    is_refused: the user gave this flag, and it does not fit the data.
    """

    text: str
    flag: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    is_refused: bool = False

    def __str__(self) -> str:
        said = " or ".join(f"{self.flag} {value}{f' ({words})' * bool(words)}" for value, words in self.choices)
        return f"{self.text}. Say it: {said}" if said else self.text

    def lines(self) -> list[str]:
        """The question for a person; a line for each choice."""
        kind = "refused" if self.is_refused else "question" if self.flag else "error"
        return [
            f"{kind:9} {self.text}",
            *(f"          {self.flag} {value:12} {words}" for value, words in self.choices),
        ]

    def facts(self) -> dict:
        """The same for programs."""
        choices = [{"value": value, "meaning": words} for value, words in self.choices]
        return {"text": self.text, "flag": self.flag or None, "choices": choices, "refused": self.is_refused}


class OpenQuestion(ValueError):
    """The files do not show something. so_far: what was found until then, as (what, in words)."""

    def __init__(
        self, text: str, flag: str = "", choices: Mapping[str, str] = {}, so_far: Sequence[tuple[str, str]] = ()
    ):
        self.question, self.so_far = Question(text, flag, tuple(choices.items())), tuple(so_far)
        super().__init__(str(self.question))


def question_of(error: ValueError, given: Collection[str] = ()) -> Question:
    """The question that an error asks. given: the flags that the user gave."""
    if isinstance(error, OpenQuestion):
        return replace(error.question, is_refused=error.question.flag in given)
    flags = FLAG.findall(str(error))
    refused = next((flag for flag in flags if flag in given), "")
    return Question(str(error), refused or next(iter(flags), ""), is_refused=bool(refused))
