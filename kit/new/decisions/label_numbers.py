"""The labels of the CSV as numbers, beside those that the masks hold."""

from collections.abc import Sequence

TOP = 255  # the largest number of a mask of 8 bits


def numbers_of(labels: Sequence[str]) -> tuple[int, ...]:
    """The labels as numbers; () where one is none, or two are the same."""
    if not all(label.isascii() and label.isdecimal() for label in labels):
        return ()
    numbers = tuple(map(int, labels))
    return numbers if len(set(numbers)) == len(numbers) else ()


def class_numbers(values: Sequence, labels: Sequence[str], void: Sequence = ()) -> tuple[int, ...]:
    """The numbers of all classes, sorted, where the CSV numbers them as masks with 0 for the background do; else ().

    values: what the masks hold, in part. void: what is ignored.
    """
    numbers = numbers_of(labels)
    fore = {value for value in values if value != 0}
    is_near = bool(fore) and fore.issubset(numbers) and 0 in values and 0 not in numbers
    return tuple(sorted(numbers)) if is_near and max(numbers) <= TOP and not {*void} & {*numbers} else ()


def are_all_in_csv(values: Sequence, legend: dict, of_csv: Sequence[str]) -> bool:
    """Whether the CSV has rows for every value of the masks, so that none of them is a background."""
    own = {str(legend.get(value, value)).casefold() for value in values}
    return bool(own) and own == {label.casefold().lstrip("0") or "0" for label in of_csv}
