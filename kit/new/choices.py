"""All decisions about a data set, each with its reason: what `kit new` prints, and what it writes the recipe from."""

from dataclasses import dataclass, replace
from pathlib import Path

from kit.datasets.groups import group_ids
from kit.new.goal import Goal, dialect_of_study, goal_of
from kit.new.groups import Grouping, find_groupings
from kit.new.meaning import Meaning, meaning_of, meaning_of_table
from kit.new.network import Network, network_of
from kit.new.roles import Asked
from kit.new.sizing import Device, Sizing, device_of, sizing_of
from kit.new.slides import Slides, are_slides, slides_of
from kit.new.study import Study, image_vector, study
from kit.new.upright import OF_SLIDES
from kit.submission.dialect import Dialect
from kit.system.files import counted, raise_all

SELDOM = 0.1  # of the images show the rarest class: such images are then drawn more often
RARE = 20  # times rarer than the most frequent class: the loss then weighs classes
TINY = 0.001  # of all pixels: a class with fewer would get a weight that a few pixels decide
FOLDS = 5


@dataclass(frozen=True)
class Wishes:
    """What the user says, in place of what would be found; None: found. The flags of `python -m kit new`."""

    asked: Asked = Asked()  # noqa: RUF009 (frozen)
    task: str | None = None
    classes: tuple[str, ...] = ()
    groups: str | None = None  # a regular expression, FILE.csv:ID:GROUP, or "none"
    metric: str | None = None
    order: str | None = None
    csv_size: tuple[int, int] | None = None  # (height, width) of the masks in the CSV; None: those of the images
    planes: tuple[int, ...] = ()  # of files with several channels, those to take
    device: str = "auto"
    slides: bool = False  # the images are read in parts, although they are not that large


@dataclass
class Choices:
    """What a recipe is written from."""

    found: Study
    meaning: Meaning
    grouping: Grouping | None
    groups: object  # what Folder takes, or None
    sizing: Sizing
    network: Network
    goal: Goal
    folds: int
    weighted: bool  # the loss weighs classes
    is_rare: bool  # images of the rarest class are drawn more often
    channels: int  # of the images, as they reach the network
    reasons: list[tuple[str, str]]  # (what, the decision and why), in the order of the recipe
    doubts: list[str]
    slides: Slides | None = None  # where images are read in parts


def choose(root: Path, wishes: Wishes = Wishes()) -> Choices:
    """Look at a folder and decide everything. Raises ValueError with the choices where the data cannot tell."""
    found = study(root, wishes.asked)
    _check_planes(found, wishes.planes)
    meaning = meaning_of(found, wishes.task, wishes.classes) if found.masks else None
    dialect, how = dialect_of_study(found, meaning, wishes.order)
    if dialect is not None and wishes.csv_size is not None:
        dialect = replace(dialect, size=wishes.csv_size)
    if dialect is not None and wishes.task == "binary" and dialect.rows == "instance":
        dialect = replace(dialect, rows="image")
    if meaning is not None and dialect is not None:
        dialect = _with_labels(meaning, dialect, bool(wishes.classes))
    if meaning is None:
        task = wishes.task
        if task is None and dialect.rows == "class" and (wishes.slides or are_slides(found)):
            task = "multiclass"  # slides have one class a pixel
        meaning = meaning_of_table(found, dialect, task, wishes.classes)
    grouping, groups, doubts = _groups_of(found, wishes.groups)
    doubts = [*meaning.doubts, *doubts]
    if found.sample and meaning.task == "instances" and dialect.rows == "image":
        doubts = [
            f'{found.sample.path} has one row an image: where it wants one an object, write rows="instance"',
            *doubts,
        ]
    device = device_of(wishes.device)
    sizing = sizing_of(found.shapes(), len(found.images), device, found.sides.is_upright)
    goal = goal_of(meaning, wishes.metric, dialect if found.sample else None, how)
    count = grouping.count if grouping else len(found.images)
    weighted = meaning.task == "multiclass" and _is_uneven(meaning)
    is_rare = meaning.task == "multiclass" and meaning.rarest < SELDOM
    network, channels, folds = network_of(device.kind), _channels_of(found), min(FOLDS, count)
    choices = Choices(
        found, meaning, grouping, groups, sizing, network, goal, folds, weighted, is_rare, channels, [], doubts
    )
    if wishes.slides or are_slides(found):
        as_slides(choices, device)
    choices.reasons = [*_reasons(choices)]
    return choices


def as_slides(choices: Choices, device: Device) -> None:
    """Change what differs for slides. Raises ValueError where their masks do not suit them."""
    found = choices.found
    choices.slides = slides_of(found, choices.meaning, choices.meaning.table and choices.goal.dialect, device)
    choices.sizing, found.sides = choices.slides.sizing, OF_SLIDES
    choices.weighted = choices.is_rare = False
    choices.channels = max((kind.channels for kind in found.kinds), default=3)


def _channels_of(found: Study) -> int:
    """Of the images as they reach the network. Grey of 8 bits is repeated to RGB, for which encoders have weights."""
    each = max((kind.channels for kind in found.kinds), default=3)
    most = len(found.planes or range(each)) * max(1, len(found.bands))
    return 3 if most == 1 and found.dtype == "uint8" else most


def _channels_in_words(choices: Choices) -> str:
    own = sorted({kind.channels for kind in choices.found.kinds})
    if choices.found.bands:
        return f"{len(choices.found.bands)} files an image with {counted(own[-1], 'channel')} each"
    if own == [choices.channels]:
        return counted(own[0], "channel")
    return f"{' and '.join(map(str, own))} channels; grey is repeated to RGB, for which encoders have weights"


def _with_labels(meaning: Meaning, dialect: Dialect, is_named: bool) -> Dialect:
    """The dialect with its labels in the order of the classes. Raises ValueError where nothing says which is which."""
    labels, own = dialect.labels, meaning.classes[1:]
    if not labels or all(label.isdecimal() for label in labels) or meaning.task != "multiclass":
        return dialect
    by_name = {label.casefold(): label for label in labels}
    if {name.casefold() for name in own} == set(by_name):
        return replace(dialect, labels=tuple(by_name[name.casefold()] for name in own))
    if is_named and len(own) == len(labels):
        return dialect
    held = list(meaning.values or range(len(own) + 1))
    raise ValueError(
        f"the CSV names the classes {', '.join(labels)}, and nothing says which is which in the masks, which hold "
        f"{', '.join(map(str, held))}: name them in this order, as --classes {' '.join(meaning.classes)}"
    )


def _check_planes(found: Study, planes: tuple[int, ...]) -> None:
    """Raise ValueError where each channel has a file, and each file several channels, and nothing says which."""
    several = max((kind.channels for kind in found.kinds), default=1)
    if found.bands and several > 1 and not planes:
        raise ValueError(
            f"{', '.join(found.bands)} are files of a channel each, and each holds {several}, as points in time: say "
            f"which the masks are of, counted from 0: --planes {several // 2}"
        )
    found.planes = planes


def _is_uneven(meaning: Meaning) -> bool:
    shares = [share for share in meaning.shares if share]
    return bool(shares) and min(shares) * RARE < max(shares) and min(shares) > TINY


def _groups_of(found: Study, wish: str | None) -> tuple[Grouping | None, object, list[str]]:
    """The grouping to use, what Folder takes, and doubts."""
    if wish == "none":
        return None, None, []
    if wish is not None:
        parts = wish.split(":")
        argument = tuple(parts) if len(parts) == 3 and parts[0].endswith(".csv") else wish
        problems: list[str] = []
        groups = group_ids(found.ids, argument, found.data, problems)
        raise_all(problems, f"problems with --groups {wish}")
        return Grouping(argument, "asked for", tuple(groups), float("nan"), is_named=True), argument, []
    groupings, doubts = find_groupings(found.ids, found.tables, image_vector(found))
    if groupings and groupings[0].is_clear:
        return groupings[0], groupings[0].argument, doubts
    return None, None, doubts


def _reasons(choices: Choices):
    """Yield (what, why) for every decision."""
    found, meaning = choices.found, choices.meaning
    shapes = found.shapes()
    (size, most), sizes = shapes.most_common(1)[0], len(shapes)
    shown = f"{size[0]}×{size[1]}" + (f" ({most}) and {counted(sizes - 1, 'other size')}" if sizes > 1 else "")
    yield "images", f"{len(found.images):,} with masks, {shown}, {found.dtype}, {_channels_in_words(choices)}"
    if found.tests:
        yield "tests", f"{len(found.tests):,} images to predict"
    yield "task", f"{meaning.task}: {'; '.join(meaning.reasons)}"
    if choices.grouping:
        yield "groups", str(choices.grouping)
    else:
        yield "groups", "none found by ids, folders or tables: every image is its own"
    yield "folds", _folds_in_words(choices)
    yield "size", choices.sizing.reasons[0]
    yield "training", choices.sizing.reasons[1]
    yield "network", choices.network.reason
    if choices.is_rare:
        yield "sampling", f"the rarest class is in {meaning.rarest:.1%} of the images; those are drawn more often"
    yield "views", str(found.sides)
    yield "loss", _loss_in_words(choices)
    for reason in choices.goal.reasons:
        yield "goal", reason


def _folds_in_words(choices: Choices) -> str:
    if choices.found.split:
        held = len(choices.found.split)
        rest = len(choices.found.images) - held
        source = choices.found.split_list or "the folders"
        return f"one, of {source}: {held:,} images are held out, {rest:,} are trained on"
    of = "whole groups" if choices.groups else "images"
    return f"{choices.folds} of {of}, small and large foregrounds shared out equally"


def _loss_in_words(choices: Choices) -> str:
    meaning = choices.meaning
    if meaning.task != "multiclass":
        return "cross-entropy and Dice, which counts a small foreground as much as a large background"
    if not choices.weighted:
        return "cross-entropy"
    shares = dict(zip(meaning.classes, meaning.shares, strict=True))
    rare = min((name for name in shares if shares[name]), key=shares.get)
    return f"cross-entropy weighted by median frequency: {rare} has {shares[rare]:.2%} of the pixels"
