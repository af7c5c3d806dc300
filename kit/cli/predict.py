"""python -m kit predict: predict images with a run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.cli.flags import unzipped
from kit.system.clock import process_started


@dataclass(frozen=True)
class Predict:
    """Predict images with a run folder, or a blend of several: neither training data nor recipe are needed.

    The folders may be read-only.
    The CSV is written as the run's competition writes it; a run without one leaves masks as files in --out. It is
    valid at every moment, also when the command is killed. Loading a run executes the Python in its folder.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]  # the run folder, or the JSON file that kit blend writes
    images: Path  # the folder or zip of the images; an id is a file's name, or what the run's data set says
    out: Path  # the CSV; a folder for masks where the run has no competition
    sample: Path | None = None  # the sample submission: its keys, all of them, in its order
    minutes: float | None = None  # the time limit: one network first, then more networks and views as time allows
    folds: tuple[int, ...] = ()  # the networks of these folds; all that are finished
    full: bool = False  # the networks that were trained on all data (--fold full of the recipe), in place of folds
    tta: Literal["none", "hflip", "flips", "d4"] | None = None  # the views that are averaged; the run's own
    on_bad_image: Literal["empty", "stop"] = "empty"  # an image that cannot be read: an empty mask, or an error
    device: tuple[str, ...] = ("auto",)  # a process each, as cuda:0 cuda:1; every GPU, else the CPU

    def run(self) -> int:
        """Predict; 1 if it could not, if no image could be read, or if the linter finds an error."""
        from kit.runs.predict import Request, predict  # imported here: PyTorch takes seconds

        seconds = None if self.minutes is None else 60 * self.minutes
        request = Request(
            run=self.run_dir,
            images=self.images,
            out=self.out,
            sample=unzipped(self.sample),
            seconds=seconds,
            started=process_started(),
            folds="full" if self.full else self.folds or "all",
            views=self.tta,
            on_bad_image=self.on_bad_image,
            devices=self.device,
        )
        try:
            errors = predict(request).errors
        except (ValueError, OSError) as error:
            errors = [str(error)]
        except KeyboardInterrupt:
            print(f"\nstopped. {self.out} holds what was predicted before; other images have empty masks")
            return 130
        for error in errors:
            print(f"error: {error}")
        return int(bool(errors))
