"""One image that numbers the objects, made of a mask for each object."""

from collections.abc import Sequence

import numpy as np

from kit.data.formats import BadImage


def label_image(objects: Sequence[tuple[str, np.ndarray]], size: tuple[int, int], name: str) -> np.ndarray:
    """Number the objects of an image -> i32 (H, W): 0 is none, the first object 1, the second 2, …

    objects: of each the name, for messages, and its pixels: int (P,), places in the flat image along rows.
    A pixel of several objects goes to the smallest. An object without pixels has no label.
    Raises BadImage where other objects leave nothing of one.
    """
    labels = np.zeros(size[0] * size[1], np.int32)
    filled = [number for number, (_, pixels) in enumerate(objects) if pixels.size]
    for number in sorted(filled, key=lambda number: (-objects[number][1].size, objects[number][1][0])):
        labels[objects[number][1]] = number + 1
    left = np.bincount(labels, minlength=len(objects) + 1)
    if hidden := [objects[number][0] for number in filled if not left[number + 1]]:
        listed = ", ".join(hidden[:5]) + " …" * (len(hidden) > 5)
        raise BadImage(
            f"{name}: nothing is left of {listed}: other objects, in whole or in part, are the same pixels. Expected "
            "objects with pixels of their own. Delete those that are there twice"
        )
    return labels.reshape(size)
