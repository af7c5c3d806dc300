"""Which files an image of a data set is made of, where the data set reads files: what else these say."""

from collections.abc import Mapping

from kit.data.dataset import Dataset
from kit.datasets.files import DataFolder
from kit.datasets.image_files import ImageFiles


def folder_of(dataset: Dataset) -> DataFolder | None:
    """The folder of a data set's files; None of a data set that says nothing about files."""
    data = getattr(dataset, "data", None)
    return data if isinstance(data, DataFolder) else None


def image_paths(dataset: Dataset, id: str) -> list[str]:
    """The paths below folder_of(dataset) of an image's files; none where the data set says nothing about them."""
    files = getattr(dataset, "_images", None)
    if folder_of(dataset) is None:
        return []
    if isinstance(files, ImageFiles):
        return files.paths([id])
    return [files[id]] if isinstance(files, Mapping) and isinstance(files.get(id), str) else []
