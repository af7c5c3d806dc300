"""Names: one spelling for all that a person reads as the same name, and the names of CSVs."""

import re
import unicodedata
from pathlib import Path

IMAGE_ENDING = re.compile(r"\.(jpe?g|png|gif|bmp|tiff?|webp|npy|dcm)$", re.IGNORECASE)


def one_name(name: str) -> str:
    """Return the composed form (NFC), in which names are compared; macOS writes file names decomposed (NFD)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def form_of(name: str) -> str:
    """Return "NFC", "NFD" or "another form": how the accents of a name are written."""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)), "another form")


def rough_name(name: str) -> str:
    """Return what two spellings of one name share: without an image's ending, blanks and capitals."""
    return IMAGE_ENDING.sub("", one_name(name).strip()).casefold()


def csv_stem(folder: Path, recipe: str, drawn: bool) -> str:
    """How the names of a run's CSVs begin: after the recipe, and after the run folder where that has an own name.

    Two settings of one recipe, in two run folders, so have two files. drawn: the data was drawn by kit; then the
    name's end says it.
    """
    own = folder.resolve().name.removesuffix("_drawn" if drawn else "")
    return own if own == recipe or own.startswith(f"{recipe}_") else f"{recipe}_{own}"
