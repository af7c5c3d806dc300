"""Names of classes from a table or another file beside the data: which value, or which colour, is which class."""

from collections.abc import Sequence

from kit.datasets.names import nfc
from kit.new.look.legends import Legend
from kit.new.look.tables import Table
from kit.submission.formats import read_columns

MOST_ROWS = 1000


def legend_of(tables: Sequence[Table | Legend], used: Sequence) -> dict[object, str] | None:
    """The name of each label in `used` by the first file that names them all; None where there is none.

    used: the masks' values, or colours (red, green, blue).
    """
    found = find_legend(tables, used)
    return None if found is None else found[1]


def find_legend(tables: Sequence[Table | Legend], used: Sequence) -> tuple[str, dict[object, str]] | None:
    """The path of that file, and the names."""
    for table in tables:
        names = table.of(list(used)) if isinstance(table, Legend) else _by_rows(table, used)
        if names:
            return table.path, names
    return None


def _by_rows(table: Table, used: Sequence) -> dict[object, str] | None:
    """The name of each label by a table that names them all."""
    rows = [] if table.has_masks else list(read_columns(table.file))[:MOST_ROWS]
    numeric = [column for column in table.columns if rows and all(row[column].isdecimal() for row in rows)]
    texts = [column for column in table.columns if column not in numeric]
    width = 3 if isinstance(used[0], tuple) else 1
    for at in range(len(numeric) - width + 1):
        keys = [tuple(int(row[column]) for column in numeric[at : at + width]) for row in rows]
        names = dict(zip(keys if width == 3 else [key[0] for key in keys], rows, strict=True))
        if texts and all(label in names for label in used) and len(names) == len(rows):
            found = {label: nfc(names[label][texts[0]]) for label in used}
            if len(set(found.values())) == len(found):
                return found
    return None
