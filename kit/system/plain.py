"""Values as JSON holds them: it has no NaN."""

import numpy as np


def plain(value: object) -> object:
    """The same value for JSON: NaN and infinities as None, NumPy's and other types as Python's or as text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def number(value: float | None) -> float | None:
    """A float; None where it is none, or not finite."""
    return float(value) if value is not None and np.isfinite(value) else None
