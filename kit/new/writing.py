"""Write a recipe from the choices: a script of at most 120 lines to read, edit and run."""

import re
from pathlib import Path

from kit.data.dataset import RGB
from kit.new.code_text import Code, argument, call, imported, quoted, wrapped
from kit.new.decisions.choices import Choices
from kit.new.decisions.metrics import METRICS
from kit.new.look.found import Study
from kit.system.files import counted

SAID = ("folds", "loss")  # what the recipe's functions say themselves
SHOWN = 3  # doubts
INLINE = 50  # characters of a dialect that is written where it is used
OWN = ("columns", "rows", "keep_empty", "key", "class_column", "size")  # of the masks' CSV
DIALECT = ("rows", "order", "base", "relative", "empty", "keep_empty", "key", "class_column", "labels", "size")


def recipe_text(choices: Choices, root: Path, path: Path) -> str:
    """The script. root: the data's folder, the default of --data-dir; path: where the script will be."""
    parts = [_config(choices, root, path), _main(choices), _data(choices), _folds(choices), _train(choices)]
    parts += [_network(choices), 'if __name__ == "__main__":\n    launch(main)']
    return _head(choices, root, path) + "\n\n" + _imports(choices) + "\n\n\n" + "\n\n\n".join(parts) + "\n"


def _head(choices: Choices, root: Path, path: Path) -> str:
    """The docstring: how to run it, and what was found and decided."""
    count = len(choices.found.images)
    lines = ['"""' + wrapped(f"U-Net on {root.resolve().name}: {choices.meaning.task}, {count:,} images."), ""]
    csv = "its report and its CSV" if choices.goal.dialect else "and its report"
    every = "" if choices.found.split else "; --fold all: of all folds, pooled"
    lines.append(f"    python {path} --fold 0    one fold, {csv}{every}")
    lines += [
        "",
        wrapped("Written by `python -m kit new` from the files alone, to be read and changed. It found and decided:"),
    ]
    lines += [wrapped(f"- {what}: {why}", "  ") for what, why in choices.reasons if what not in SAID]
    doubts = [doubt.partition(":\n")[0] for doubt in choices.doubts]  # --look lists the images too
    lines += [wrapped(f"- in doubt: {doubt}", "  ") for doubt in doubts[:SHOWN]]
    if more := len(choices.doubts[SHOWN:]):
        lines.append(f"- and {counted(more, 'doubt')} more, which `python -m kit new … --look` prints")
    return "\n".join(lines) + '\n"""'


def _imports(choices: Choices) -> str:
    """The imports, sorted as ruff sorts them."""
    of_runs = ["Weights", "fit_fold", "open_run"]
    goal, has_csv, keeps_test = choices.goal, bool(choices.goal.dialect), _keeps_test(choices)
    losses = [_loss_name(choices)]
    names = {
        "kit.data": ["Resizing", _augment_name(choices)]
        + ["SlideCrops"] * bool(choices.slides)
        + ["border_target"] * choices.has_borders,
        "kit.datasets": [_dataset(choices)],
        "kit.folds": [] if choices.found.split else ["area_group_kfold"],
        "kit.losses": losses + ["median_frequency_weights"] * choices.weighted,
        "kit.models.encoder_unet": ["EncoderUNet"] * choices.has_borders,
        "kit.models.pretrained": ["encoder" if choices.has_borders else "unet"] + ["statistics"] * _is_rgb(choices),
        "kit.prediction": ["TTA", "VIEWS", "Frame"] + ["Rule"] * choices.has_borders,
        "kit.recipe": ["finish", "launch"],
        "kit.runs": ["Count"] + ["Free"] * keeps_test + ["Plan", "Run"] + ["Submission"] * has_csv + of_runs,
        "kit.scoring": [METRICS[goal.metric][0]],
        "kit.submission": _names_of_submission(choices),
        "kit.training": ["adamw", "supervised", "warmup_cosine"] + ["repeat_factors"] * choices.is_rare,
    }
    own = [imported(module, found) for module, found in names.items() if found]
    from_dataclasses = ["dataclass"] + ["replace"] * bool(_changes(choices))
    standard = [f"from dataclasses import {', '.join(from_dataclasses)}"]
    standard += ["from pathlib import Path", "from typing import Literal"]
    third = ["import numpy as np", "import torch", "import tyro", "from torch import nn"]
    return "\n\n".join(map("\n".join, [["import functools"] * choices.weighted + standard, third, own]))


def _keeps_test(choices: Choices) -> bool:
    """Whether predictions of the test images can be kept, to blend runs: of slides they are not."""
    return bool(choices.goal.dialect) and not choices.slides


def _names_of_submission(choices: Choices) -> list[str]:
    has_csv, has_table = bool(choices.goal.dialect), choices.meaning.table is not None and not choices.slides
    names = {"Competition": has_csv, "Dialect": has_csv or has_table, "CsvMasks": has_table}
    names["CsvIds"] = choices.found.has_named_tests and not choices.slides
    return [name for name, is_used in names.items() if is_used]


def _config(choices: Choices, root: Path, path: Path) -> str:
    sizing = choices.sizing
    seen = "of the crops in training and the tiles after" if sizing.crop else "that the network sees"
    passes = f"of {choices.slides.crops} crops each" if choices.slides else "passes over the training images"
    is_one = "; one split: 0 or full" * bool(choices.found.split)
    what = "keep every fold's predictions of the test images, to blend runs"
    kept = f"\n    keep_test: Free[bool] = False  # {what}" * _keeps_test(choices)
    return f'''@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none{is_one}
    data_dir: Path = Path({quoted(str(root))})
    run_dir: Path = Path("runs/{path.stem}")  # weights, predictions and report go here; an older run is resumed
    epochs: Count = {sizing.epochs}  # {passes}
    image_size: tuple[Count, Count] = {sizing.crop or sizing.size}  # height and width {seen}
    batch_size: Count = {sizing.batch_size}  # images a step
    lr: float = {choices.network.lr:g}  # the largest learning rate, after the warm-up
    seed: int = 0
    device: str = "auto"  # a GPU if there is one; or cpu, cuda, cuda:1, mps
    workers: int | None = None  # processes that load data; None: none on a CPU, up to eight for a GPU
    encoder: str = "{choices.network.encoder}"  # any of segmentation-models-pytorch's, or timm's as tu-NAME
    encoder_weights: Weights = "{choices.network.weights}"  # imagenet, none, or a file{kept}'''


def _main(choices: Choices) -> str:
    goal, found, sizing = choices.goal, choices.found, choices.sizing
    keep = ", keep_ratio=True" * sizing.keep_ratio
    frame = ["Resizing(None)" if sizing.crop else f"Resizing(config.image_size{keep})"]
    frame += ["statistics(config.encoder, config.encoder_weights)"] * _is_rgb(choices)
    frame += ["tile=config.image_size"] * bool(sizing.crop)
    name, takes_classes, _ = METRICS[goal.metric]
    metric = f"{name}({'data.num_classes' * takes_classes})"
    views = f'TTA(VIEWS["{"d4" if choices.is_turned and not choices.slides else "hflip"}"])'
    opened = ["config", "data", "lambda: make_folds(config, data)", "frame", views, "__file__"]
    opened += ["rule=rule"] * choices.has_borders
    lines = [
        "def main() -> None:",
        f'    """Train the folds asked for and report on them{", then write the CSV" * bool(goal.dialect)}."""',
        "    config = tyro.cli(Config, description=__doc__)",
        "    data = read_data(config.data_dir)",
        call("frame = Frame(", frame),
        *["    rule = Rule(objects=True, border=True)  # python -m kit tune improves it"] * choices.has_borders,
        call("run = open_run(", opened),
    ]
    if goal.dialect:
        sample = found.sample.path
        parts = ["data", "DIALECT", "data.test_ids", metric]
        if (found.data.root / sample).is_file():  # in a zip it is read for the decisions alone
            lines.append(f"    sample_csv = config.data_dir / {quoted(sample)}")
            parts.append("sample_csv=sample_csv")
        if found.is_compared and (found.data.root / found.mask_table.path).is_file():
            parts.append(f"train_csv=config.data_dir / {quoted(found.mask_table.path)}")
        kept = ", keep_test=config.keep_test" * _keeps_test(choices)
        lines.append(call("competition = Competition(", parts))
        lines.append(f"    submission = Submission(competition{kept})")
    else:
        lines.append(f"    metric = {metric}")
    last = "submission" if goal.dialect else "metric"
    ends = ["run", "config.fold", "lambda fold: train(run, config, fold)", 'lambda: network(config, "none")', last]
    return "\n".join([*lines, call("finish(", ends)])


def _data(choices: Choices) -> str:
    """The dialect, and the data set: what differs from its defaults."""
    found, meaning, slides = choices.found, choices.meaning, choices.slides
    values = {
        "images": _bands(found.bands) or found.patterns["images"],
        "masks": slides.masks if slides else _masks(choices),
        "order": slides.order if slides else None,
        "rows": slides.rows if slides else None,
        "tests": _tests(choices),
        "ids": found.patterns.get("ids"),
        "scale": slides.scale if slides else None,
        "task": None if _is_usual_task(choices) else meaning.task,
        "classes": None if found.layers else _classes(meaning.classes),
        "values": meaning.values,
        "ignore": meaning.ignore,
        "absent": meaning.absent or None,
        "lacking": found.lacking if found.masks and found.lacking != "refuse" else None,
        "groups": choices.groups,
        "planes": found.planes or None,
        "channels": None if found.bands else choices.channels,
    }
    lines = [argument(name, value) for name, value in values.items() if value is not None]
    name = _dataset(choices)
    head = [f"def read_data(folder: Path) -> {name}:", '    """The images and their masks."""', f"    return {name}("]
    return _dialect(choices) + "\n".join([*head, "        folder,", *lines, "    )"])


def _is_usual_task(choices: Choices) -> bool:
    """Whether Folder takes the task for granted, by the classes or by a file a class."""
    task, classes = choices.meaning.task, choices.meaning.classes
    return bool(choices.found.layers) or task == ("binary" if len(classes) == 2 else "multiclass")


def _bands(bands: dict[str, str]) -> object:
    """The patterns by channel; numbered ones as a rule."""
    names = {name: re.fullmatch(r"(.*?)(\d+)", name) for name in bands}
    if len(bands) < 4 or not all(names.values()):
        return bands
    front, widths = {found[1] for found in names.values()}, {len(found[2]) for found in names.values()}
    numbers = sorted(int(found[2]) for found in names.values())
    patterns = {pattern.replace(name, "NAME") for name, pattern in bands.items()}
    if len(front) + len(widths) + len(patterns) > 3 or numbers != list(range(numbers[0], numbers[-1] + 1)):
        return bands
    name = f"{front.pop()}{{k:0{widths.pop()}}}"
    pattern = patterns.pop().replace("{id}", "{{id}}").replace("NAME", name)
    return Code(f'{{f"{name}": f"{pattern}" for k in range({numbers[0]}, {numbers[-1] + 1})}}')


def _masks(choices: Choices) -> object:
    """The pattern of the masks, or the CSV of their run lengths."""
    meaning, found = choices.meaning, choices.found
    if found.layers:
        return dict(zip(meaning.classes, found.layers.values(), strict=True))
    if meaning.table is None:
        return found.patterns["masks"]
    changes = _changes(choices)
    own = f"replace(DIALECT, {', '.join(changes)})" if changes else "DIALECT"
    parts = [quoted(found.mask_table.path), "ROWS" if _is_long(changes) else own]
    parts += [f"lacking={quoted(meaning.lacking)}"] * (meaning.lacking != "refuse")
    return Code(f"CsvMasks({', '.join(parts)})")


def _changes(choices: Choices) -> list[str]:
    """How the CSV of the masks is written in another way than the submission, as arguments of `replace`.

    The name of the column of masks alone is found by CsvMasks.
    """
    own, usual = choices.meaning.table, choices.goal.dialect
    if own is None or usual is None or choices.slides:
        return []
    names = [name for name in OWN if getattr(own, name) != getattr(usual, name)]
    rest = [[name for name in one.columns if name != one.mask_column] for one in (own, usual)]
    if "columns" in names and rest[0] == rest[1] and len(choices.found.mask_table.columns) == len(own.columns):
        names.remove("columns")
    return [f"{name}={quoted(getattr(own, name))}" for name in names]


def _is_long(changes: list[str]) -> bool:
    """Whether the dialect of the masks needs a name of its own."""
    return sum(map(len, changes)) > INLINE


def _tests(choices: Choices) -> object:
    """The pattern of the images to predict, or the CSV that names them."""
    found = choices.found
    if found.has_named_tests:
        return Code(f"CsvIds({quoted(found.sample.path)}, DIALECT)")
    return _bands(found.test_bands) or found.patterns.get("tests")


def _classes(names: tuple[str, ...]) -> object:
    """The names, or where they only have numbers the rule that makes them."""
    if len(names) > 4 and names == ("background", *(f"class {number}" for number in range(1, len(names)))):
        return Code(f'("background", *(f"class {{k}}" for k in range(1, {len(names)})))')
    return names


def _dialect(choices: Choices) -> str:
    """How the CSV is written: what differs from Dialect's defaults, and always the order."""
    dialect = choices.goal.dialect or (None if choices.slides else choices.meaning.table)
    if dialect is None:
        return ""
    usual = {name: field.default for name, field in type(dialect).__dataclass_fields__.items()}
    values = {name: getattr(dialect, name) for name in DIALECT}
    parts = [f"{name}={quoted(one)}" for name, one in values.items() if one != usual[name] or name == "order"]
    text = call("DIALECT = Dialect(", [quoted(dialect.columns), *parts], indent="")
    if _is_long(changes := _changes(choices)):
        text += "\n" + call("ROWS = replace(", ["DIALECT", *changes], indent="")
    return text + "\n\n\n"


def _folds(choices: Choices) -> str:
    head = f"def make_folds(config: Config, data: {_dataset(choices)}) -> np.ndarray:"
    if listed := choices.found.split_list:
        return (
            f'{head}\n    """The official split: the images of a list are held out, the rest is always trained on."""\n'
            f"    lines = (config.data_dir / {quoted(listed)}).read_text().splitlines()\n"
            "    words = [line.split()[0] for line in lines if line.strip()]\n"
            "    held_out = {*words, *(Path(word).stem for word in words)}  # ids, or names of files\n"
            "    return np.array([0 if id in held_out else -1 for id in data.ids])"
        )
    if choices.found.split:
        folders = held_folders(choices.found)
        held = quoted(tuple(folders)) if len(folders) > 1 else quoted(folders[0])
        return (
            f'{head}\n    """The folders\' own split: one part is held out, the rest is always trained on."""\n'
            f"    return np.array([0 if id.startswith({held}) else -1 for id in data.ids])"
        )
    what = "whole groups" if choices.groups else "images"
    return (
        f'{head}\n    """Folds of {what}, alike in how much is foreground; of each --seed the same, to blend."""\n'
        f"    return area_group_kfold(data, {choices.folds}, seed=0)"
    )


def held_folders(found: Study) -> list[str]:
    """How the ids begin that are held out, and no others: the first folders, or the word, that tell them apart."""
    rest = [id for id in found.ids if id not in found.split]
    for depth in range(1, max(id.count("/") for id in found.split) + 1):
        fronts = sorted({"/".join(id.split("/")[:depth]) + "/" for id in found.split})
        if not any(id.startswith(tuple(fronts)) for id in rest):
            return fronts
    fronts = sorted({re.match(r"[^\W\d_]*[\W_]?", id)[0] for id in found.split})  # val_, of val_01
    if all(fronts) and not any(id.startswith(tuple(fronts)) for id in rest):
        return fronts
    raise ValueError(
        "no folder tells the images that are held out from the others: give --images and --masks of one part"
    )


def _train(choices: Choices) -> str:
    crop = ["config.image_size"] * bool(choices.sizing.crop and not choices.slides)
    parts = ["config.seed", *crop, "dtype=run.dataset.dtype", "channels=run.dataset.channels"]
    lines = [
        "def train(run: Run, config: Config, fold: int | str) -> None:",
        '    """Train the network that has not seen `fold`; resumes from its last checkpoint."""',
        '    weights = "none" if run.is_begun(fold) else config.encoder_weights',
        "    model = network(config, weights).to(run.world.device)",
        '    optimizer = adamw(model, config.lr, encoder_factor=1.0 if config.encoder_weights == "none" else 0.3)',
        call(f"augment = {_augment_name(choices)}(", parts),
        "    plan = Plan(config.epochs, config.batch_size, warmup_cosine, augment)",
    ]
    if choices.has_borders:
        crops = [f"crops={choices.sizing.crops}"] * (choices.sizing.crops > 1)
        plan = ["config.epochs", "config.batch_size", "warmup_cosine", "augment", "target=border_target", *crops]
        lines[-1] = call("plan = Plan(", plan)
    loss = _loss_name(choices)
    if choices.slides:
        parts = ["run.dataset", "run.trained_on(fold)", "config.image_size", f"count={choices.slides.crops}"]
        lines[-1:] = [
            call("crops = SlideCrops(", [*parts, "augment=augment", "seed=config.seed"]),
            "    plan = Plan(config.epochs, config.batch_size, warmup_cosine, samples=crops)",
        ]
    if choices.is_rare:
        lines[-1:] = [
            "    rare = repeat_factors(run.dataset.read_mask(id) for id in run.trained_on(fold))",
            "    plan = Plan(config.epochs, config.batch_size, warmup_cosine, augment, weights=rare)",
        ]
    if choices.weighted:
        lines += [
            "    masks = (run.dataset.read_mask(id) for id in run.trained_on(fold))",
            "    frequencies = median_frequency_weights(masks, run.dataset.num_classes).to(run.world.device)",
        ]
        loss = "functools.partial(cross_entropy, class_weights=frequencies)"
    return "\n".join([*lines, call("fit_fold(", ["run", "fold", "model", "optimizer", f"supervised({loss})", "plan"])])


def _loss_name(choices: Choices) -> str:
    if choices.has_borders:
        return "objects_and_borders"
    return "cross_entropy" if choices.meaning.task == "multiclass" else "bce_dice"


def _network(choices: Choices) -> str:
    if choices.has_borders:
        return _border_network(choices)
    logits = {"binary": 1, "instances": 1}.get(choices.meaning.task, len(choices.meaning.classes))
    channels = "" if choices.channels == len(RGB) else f", in_channels={choices.channels}"
    decoder = "" if choices.network.decoder is None else f", decoder_channels={choices.network.decoder}"
    return (
        'def network(config: Config, weights: str) -> nn.Module:\n    """The architecture; edit it here."""\n'
        f"    model = unet(config.encoder, weights, num_classes={logits}{channels}{decoder})\n"
        "    return model.to(memory_format=torch.channels_last)"
    )


def _border_network(choices: Choices) -> str:
    """A skip at the images' own size, because outlines of small objects are decided by single pixels."""
    given = "" if choices.channels == len(RGB) else f", in_channels={choices.channels}"
    parts = ["body", "num_classes=2"] + [f"in_channels={choices.channels}"] * bool(given)
    return (
        "def network(config: Config, weights: str) -> nn.Module:\n"
        '    """Two outputs: objects, and the borders between them; edit it here."""\n'
        f"    body = encoder(config.encoder, weights{given})\n"
        f"    return EncoderUNet({', '.join(parts)}).to(memory_format=torch.channels_last)"
    )


def _dataset(choices: Choices) -> str:
    return "Slides" if choices.slides else "Folder"


def _augment_name(choices: Choices) -> str:
    return "turning_augment" if choices.is_turned else "photo_augment"


def _is_rgb(choices: Choices) -> bool:
    """Whether the images reach the network as RGB of 8 bits, so that the encoder's mean and deviation hold."""
    return choices.found.dtype == "uint8" and choices.channels == len(RGB)
