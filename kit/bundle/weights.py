"""A run's files in a bundle: predictor.json, its code, and of each fold the weights and a small finished.json."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch

from kit.prediction.saved import SavedRun, load_network, write_saved
from kit.runs.half import halved, read_half
from kit.system.files import write_atomic
from kit.system.run_folder import Fold, fold_name, read_json


def copy_run(run: Path, saved: SavedRun, folds: Sequence[Fold], target: Path, *, may_halve: bool = True) -> list[str]:
    """Copy what prediction needs of `folds` into `target`, and load each network from there. Lines on the weights.

    may_halve: where half precision was measured to cost nothing.

    It executes the code of the run. Raises ValueError where a network cannot be made again or its weights do not fit.
    """
    write_saved(target, saved)
    lines = [f"rule: {saved.rule}, views {saved.tta}, tuned"] if saved.tuned else []
    for fold in folds:
        lines.append(_copy_fold(run / fold_name(fold), target / fold_name(fold), saved.recipe, may_halve))
        load_network(target, fold, saved)
    return lines


def _copy_fold(source: Path, target: Path, recipe: str, may_halve: bool) -> str:
    """Copy a fold, in half precision where that was measured to cost nothing. Returns a line on it."""
    target.mkdir()
    measured, weights = read_half(source, recipe), target / "last.safetensors"
    if may_halve and measured is not None and measured.is_enough:
        _write_half(source / "last.safetensors", weights)
        what = f"half precision: {measured}"
    else:
        shutil.copyfile(source / "last.safetensors", weights)
        unknown = FULL_FIT if source.name.startswith("full") else NOT_MEASURED
        unknown = AVERAGED if "averaged" in read_json(source / "finished.json") else unknown
        why = f"half would move {measured}" if measured else unknown
        what = f"full precision: {why if may_halve else 'as asked for'}"
    facts = {"recipe": recipe, "half": None if measured is None else {"full": measured.full, "half": measured.half}}
    write_atomic(target / "finished.json", json.dumps(facts))
    return f"{source.name}: {weights.stat().st_size / 1e6:.1f} MB in {what}"


FULL_FIT = "no image was held out on which half precision could be measured"
AVERAGED = "what half precision costs was not measured with averaged weights"
NOT_MEASURED = (
    "what half precision costs was not measured with these weights, and the training data is not at hand here. Run the "
    "recipe again where it is: finished folds are not trained again"
)


def _write_half(source: Path, target: Path) -> None:
    try:
        tensors = safetensors.torch.load_file(source)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{source} is damaged ({error})") from error
    write_atomic(target, safetensors.torch.save(halved(tensors), metadata={"kit": json.dumps({"half": True})}))
