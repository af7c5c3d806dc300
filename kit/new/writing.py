"""Write a recipe from the choices: a script of at most 120 lines to read, edit and run."""

import re
import textwrap
from pathlib import Path

from kit.data.dataset import RGB
from kit.new.choices import Choices
from kit.new.metrics import METRICS

WIDTH = 119
LONGEST = 120  # lines


def recipe_text(choices: Choices, root: Path, path: Path) -> str:
    """The script. root: the data's folder, as its default; path: where the script will be."""
    parts = [_head(choices, root, path), _imports(choices), _config(choices, root, path), _main(choices)]
    parts += [_data(choices), _folds(choices), _train(choices), _network(choices)]
    parts.append('if __name__ == "__main__":\n    launch(main)')
    return "\n\n\n".join(filter(None, parts)) + "\n"


def _head(choices: Choices, root: Path, path: Path) -> str:
    title = f"U-Net on {root.resolve().name}: {choices.meaning.task} masks of {len(choices.found.images):,} images."
    csv = "its report and its CSV" if choices.goal.dialect else "and its report"
    whole = "" if choices.found.split else f"\n    python {path} --fold all    all folds, then all pooled"
    lines = [
        f'"""{title}\n',
        f"    python {path} --fold 0      one fold, {csv}{whole}\n",
        _wrapped("Written by `python -m kit new` from the files alone, to be read and changed. It found and decided:"),
    ]
    for what, why in choices.reasons:
        lines.append(_wrapped(f"- {what}: {_plain(why)}", "  "))
    lines += [_wrapped(f"- in doubt: {_plain(doubt)}", "  ") for doubt in choices.doubts[:3]]
    return "\n".join(lines) + '\n"""'


def _imports(choices: Choices) -> str:
    """The imports, sorted as ruff sorts them."""
    goal, meaning = choices.goal, choices.meaning
    names = {
        "kit.data": ["Resizing", _augment_name(choices)],
        "kit.datasets": ["Folder"],
        "kit.folds": [] if choices.found.split else ["area_group_kfold"],
        "kit.losses": ["cross_entropy"] if meaning.task == "multiclass" else ["bce_dice"],
        "kit.models.pretrained": ["unet"] + ["statistics"] * _is_rgb(choices),
        "kit.prediction": ["TTA", "VIEWS", "Frame"],
        "kit.recipe": ["finish", "launch"],
        "kit.runs": ["Count", "Plan", "Run", "Weights", "fit_fold", "open_run"] + ["Submission"] * bool(goal.dialect),
        "kit.scoring": [METRICS[goal.metric][0]],
        "kit.submission": ["Competition", "Dialect"] if goal.dialect else [],
        "kit.training": ["adamw", "supervised", "warmup_cosine"],
    }
    if choices.weighted:
        names["kit.losses"].append("median_frequency_weights")
    if choices.goal.dialect and not choices.found.masks:
        names["kit.submission"].append("CsvMasks")
    own = [_import(module, found) for module, found in names.items() if found]
    standard = ["from dataclasses import dataclass", "from pathlib import Path", "from typing import Literal"]
    if choices.weighted:
        standard.insert(0, "import functools")
    third = ["import numpy as np"] * bool(choices.found.split) + ["import torch", "import tyro", "from torch import nn"]
    return "\n\n".join(map("\n".join, [standard, third, own]))


def _config(choices: Choices, root: Path, path: Path) -> str:
    sizing = choices.sizing
    size = sizing.crop or sizing.size
    seen = (
        "height and width of a crop in training and of a tile after"
        if sizing.crop
        else "height and width that the network sees"
    )
    is_one = " (the folders' own split: only 0)" if choices.found.split else ""
    return f'''@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all"] = 0  # which fold to hold out{is_one}
    data_dir: Path = Path({_quoted(str(root))})
    run_dir: Path = Path("runs/{path.stem}")  # weights, predictions and report go here; an older run is resumed
    epochs: Count = {sizing.epochs}  # passes over the training images
    image_size: tuple[Count, Count] = {size}  # {seen}
    batch_size: Count = {sizing.batch_size}  # images a step
    lr: float = 1e-3  # the largest learning rate, after the warm-up
    seed: int = 0
    device: str = "auto"  # a GPU if there is one; or cpu, cuda, cuda:1, mps
    workers: int | None = None  # processes that load data
    encoder: str = "{sizing.encoder}"  # any of segmentation-models-pytorch's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file'''


def _main(choices: Choices) -> str:
    goal, found, sizing = choices.goal, choices.found, choices.sizing
    resizing = (
        "Resizing(None)" if sizing.crop else f"Resizing(config.image_size{', keep_ratio=True' * sizing.keep_ratio})"
    )
    given = ", statistics(config.encoder, config.encoder_weights)" if _is_rgb(choices) else ""
    tile = ", tile=config.image_size" * bool(sizing.crop)
    name, counted, _ = METRICS[goal.metric]
    metric = f"{name}({'num_classes=data.num_classes' * counted})"
    lines = [
        "def main() -> None:",
        f'    """Train the folds asked for and report on them{", then write the CSV" * bool(goal.dialect)}."""',
        "    config = tyro.cli(Config, description=__doc__)",
        "    data = read_data(config.data_dir)",
        f"    frame = Frame({resizing}{given}{tile})",
        f'    tta = TTA(VIEWS["{"hflip" if found.sides.is_upright else "d4"}"])',
        "    run = open_run(config, data, lambda: make_folds(config, data), frame, tta, __file__)",
    ]
    if goal.dialect:
        lines += [_dialect(choices), *_competition(choices, metric)]
        target = "Submission(competition)"
    else:
        target = metric
    lines.append(
        f'    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(config, "none"), {target})'
    )
    return "\n".join(lines)


def _dialect(choices: Choices) -> str:
    """The line of the dialect: only what differs from the defaults."""
    dialect = choices.goal.dialect
    parts = [_quoted(dialect.columns)]
    for name in ("rows", "order", "base", "relative", "empty", "keep_empty", "key", "class_column", "labels"):
        value, usual = getattr(dialect, name), type(dialect).__dataclass_fields__[name].default
        if value != usual or name == "order":
            parts.append(f"{name}={_quoted(value)}")
    line = f"    dialect = Dialect({', '.join(parts)})"
    if len(line) <= WIDTH:
        return line
    return "    dialect = Dialect(\n" + "".join(f"        {part},\n" for part in parts) + "    )"


def _competition(choices: Choices, metric: str) -> list[str]:
    sample = choices.found.sample.path
    place = f', sample_csv=config.data_dir / "{sample}"' if (choices.found.data.root / sample).is_file() else ""
    return [f"    competition = Competition(data, dialect, data.test_ids, {metric}{place})"]


def _data(choices: Choices) -> str:
    """The data set: what differs from Folder's defaults."""
    found, meaning = choices.found, choices.meaning
    arguments = {"images": found.patterns["images"], "masks": found.patterns.get("masks")}
    arguments["tests"] = found.patterns.get("tests")
    arguments["task"] = meaning.task if meaning.task in {"multilabel", "instances"} else None
    arguments["classes"] = meaning.classes
    arguments |= {"values": meaning.values, "ignore": meaning.ignore, "absent": meaning.absent or None}
    arguments["groups"] = choices.groups
    arguments["channels"] = choices.channels
    lines = [
        f"        {name}={_quoted(value, name == 'groups')}," for name, value in arguments.items() if value is not None
    ]
    return "\n".join(
        [
            "def read_data(folder: Path) -> Folder:",
            '    """The images and masks."""',
            "    return Folder(",
            "        folder,",
            *lines,
            "    )",
        ]
    )


def _folds(choices: Choices) -> str:
    head = (
        "def make_folds(config: Config, data: Folder) -> np.ndarray:"
        if choices.found.split
        else "def make_folds(config: Config, data: Folder):"
    )
    if choices.found.split:
        folder = next(iter(choices.found.split)).rpartition("/")[0]
        return (
            f'{head}\n    """The folders\' own split: {folder} is held out, the rest always trained on."""\n'
            f'    return np.array([0 if id.startswith("{folder}/") else -1 for id in data.ids])'
        )
    what = "whole groups" if choices.groups else "images"
    return (
        f'{head}\n    """{choices.folds} folds of {what}, alike in how much is foreground."""\n'
        f"    return area_group_kfold(data, {choices.folds}, config.seed)"
    )


def _train(choices: Choices) -> str:
    crop = ", config.image_size" * bool(choices.sizing.crop)
    lines = [
        "def train(run: Run, config: Config, fold: int) -> None:",
        '    """Train the network that has not seen `fold`; resumes from its last checkpoint."""',
        '    weights = "none" if run.is_begun(fold) else config.encoder_weights',
        "    model = network(config, weights).to(run.world.device)",
        '    optimizer = adamw(model, config.lr, encoder_factor=1.0 if config.encoder_weights == "none" else 0.3)',
        f"    augment = {_augment_name(choices)}(config.seed{crop}, dtype=run.dataset.dtype, channels=run.dataset.channels)",
        "    plan = Plan(config.epochs, config.batch_size, warmup_cosine, augment)",
    ]
    loss = "cross_entropy" if choices.meaning.task == "multiclass" else "bce_dice"
    if choices.weighted:
        lines += [
            "    masks = (run.dataset.read_mask(id) for id in run.trained_on(fold))",
            "    frequencies = median_frequency_weights(masks, run.dataset.num_classes).to(run.world.device)",
            "    criterion = functools.partial(cross_entropy, class_weights=frequencies)",
        ]
        loss = "criterion"
    return "\n".join([*lines, f"    fit_fold(run, fold, model, optimizer, supervised({loss}), plan)"])


def _network(choices: Choices) -> str:
    meaning = choices.meaning
    logits = {"binary": 1, "instances": 1}.get(meaning.task, len(meaning.classes))
    more = "" if choices.channels == len(RGB) else f", in_channels={choices.channels}"
    return (
        'def network(config: Config, weights: str) -> nn.Module:\n    """The architecture; edit it here."""\n'
        f"    model = unet(config.encoder, weights, num_classes={logits}{more})\n"
        "    return model.to(memory_format=torch.channels_last)"
    )


def _augment_name(choices: Choices) -> str:
    return "photo_augment" if choices.found.sides.is_upright else "turning_augment"


def _is_rgb(choices: Choices) -> bool:
    """Whether the images reach the network as RGB of 8 bits, so that the encoder's mean and deviation hold."""
    return choices.found.dtype == "uint8" and choices.channels == len(RGB)


def _import(module: str, names: list[str]) -> str:
    """An import as ruff formats it: constants, classes, functions; in several lines where it is long."""
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH + 1:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def _quoted(value: object, is_pattern: bool = False) -> str:
    """Python's text of a value, with double quotes; a regular expression raw."""
    if isinstance(value, str):
        raw = "r" if is_pattern and "\\" in value else ""
        return raw + ('"' + value + '"' if raw or ('"' not in value and "\\" not in value) else repr(value))
    if isinstance(value, tuple):
        inner = ", ".join(_quoted(one) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_quoted(one)}" for key, one in value.items()) + "}"
    return repr(value)


def _plain(text: str) -> str:
    """A reason as it may stand in a docstring."""
    return re.sub(r"\s+", " ", text).replace("\\", "/").replace('"""', "'''")


def _wrapped(text: str, indent: str = "") -> str:
    return "\n".join(
        textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )
