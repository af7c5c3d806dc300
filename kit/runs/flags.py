"""The flags of a recipe as a run keeps them: which of them decide a number, and which may change when it is resumed.

A recipe marks its own flags in its Config:

    tta: Free[str] = "hflip"                 may change: it concerns what is done after training
    encoder_weights: Weights = "imagenet"    compared by the file's content, not by its path
    epochs: Count = 20                       one or more
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints

from kit.system.files import digest

Value = TypeVar("Value")
_FREE, _CONTENT, _COUNT = "kit: may change", "kit: compared by content", "kit: one or more"
Free = Annotated[Value, _FREE]
Weights = Annotated[str, _CONTENT]
Count = Annotated[int, _COUNT]

# Flags that every recipe has and that change where and how fast a number is computed, not the number.
ALWAYS_FREE = {"fold", "data_dir", "run_dir", "device", "workers"}


@dataclass(frozen=True)
class Flags:
    """values: of all flags, as JSON holds them. identity: of those that decide a number.

    defaults: of the same. A run that is older than a flag was made with its default.
    """

    values: dict
    identity: dict
    defaults: dict


def read_flags(config: object) -> Flags:
    """Read a recipe's Config, a dataclass. Raises ValueError listing every count below one."""
    hints = get_type_hints(type(config), include_extras=True)
    fields = [field for field in dataclasses.fields(config) if field.name in hints]
    low = [
        f"--{field.name.replace('_', '-')} {_shown(getattr(config, field.name))}"
        for field in fields
        if _COUNT in _marks(hints[field.name]) and _least(getattr(config, field.name)) < 1
    ]
    if low:
        raise ValueError(f"{', '.join(low)}: expected 1 or more")
    values = plain(dataclasses.asdict(config))
    fixed = [field for field in fields if field.name not in ALWAYS_FREE and _FREE not in _marks(hints[field.name])]
    identity = {field.name: _identity(values[field.name], hints[field.name]) for field in fixed}
    defaults = {field.name: plain(field.default) for field in fixed if field.default is not dataclasses.MISSING}
    return Flags(values, identity, defaults)


def plain(value: object) -> object:
    """The value as JSON holds it: paths as text, tuples as lists."""
    return json.loads(json.dumps(value, default=str))


def _identity(value: object, hint: object) -> object:
    """The flag's value; of a file of weights, its SHA-256."""
    if _CONTENT in _marks(hint) and isinstance(value, str) and Path(value).is_file():
        return f"sha256 {digest(Path(value))}"
    return value


def _marks(hint: object) -> set[str]:
    """The marks anywhere in a type: of `tuple[Count, Count] | None` that of Count."""
    own = set(getattr(hint, "__metadata__", ())) & {_FREE, _CONTENT, _COUNT} if get_origin(hint) is Annotated else set()
    return own.union(*(_marks(part) for part in get_args(hint) if not isinstance(part, str)))


def _least(value: object) -> float:
    if value is None:
        return 1
    return min(value) if isinstance(value, tuple | list) else value


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
