"""The bundle on Kaggle: a notebook, and the two files from which Kaggle's client makes a data set and a notebook.

Their fields are those of Kaggle's documentation of `dataset-metadata.json` and `kernel-metadata.json`. A notebook's
address is its title in small letters with dashes, so both are made of one name.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOBODY = "YOUR-KAGGLE-NAME"  # the client refuses it


@dataclass(frozen=True)
class Place:
    """Where a bundle goes. user: the name on Kaggle; name: of the run; competition: its name in Kaggle's addresses.

    images, sample: the test images and the sample submission, below the competition's folder. minutes: for prediction.
    """

    user: str = NOBODY
    name: str = "run"
    competition: str | None = None
    images: str = "test"
    sample: str = "sample_submission.csv"
    minutes: float = 480.0

    @property
    def slug(self) -> str:
        """The name in addresses: 3 to 40 letters, digits and dashes."""
        return f"kit-{re.sub('[^a-z0-9]+', '-', self.name.lower()).strip('-')[:30].strip('-') or 'run'}"

    @property
    def dataset(self) -> str:
        """The data set's address."""
        return f"{self.user}/{self.slug}-bundle"


def write_files(folder: Path, place: Place) -> None:
    """Write predict.ipynb, dataset-metadata.json and kernel-metadata.json."""
    words = place.slug.replace("-", " ")
    dataset = {"title": f"{words} bundle", "id": place.dataset, "licenses": [{"name": "unknown"}]}
    kernel = {
        "id": f"{place.user}/{place.slug}-predict",
        "title": f"{words} predict",
        "code_file": "predict.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [place.dataset],
        "competition_sources": [place.competition] if place.competition else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    texts = {"dataset-metadata.json": dataset, "kernel-metadata.json": kernel, "predict.ipynb": notebook(place)}
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")


def notebook(place: Place) -> dict:
    """The notebook, nbformat 4: where things lie, and the prediction."""
    where = f'''# Kaggle shows data sets and competitions in /kaggle/input, directly or two folders further down.
from pathlib import Path

INPUT = Path("/kaggle/input")
bundle = next(path.parent for at in ("*", "*/*/*", "*/*") for path in INPUT.glob(f"{{at}}/manifest.json"))
data = next(path for at in ("", "competitions/") if (path := INPUT / (at + {place.competition or ""!r})).is_dir())
images, sample = data / {place.images!r}, data / {place.sample!r}  # a folder or zip; where there is no sample: None
options = f"--sample {{sample}}" if sample and sample.exists() else ""'''
    predict = (
        f"!python {{bundle}}/predict.py --images {{images}} {{options}} --minutes {place.minutes:g} "
        "--out /kaggle/working/submission.csv"
    )
    cells = [
        {
            "cell_type": "code",
            "id": name,
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": text.splitlines(keepends=True),
        }
        for name, text in (("where", where), ("predict", predict))
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def push(folder: Path, place: Place) -> None:
    """Upload the bundle as a private data set, or as a new version of it, and the notebook, by Kaggle's own client.

    Raises ValueError where the client is not installed or refuses.
    """
    if place.user == NOBODY:
        raise ValueError(f"{folder} is complete, but not uploaded: your name on Kaggle is needed (--user)")
    client = shutil.which("kaggle") or shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if client is None:
        raise ValueError(
            f"{folder} is complete, but not uploaded: Kaggle's client is not installed. `pip install kaggle`, then "
            f"`kaggle datasets create -p {folder} --dir-mode zip` and `kaggle kernels push -p {folder}`"
        )
    exists = subprocess.run([client, "datasets", "status", place.dataset], capture_output=True).returncode == 0
    upload = ["version", "--message", f"bundle {folder.name}"] if exists else ["create"]
    _call([client, "datasets", *upload, "-p", str(folder), "--dir-mode", "zip"])
    _call([client, "kernels", "push", "-p", str(folder)])


def _call(command: list[str]) -> None:
    """Run the client. It prints what it does, and some of its refusals end with success: read it."""
    print("$", " ".join(command), flush=True)
    if subprocess.run(command).returncode:
        raise ValueError(
            "Kaggle's client ended with an error, see above. A new data set takes minutes until a notebook can use it: "
            f"if that is what it says, run the last command again later: {' '.join(command)}"
        )
