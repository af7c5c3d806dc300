"""Do objects of an image share pixels? Of a CSV all rows are compared, of files those of some images."""

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


def note_shared(found: Study, meaning: Meaning, doubts: list[str]) -> None:
    """Add a doubt about pixels of several objects, and problems where nothing is left of an object."""
    if meaning.task != "instances" or (found.masks and all(len(own) < 2 for own in found.masks.values())):
        return
    if found.masks:
        ids = spread(sorted(found.masks), IMAGES)
        among = f" (of {len(ids)} that were looked at)" * (len(ids) < len(found.masks))
        shared = _each(found, ids, lambda id: _of_files(found, id))
    else:
        ids, among = [id for id in found.ids if found.images[id] in found.sizes], ""
        try:
            rows = open_rows(found, meaning, "instances", meaning.classes[1:])
        except (ValueError, OSError) as error:
            found.problems.append(str(error))
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
