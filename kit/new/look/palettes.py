"""Masks with palettes whose colours stand under other numbers than in most files: swapped palettes."""

from collections import Counter
from collections.abc import Mapping

Palette = Mapping[int, tuple[int, int, int]]  # the colours of the numbers that a file uses

MANY = 0.2  # of the files: from here on the numbers mean nothing, and masks are read by their colours


def swapped(palettes: Mapping[str, Palette]) -> dict[str, str]:
    """By path, what is wrong with each file that has a colour under another number than most files.

    Palettes of greys are passed over: their greys are the labels, under whatever number.
    """
    coloured = {path: own for path, own in palettes.items() if any(len(set(colour)) > 1 for colour in own.values())}
    twice = {colour for own in coloured.values() for colour, count in Counter(own.values()).items() if count > 1}
    seen: dict[tuple, Counter] = {}
    for own in coloured.values():
        for number, colour in own.items():
            seen.setdefault(colour, Counter())[number] += 1
    usual = {colour: numbers.most_common(1)[0] for colour, numbers in seen.items()}
    found = {}
    for path, own in coloured.items():
        odd = [
            f"{colour} is number {number}, and {usual[colour][0]} in {usual[colour][1]:,} files"
            for number, colour in own.items()
            if colour not in twice and usual[colour][1] > seen[colour][number]
        ]
        if odd:
            shown = "; ".join(odd[:3])
            found[path] = f"{path}: its palette has another order than most masks have: {shown}. Save it in their order"
    return found
