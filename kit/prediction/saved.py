"""predictor.json: what a run folder says of prediction, so that it needs neither the training data nor the recipe.

    saved = read_saved("runs/mine")                       SavedRun: task, classes, frame, views, rule, dialect, …
    saved = read_ruled("runs/mine")                       the same with the rule and views of rule.json, where used
    network = load_network("runs/mine", fold=0)           one fold's network with its weights, on the CPU
    predictor = Predictor.load("runs/mine")               the mean of all finished folds

    runs/<run>/predictor.json       plain JSON, see plain.py for values that JSON lacks
    runs/<run>/code/<recipe>.py     the script with which the last fold was predicted
    runs/<run>/code/modules/…       the user's modules that it had imported
    runs/<run>/fold<k>/last.safetensors, finished.json; the same of full<seed>, trained on all images

Loading a run executes the Python in its folder `code`: load only what you trust as you would trust a script.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from kit.prediction.chosen import read_chosen
from kit.prediction.frame import Frame
from kit.prediction.plain import Decoder, Encoder, LackingValue
from kit.prediction.predictor import Predictor
from kit.prediction.rebuild import KeptCall, rebuild
from kit.prediction.rule import Rule
from kit.prediction.views import TTA
from kit.system.files import write_atomic
from kit.system.run_folder import Fold, finished_json, fold_name, of_code
from kit.training.checkpoint import load_weights
from kit.training.loop import best_dtype
from kit.training.processes import choose_device

FILE, CODE, FORMAT = "predictor.json", "code", 1
OF_CALL = ("call", "values", "script", "package", "modules")
CALLS = ("network", "metric")  # of a SavedRun
ADVICE = (
    "Give finish a network() that the script defines at its top level and that uses constants and the flags alone: "
    "def network(): return unet(…). Then run the script again: finished folds are not trained again"
)


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """What a run says of prediction.

    name: of the recipe. recipe: the hash of its code (kit.runs.provenance), as in finished.json of each fold.
    task, classes, channels, dtype: of the data set; dtype is that of its images, "uint8", "uint16" or "float32".
    frame, tta, rule: how images are predicted. drawn: the data was drawn by kit.
    images: how files of images are found and read, the arguments of kit.datasets.Images; {} for the default.
    reads: "files" where the data set decodes files as kit does; else the class whose read_image does more.
    scale: by which slides are shrunk before they are predicted (kit.prediction.predict_slide); None: no slides.
    dialect: kit.submission.Dialect, or None. ids: the test ids in the order of the rows, () without a competition.
    network: how networks are made; None where that could not be kept, and problem says why.
    metric: how the metric is made; None where there is none or it could not be kept.
    tuned: the rule is that of rule.json. Its areas are of images at their own size, and scaled where a CSV has others.
    """

    name: str
    recipe: str
    task: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    dtype: str
    frame: Frame
    tta: TTA
    rule: Rule
    drawn: bool = False
    images: dict[str, object] = dataclasses.field(default_factory=dict)
    reads: str = "files"
    scale: int | None = None
    dialect: object | None = None
    ids: tuple[str, ...] = ()
    network: KeptCall | None = None
    metric: KeptCall | None = None
    problem: str = ""
    tuned: bool = False
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


def write_saved(folder: Path, saved: SavedRun) -> None:
    """Write predictor.json and the code of a run, where they are not what they were."""
    for name, text in _files_of(saved).items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            write_atomic(path, text)


def has_code(folder: Path, kept: KeptCall) -> bool:
    """Whether the folder's network is made by the same code; it was tried then."""
    path = folder / FILE
    if not path.is_file() or '"network": null' in path.read_text():
        return False
    files = {folder / CODE / name: text for name, text in kept.texts.items()}
    return all(file.is_file() and file.read_text() == text for file, text in files.items())


def _files_of(saved: SavedRun) -> dict[str, str]:
    """The files by name. predictor.json comes last: all is complete when it is there."""
    fields = [field.name for field in dataclasses.fields(saved) if field.name not in CALLS]
    encode = Encoder()
    facts, texts = {name: encode(getattr(saved, name)) for name in fields}, {}
    for name in CALLS:
        call = getattr(saved, name)
        facts[name] = call and {part: getattr(call, part) for part in OF_CALL}
        texts |= {f"{CODE}/{file}": text for file, text in (call.texts if call else {}).items()}
    return {**texts, FILE: json.dumps({"format": FORMAT, **facts}, indent=2, allow_nan=False) + "\n"}


def read_saved(folder: Path | str) -> SavedRun:
    """Read predictor.json. Raises FileNotFoundError where there is none, ValueError for a damaged or newer one."""
    path = Path(folder) / FILE
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} is missing, and there is no folder {folder}: expected a run folder, as runs/mine"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: it is written when a fold is finished. Run the recipe again with this run folder; "
            "finished folds are not trained again"
        )
    try:
        facts = json.loads(path.read_text())
        if facts.pop("format") > FORMAT:
            raise ValueError("it was written by a newer version of kit; install that one")
        calls = {name: _read_call(path.with_name(CODE), facts.pop(name, None)) for name in CALLS}
        known, decode = {field.name for field in dataclasses.fields(SavedRun)}, Decoder()
        return SavedRun(**{name: decode(value) for name, value in facts.items() if name in known}, **calls)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Run the recipe again with this run folder") from error


def read_ruled(folder: Path | str) -> SavedRun:
    """read_saved with the rule and views of rule.json, where they are used: how the run predicts new images."""
    saved = read_saved(folder)
    chosen = read_chosen(folder, lambda: scored_folds(folder, saved))
    if chosen is None or chosen.rule is None:
        return saved
    return dataclasses.replace(saved, rule=chosen.rule, tta=chosen.tta or saved.tta, tuned=True)


def _read_call(code: Path, kept: dict | None) -> KeptCall | None:
    if kept is None:
        return None
    files = [*filter(None, [kept["script"]]), *kept["modules"].values()]
    texts = {file: (code / file).read_text() for file in files}
    return KeptCall(**{name: kept[name] for name in OF_CALL}, texts=texts)


def network_maker(folder: Path | str, saved: SavedRun | None = None) -> Callable[[], nn.Module]:
    """The function that makes a run's network, without weights. It executes the run folder's code.

    Raises LackingValue, a ValueError, where the run could not keep how its network is made.
    """
    saved = saved or read_saved(folder)
    if saved.network is None:
        raise LackingValue(f"{Path(folder) / FILE} does not say how the network is made: {saved.problem}. {ADVICE}")
    make = rebuild(saved.network, Path(folder).resolve() / CODE)

    def made() -> nn.Module:
        try:
            return make()
        except Exception as error:  # whatever the user's code raises
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise LackingValue(
                f"the network of {folder} could not be made from the code in {Path(folder) / CODE} ({what}). If it "
                f"asks for files that are not here: {ADVICE[0].lower()}{ADVICE[1:]}"
            ) from error

    return made


def load_network(folder: Path | str, fold: Fold, saved: SavedRun | None = None) -> nn.Module:
    """The network of a fold with the weights with which its training ended, in eval mode, on the CPU.

    It executes the Python that the run folder keeps in `code`. saved: of the folder, where it was read before.
    Raises FileNotFoundError where the fold has no weights; ValueError where network and weights do not fit, or the
    network cannot be made again.
    """
    weights = Path(folder) / fold_name(fold) / "last.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing; the folds of {folder} with weights: {trained_folds(folder)}")
    network = network_maker(folder, saved)()
    load_weights(weights, network)
    return network.eval()


def trained_folds(folder: Path | str) -> list[int]:
    """The folds that have weights, also those in training."""
    found = [path.parent.name.removeprefix("fold") for path in Path(folder).glob("fold*/last.safetensors")]
    return sorted(int(number) for number in found if number.isdecimal())


def finished_folds(folder: Path | str, saved: SavedRun | None = None) -> list[int]:
    """The folds that can predict: with weights, and predicted by the code that the folder keeps.

    Raises ValueError where there is none.
    """
    found, trained = finished_json(folder), trained_folds(folder)
    if own := of_code({fold: facts for fold, facts in found.items() if fold in trained}, _recipe(folder, saved)):
        return list(own)
    if found:
        raise ValueError(f"no finished fold of {folder} has weights (last.safetensors), and a prediction needs them")
    raise ValueError(f"no fold of {folder} is finished; run the recipe")


def scored_folds(folder: Path | str, saved: SavedRun | None = None) -> list[int]:
    """The folds whose held-out images are predicted and scored by the code that the folder keeps, [] without any.

    Weights are not needed: they may have been removed, or left on another machine.
    """
    found = {fold: facts for fold, facts in finished_json(folder).items() if "key" in facts}
    return list(of_code(found, _recipe(folder, saved)))


def _recipe(folder: Path | str, saved: SavedRun | None) -> str:
    return (saved or read_saved(folder)).recipe


def full_fits(folder: Path | str, saved: SavedRun | None = None) -> list[str]:
    """The full fits that are finished: ["full0", "full1"]; of several versions of the recipe those that it keeps.

    Raises ValueError where all are of other code than the folder keeps: that might make another network of them.
    """
    saved, found = saved or read_saved(folder), {}
    for path in sorted(Path(folder).glob("full*/finished.json")):
        if path.with_name("last.safetensors").is_file():
            found[path.parent.name] = json.loads(path.read_text()).get("recipe")
    own = [name for name, recipe in found.items() if recipe == saved.recipe]
    if found and not own:
        raise ValueError(
            f"the networks on all images in {folder} ({', '.join(found)}) were made by other code of the recipe than "
            f"{Path(folder) / CODE} keeps. Run the recipe for a fold, then on all images with each seed: what is "
            "trained already is not trained again"
        )
    return own


def wanted_folds(
    folder: Path | str, folds: Literal["all", "full"] | int | Sequence[int], saved: SavedRun | None = None
) -> list[Fold]:
    """The folds that `folds` means; "full": the full fits, as "all" does where a folder has nothing else, as a bundle.

    Raises ValueError for one that has no weights.
    """
    if folds == "full" or (folds == "all" and not trained_folds(folder)):
        if fits := full_fits(folder, saved):
            return fits
        if folds == "full":
            raise ValueError(f"{folder} has no network that was trained on all data: run the recipe with --fold full")
    if folds == "all":
        return finished_folds(folder, saved)
    wanted, there = [folds] if isinstance(folds, int) else list(folds), trained_folds(folder)
    if lost := [fold for fold in wanted if fold not in there] or not wanted:
        raise ValueError(f"folds {lost if wanted else wanted} of {folder}: those with weights are {there}")
    return wanted


def load_predictor(
    folder: Path | str,
    folds: Literal["all", "full"] | int | Sequence[int] = "all",
    device: str = "auto",
    tta: TTA | None = None,
) -> Predictor:
    """The Predictor of a run: see Predictor.load."""
    saved, target = read_ruled(folder), choose_device(device)
    networks = [load_network(folder, fold, saved).to(target) for fold in wanted_folds(folder, folds, saved)]
    return predictor_of(saved, networks, best_dtype(target), tta)


def predictor_of(
    saved: SavedRun,
    networks: Sequence[nn.Module],
    dtype: torch.dtype = torch.float32,
    tta: TTA | None = None,
    each: bool = False,
) -> Predictor:
    """A Predictor of a run's networks. tta: other views than the run's own. each: see Predictor."""
    return Predictor(networks, saved.frame, saved.tta if tta is None else tta, saved.rule, dtype, each)
