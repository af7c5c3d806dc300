"""Where a data set's folder is: --data-dir, $KIT_DATA, data/, Kaggle's input."""

import os
from pathlib import Path

from kit.data.dataset import Dataset


def no_folder(path: Path | str, of_zip: str = "") -> str:
    """The message that `path` is no folder of data. of_zip: what to do with a zip, beside unpacking it."""
    given = Path(path)
    archive = given if given.suffix.lower() == ".zip" and given.is_file() else given.with_name(f"{given.name}.zip")
    if archive.is_file():
        found = "is a zip" if archive == given else f"is no folder, but {archive.name} is there"
        return f"{path} {found}; expected the folder of the data set's files. Unpack the zip{of_zip}"
    return f"{path} is no folder; expected the folder of the data set's files"


def find_data(name: str, slug: str, data_dir: Path | str | None = None) -> Path | None:
    """Return the first folder that exists, or None.

    The order: `data_dir`, $KIT_DATA/<name>, data/<name>, /kaggle/input/<slug>, /kaggle/input/competitions/<slug>.
    Raises FileNotFoundError if `data_dir` is given and is no folder: never fall back silently from an explicit
    --data-dir to other data.
    """
    if data_dir is not None:
        if not Path(data_dir).is_dir():
            of_zip = ", or give the folder in which the data set's zips lie"
            raise FileNotFoundError(f"{no_folder(data_dir, of_zip)} (--data-dir)")
        return Path(data_dir)
    places = [Path("data", name), Path("/kaggle/input", slug), Path("/kaggle/input/competitions", slug)]
    if os.environ.get("KIT_DATA"):
        places.insert(0, Path(os.environ["KIT_DATA"], name))
    return next((place for place in places if place.is_dir()), None)


def require_data(dataset: type[Dataset], data_dir: Path | str | None = None) -> Path:
    """Return find_data's folder for a class with `name` and `slug`.

    Raises FileNotFoundError naming every place that was searched, and how to get the data.
    """
    name, slug = dataset.name, dataset.slug
    found = find_data(name, slug, data_dir)
    if found is None:
        raise FileNotFoundError(
            f"no {name} data in $KIT_DATA/{name}, data/{name}, /kaggle/input/{slug} or "
            f"/kaggle/input/competitions/{slug}. Give its folder (--data-dir), or get it by: "
            f"python -m kit download {name}"
        )
    return found
