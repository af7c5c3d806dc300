"""What the values of a mask file mean: "binary", "labels", a threshold, a mapping of values or of colours.

The rules for binary masks, labels and thresholds are those of kit.data.masks; here one of them is chosen, and values
that mean "ignore" become 255.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.data.masks import binary_mask, class_mask, colour_mask, decode_mask, threshold_mask

IGNORED = 255
Colour = tuple[int, int, int]
Values = str | float | Mapping[int, int] | Mapping[Colour, int]


class MaskValues:
    """Reads mask files by one rule. `values` and `ignore` as in Folder. Raises ValueError for a rule that cannot be."""

    def __init__(self, values: Values, num_classes: int, ignore: int | Colour | Sequence | None):
        self.values, self.num_classes = values, num_classes
        self.is_colours = isinstance(values, Mapping) and all(isinstance(key, tuple) for key in values)
        single = (
            ignore is None or isinstance(ignore, (int, np.integer)) or (self.is_colours and isinstance(ignore[0], int))
        )
        self.ignore = () if ignore is None else (ignore,) if single else tuple(ignore)
        self._check()

    def read(self, data: bytes, name: str) -> np.ndarray:
        """Decode a mask file -> u8 (H, W): 0 to num_classes - 1, and 255 for ignored pixels.

        Raises BadImage, with advice in terms of `values` and `ignore`.
        """
        return self._advised(lambda: self._read(data, name))

    def apply(self, stored: np.ndarray, name: str) -> np.ndarray:
        """The same for values (H, W) that are read already, with a rule that is not of colours."""
        return self._advised(lambda: self._apply(stored, name))

    def _advised(self, read: Callable[[], np.ndarray]) -> np.ndarray:
        try:
            return read()
        except BadImage as error:
            if not error.advice:
                raise
            raise BadImage(error.found, self._advice(error)) from error

    def _read(self, data: bytes, name: str) -> np.ndarray:
        if self.is_colours:
            colours = {**self.values, **dict.fromkeys(self.ignore, IGNORED)}
            return colour_mask(decode_image(data, name, channels=3), colours, name)
        return self._apply(decode_mask(data, name), name)

    def _apply(self, stored: np.ndarray, name: str) -> np.ndarray:
        if isinstance(self.values, Mapping):
            return _map_values(stored, {**self.values, **dict.fromkeys(self.ignore, IGNORED)}, name)
        if not self.ignore:
            return self._by_rule(stored, name)
        ignored = np.isin(np.asarray(stored), self.ignore)
        rest = stored.copy()
        rest[ignored] = 0
        return np.where(ignored, np.uint8(IGNORED), self._by_rule(rest, name))

    def _by_rule(self, stored: np.ndarray, name: str) -> np.ndarray:
        if self.values == "binary":
            return binary_mask(stored, name)
        if self.values == "labels":
            return class_mask(stored, self.num_classes, name)
        return threshold_mask(stored, self.values, name)

    def _advice(self, error: BadImage) -> str:
        """What to do about a mask that does not fit the rule."""
        if self.is_colours:
            return "Add them to `values` or to `ignore`, or save the mask without compression losses"
        if "colour" in error.found:
            return "Say which colour is which class: values={(0, 0, 0): 0, (255, 0, 0): 1, …}"
        if self.values == "binary":
            return "Say what they mean: values={0: 0, 255: 1, …}; for soft edges and JPEG masks a threshold, values=127"
        return "Say which value is which class: values={0: 0, 128: 1, 255: 2, …}; and `ignore` for those without one"

    def _check(self) -> None:
        values = self.values
        known = isinstance(values, Mapping) or (isinstance(values, (int, float)) and not isinstance(values, bool))
        if not known and values not in {"binary", "labels"}:
            raise ValueError(
                f"values={values!r}, expected 'binary' (0 and 1, or 0 and 255), 'labels' (class numbers), a threshold "
                "(127), a mapping ({0: 0, 128: 1, 255: 2}), or one of colours ({(0, 0, 0): 0, (255, 0, 0): 1})"
            )
        if isinstance(values, Mapping):
            if not values or not (self.is_colours or all(isinstance(key, (int, np.integer)) for key in values)):
                raise ValueError(
                    f"values={values!r}: expected one key or more, whole numbers or colours (red, green, blue)"
                )
            allowed = {*range(self.num_classes), IGNORED}
            if odd := sorted({label for label in values.values() if label not in allowed}, key=repr):
                raise ValueError(f"values maps to {odd}, expected class numbers 0 to {self.num_classes - 1}, or 255")
        elif values != "labels" and self.num_classes != 2:
            raise ValueError(
                f"values={values!r} gives two classes, and there are {self.num_classes}. Use 'labels' or a mapping"
            )


def _map_values(stored: np.ndarray, labels: Mapping[int, int], name: str) -> np.ndarray:
    """Map stored values to class numbers. A palette of greys is looked up by its greys where its indices do not fit."""
    candidates = [np.asarray(stored)]
    colours = getattr(stored, "colours", None)
    if colours is not None and (colours == colours[:, :1]).all():
        candidates.append(colours[candidates[0], 0])
    fitting = [values for values in candidates if np.isin(np.unique(values), list(labels)).all()]
    if not fitting:
        found = [value for value in np.unique(candidates[-1]).tolist() if value not in labels]
        raise BadImage(
            f"{name}: mask values {', '.join(map(str, found[:10]))}{' …' * (len(found) > 10)} are not in `values`; "
            f"expected {', '.join(map(str, labels))}. Add them to `values` or to `ignore`"
        )
    table = np.zeros(int(max(values.max() for values in fitting)) + 1, np.uint8)
    for value, label in labels.items():
        if 0 <= value < len(table):
            table[value] = label
    mapped = [table[values] for values in fitting]
    if len(mapped) == 2 and (mapped[0] != mapped[1]).any():
        raise BadImage(
            f"{name}: a palette of greys whose indices and greys are both in `values` and mean other classes. Save the "
            "mask as plain grey"
        )
    return mapped[0]
