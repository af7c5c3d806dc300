"""python -m kit bundle: a folder that predicts without internet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kit.bundle.kaggle import NOBODY, Place
from kit.bundle.wheels import PLATFORMS, PYTHON, lacking


@dataclass(frozen=True)
class Bundle:
    """Make a folder that predicts with a run, or a blend of runs, without internet, as in a Kaggle notebook.

    It holds the run's networks and code, kit as a wheel, predict.py, a notebook, and what Kaggle's client needs to
    upload it as a private data set. Weights are in half precision where the run has measured that its score does not
    move by 1e-4 and its masks agree. Making it executes the Python in the run folder.
    A blend is the JSON file that kit blend writes: the bundle holds the networks of all its runs, and predicts as the
    blend's CSV was made.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # the run folder, or the JSON file of a blend
    out: Path  # the folder to make; it must not exist
    folds: tuple[int, ...] = ()  # the networks of these folds; all that are finished
    full_precision: bool = False  # weights as they are, also where half precision costs nothing: the same to the pixel
    full: bool = False  # the networks that were trained on all data (--fold full of the recipe), in place of folds
    wheels: bool = False  # fetch wheels of the packages that Kaggle lacks; needs internet here
    also: tuple[str, ...] = ()  # with --wheels: packages beside those that Kaggle lacks, as timm or timm==1.0.9
    python: str = PYTHON  # the other machine's, with --wheels
    platform: tuple[str, ...] = PLATFORMS  # the same, in pip's words
    user: str | None = None  # your name on Kaggle
    competition: str | None = None  # its name in Kaggle's addresses
    images: str = "test"  # the test images below the competition's folder
    sample: str = "sample_submission.csv"  # the same for the sample submission
    minutes: float = 480.0  # the time limit in the notebook
    push: bool = False  # upload it by Kaggle's client

    def run(self) -> int:
        """Write and perhaps upload; 1 if that could not be done."""
        from kit.bundle import Bundle as Wanted
        from kit.bundle import bundle, push  # imported at their first use: PyTorch takes seconds

        try:
            run = _only(self.run_dirs)
            user, name = self.user or NOBODY, run.resolve().name.removesuffix(".json")
            place = Place(user, name, self.competition, self.images, self.sample, self.minutes)
            lacks = self._lacks()
            bundle(
                Wanted(
                    run,
                    self.out,
                    place,
                    "full" if self.full else self.folds or "all",
                    lacks,
                    self.python,
                    self.platform,
                    not self.full_precision,
                )
            )
            if self.push:
                push(self.out, place)
            elif not self.user:
                print(f"before an upload, put your name on Kaggle in the place of {NOBODY} in both metadata files")
        except (ValueError, OSError) as error:
            print(f"error: {error}")
            return 1
        return 0

    def _lacks(self) -> tuple[str, ...]:
        """The packages to fetch. Raises ValueError for what is said of wheels where none are wanted."""
        said = {"--also": bool(self.also), "--python": self.python != PYTHON, "--platform": self.platform != PLATFORMS}
        if odd := [flag for flag, is_said in said.items() if is_said and not self.wheels]:
            raise ValueError(f"{' and '.join(odd)}: about wheels, and none are fetched without --wheels. Add it")
        return lacking(self.also) if self.wheels else ()


def _only(runs: tuple[Path, ...]) -> Path:
    """The one run. Raises ValueError for several."""
    if len(runs) != 1:
        raise ValueError(
            f"{len(runs)} runs were given, and a bundle holds one run or one blend: choose weights first by python -m "
            f"kit blend {' '.join(map(str, runs))} --out submissions/blend.csv, and give submissions/blend.json here"
        )
    return runs[0]
