"""The test images that a CSV names, mostly the sample submission: what `tests` of kit.datasets.Folder may be.

    Folder(…, images="images/*.png", masks=CsvMasks("train.csv", OWN), tests=CsvIds("sample_submission.csv", OWN))

All images lie in one folder there; those that the CSV names are to be predicted, the others are trained on.
"""

from dataclasses import dataclass
from pathlib import Path

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.submission.dialect import Dialect
from kit.submission.formats import read_header
from kit.submission.tables import read_rows
from kit.system.files import list_some


@dataclass(frozen=True)
class CsvIds:
    """The ids of a CSV's rows. file: its path below the data's folder, also in a zip. dialect: how it is written."""

    file: str
    dialect: Dialect

    def __post_init__(self):
        if not isinstance(self.dialect, Dialect):
            raise TypeError(
                f"the dialect of CsvIds is a {type(self.dialect).__name__}, expected a kit.submission.Dialect: that of "
                "the submission"
            )

    def read_ids(self, data: DataFolder) -> list[str]:
        """The ids, each once, in their order. Raises ValueError listing keys that the dialect does not write.

        Raises FileNotFoundError where the file is not there.
        """
        if Path(self.file).is_absolute():
            raise ValueError(f"CsvIds({self.file!r}): expected the path below the data's folder {data.root}")
        path = data.path(self.file)
        if path is None:
            raise FileNotFoundError(f"{data.root} holds no {self.file}, nor a zip with it; expected a CSV of tests")
        columns = read_header(path)
        if missing := [name for name in self.dialect.columns if columns.count(name) != 1]:
            raise ValueError(
                f"{self.file} has the columns {', '.join(columns)}, and its dialect {', '.join(self.dialect.columns)}: "
                f"{', '.join(missing)} should be there once. Give it dataclasses.replace(dialect, columns=(…))"
            )
        ids: dict[str, None] = {}
        odd: dict[str, None] = {}
        for cells in read_rows(path, self.dialect):
            key, _ = self.dialect.name_of(cells)
            try:
                ids.setdefault(nfc(self.dialect.parse_key(key)[0]))
            except ValueError as error:
                odd.setdefault(str(error))
        if odd:
            raise ValueError(f"the keys of {self.file} are not those of its dialect:{list_some(list(odd))}")
        return list(ids)
