"""Are all rows of a CSV of masks right, and do objects of an image share pixels?

Of a CSV all rows are read, as the check before training does; of files of objects those of some images.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kit.data.shared_pixels import Shared, shared_in_words, shared_pixels
from kit.datasets.objects import label_image
from kit.new.decisions.csv_meaning import open_rows
from kit.new.decisions.meaning import Meaning
from kit.new.decisions.object_sizes import is_foreground
from kit.new.look.found import Study
from kit.system.files import spread

IMAGES = 16  # of which all files of objects are read


def note_masks(found: Study, meaning: Meaning, doubts: list[str]) -> None:
    """Add a doubt about pixels of several objects, and problems of rows and of objects of which nothing is left."""
    has_objects = meaning.task == "instances"
    if found.masks:
        if not has_objects or all(len(own) < 2 for own in found.masks.values()):
            return
        ids = spread(sorted(found.masks), IMAGES)
        among = f" (of {len(ids)} that were looked at)" * (len(ids) < len(found.masks))
        shared = _each(found, ids, lambda id: _of_files(found, id))
    else:
        ids, among = [id for id in found.ids if found.images[id] in found.sizes], ""
        names = meaning.classes if meaning.task == "multilabel" else meaning.classes[1:]
        try:
            rows = open_rows(found, meaning, meaning.task, names)
        except (ValueError, OSError) as error:
            if str(error) not in found.problems:
                found.problems.append(str(error))
            return
        if not has_objects:
            return
        shared = _each(found, ids, lambda id: rows.shared_pixels(id, found.sizes[found.images[id]]))
    if doubt := shared_in_words(shared, among):
        doubts.append(doubt)


def _each(found: Study, ids: Sequence[str], look: Callable[[str], Shared]) -> list[Shared]:
    """What the objects of each image share; an image of which an object cannot be read is a problem."""
    shared = []
    for id in ids:
        try:
            shared.append(look(id))
        except (ValueError, OSError) as error:
            if str(error) not in found.problems:
                found.problems.append(str(error))
    return shared


def _of_files(found: Study, id: str) -> Shared:
    layers = [(path, is_foreground(found, path)) for path in found.masks[id]]
    size = layers[0][1].shape
    if any(layer.shape != size for _, layer in layers):
        return Shared()  # said by the headers
    objects = [(path, np.flatnonzero(layer)) for path, layer in layers]
    return shared_pixels(objects, label_image(objects, size, id), id)
