"""How flags are read that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.datasets.files import DataFolder


def choice(*choices: str) -> tyro.constructors.PrimitiveConstructorSpec:
    """How tyro reads one of `choices`, in small or capital letters."""
    spelt = {choice.casefold(): choice for choice in choices}

    def read(texts: list[str]) -> str:
        if texts[0].casefold() not in spelt:
            raise ValueError(f"{texts[0]!r} is none of {', '.join(choices)}")
        return spelt[texts[0].casefold()]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=read,
        is_instance=lambda value: value is None or value in choices,
        str_from_instance=lambda value: [str(value)],
    )


Order = Annotated[Literal["C", "F"] | None, choice("C", "F")]


def unzipped(csv: Path | None) -> Path | None:
    """The file itself, or a copy from the zip of its name in which Kaggle hands it out."""
    if csv is None or (csv.is_file() and csv.suffix != ".zip"):
        return csv
    return DataFolder(csv.parent).path(csv.name.removesuffix(".zip")) or csv
