"""All decisions about a data set, each with its reason: what `kit new` prints, and what it writes the recipe from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from kit.datasets.groups import group_ids, part_of_id
from kit.new.decisions.csv_labels import with_labels
from kit.new.decisions.csv_meaning import meaning_of_rows
from kit.new.decisions.goal import Goal, goal_of
from kit.new.decisions.groups import Grouping, find_groupings
from kit.new.decisions.meaning import Meaning, meaning_of
from kit.new.decisions.network import Network, network_in_words, network_of
from kit.new.decisions.object_sizes import object_side
from kit.new.decisions.rows import Said, check_said, form_of, number
from kit.new.decisions.shared_objects import note_masks
from kit.new.decisions.sizing import Device, Sizing, device_of, of_objects, sizing_of
from kit.new.decisions.slides import Slides, are_slides, slides_of, task_of_rows
from kit.new.look.asked import Asked
from kit.new.look.found import Study
from kit.new.look.questions import Question, question_of
from kit.new.look.study import image_vector, study
from kit.new.look.to_predict import check_lonely
from kit.new.look.upright import OF_SLIDES
from kit.submission.dialect import Dialect
from kit.system.files import counted, raise_all

SELDOM = 0.1  # of the images show the rarest class: such images are then drawn more often
RARE = 20  # times rarer than the most frequent class: the loss then weighs classes
TINY = 0.001  # of all pixels: a class with fewer would get a weight that a few pixels decide
FOLDS = 5
TURNED = 40  # epochs from which on turned copies are of use: each of the eight is then seen five times


@dataclass(frozen=True)
class Wishes:
    """What the user says, in place of what would be found; None: found. The flags of `python -m kit new`."""

    asked: Asked = Asked()  # noqa: RUF009 (frozen)
    task: str | None = None
    classes: tuple[str, ...] = ()
    groups: str | None = None  # a regular expression, FILE.csv:ID:GROUP, or "none"
    metric: str | None = None
    order: str | None = None
    base: int | None = None
    empty: str | None = None  # the cell of an empty mask in the CSV
    csv_size: tuple[int, int] | None = None  # (height, width) of the masks in the CSV; None: those of the images
    planes: tuple[int, ...] = ()  # of files with several channels, those to take
    device: str = "auto"
    slides: bool = False  # the images are read in parts, although they are not that large

    def flags(self) -> set[str]:
        """The flags that were given."""
        wishes = {f"--{name.replace('_', '-')}": value for name, value in vars(self).items() if name != "asked"}
        wishes |= {f"--{name}": value for name, value in vars(self.asked).items()}
        return {flag for flag, value in wishes.items() if value not in (None, (), "auto")}


@dataclass
class Choices:
    """What a recipe is written from. Where there are questions, what they are about is None."""

    found: Study
    meaning: Meaning | None
    grouping: Grouping | None
    groups: object  # what Folder takes, or None
    sizing: Sizing
    network: Network
    goal: Goal | None
    folds: int
    weighted: bool  # the loss weighs classes
    is_rare: bool  # images of the rarest class are drawn more often
    channels: int  # of the images, as they reach the network
    reasons: list[tuple[str, str]]  # (what, the decision and why), in the order of the recipe
    doubts: list[str]
    slides: Slides | None = None  # where images are read in parts
    has_borders: bool = False  # the network learns the borders between objects too
    questions: list[Question] = field(default_factory=list)  # what the files do not show

    @property
    def is_turned(self) -> bool:
        """Whether training sees all mirrored and turned copies of an image."""
        return not self.found.sides.is_upright and (self.slides is not None or self.sizing.epochs >= TURNED)


def choose(root: Path, wishes: Wishes = Wishes()) -> Choices:
    """Look at a folder and decide everything. Raises ValueError with the questions, where there are any."""
    choices = decide(root, wishes)
    if choices.questions:
        raise ValueError("\n".join(map(str, choices.questions)))
    return choices


def decide(root: Path, wishes: Wishes) -> Choices:
    """Decide all that the files show; what they do not is among the questions.

    Raises OpenQuestion where not even images and masks are found, OSError, and ValueError for a folder without images.
    """
    found, questions = study(root, wishes.asked), []

    def ask(step: Callable, *arguments: object) -> object:
        """The step's result; None where it raises ValueError, which becomes a question."""
        try:
            return step(*arguments)
        except ValueError as error:
            questions.append(question_of(error, wishes.flags()))
            return None

    ask(_check_planes, found, wishes.planes)
    ask(check_lonely, found, wishes.asked.lacking)
    device = ask(_device_of, wishes.device) or device_of("auto")
    meaning, dialect, how = _read_masks(found, wishes, ask)
    found.unused += _unused_names(found, meaning)
    groups = ask(_groups_of, found, wishes.groups)
    grouping, groups, doubts = groups or (None, None, [])
    doubts = [*_doubts_of(found, meaning, dialect), *doubts]
    if found.sample and found.sample.odd:
        found.problems.append(f"{found.sample.odd}; the recipe's CSV would not be of the competition's form")
    sizing = sizing_of(found.shapes(), len(found.images), device, found.sides.is_upright)
    goal = ask(goal_of, meaning, wishes.metric, dialect if found.sample else None, how) if meaning else None
    count = grouping.count if grouping else len(found.images)
    is_multiclass = meaning is not None and meaning.task == "multiclass"
    weighted, is_rare = is_multiclass and _is_uneven(meaning), is_multiclass and meaning.rarest < SELDOM
    network, channels, folds = network_of(device.kind), _channels_of(found), min(FOLDS, count)
    choices = Choices(
        found, meaning, grouping, groups, sizing, network, goal, folds, weighted, is_rare, channels, [], doubts
    )
    if meaning is not None and goal is not None and (wishes.slides or are_slides(found)):
        ask(as_slides, choices, device)
    elif meaning is not None and not questions:
        if meaning.task == "instances":
            _with_borders(choices, device)
        note_masks(found, meaning, doubts)
    choices.questions = questions
    choices.reasons = [*_reasons(choices)]
    return choices


def _doubts_of(found: Study, meaning: Meaning | None, dialect: Dialect | None) -> list[str]:
    """The doubts about files and masks, and whether a sample with a row an image may want a row an object."""
    doubts = [*found.doubts, *(meaning.doubts if meaning else ())]
    if meaning and found.sample and meaning.task == "instances" and dialect and dialect.rows == "image":
        doubts.insert(
            0, f'{found.sample.path} has one row an image: where it wants one an object, write rows="instance"'
        )
    return doubts


def _with_borders(choices: Choices, device: Device) -> None:
    """Tell objects apart by their borders, at the images' own scale, where they are small enough for crops."""
    found = choices.found
    sizing = of_objects(found.shapes(), len(found.images), device, object_side(found, choices.meaning))
    if sizing is not None:
        choices.sizing, choices.has_borders = sizing, True


def as_slides(choices: Choices, device: Device) -> None:
    """Change what differs for slides. Raises ValueError where their masks do not suit them."""
    found = choices.found
    choices.slides = slides_of(found, choices.meaning, device)
    choices.sizing, found.sides = choices.slides.sizing, OF_SLIDES
    choices.weighted = choices.is_rare = False
    choices.channels = max((kind.channels for kind in found.kinds), default=3)


def _read_masks(found: Study, wishes: Wishes, ask: Callable) -> tuple[Meaning | None, Dialect | None, str]:
    """What the masks mean, how the CSV is written, and the evidence for that. ask: see decide."""
    meaning = ask(meaning_of, found, wishes.task, wishes.classes) if found.masks else None
    has_background = bool(found.masks) or wishes.task == "multiclass" or wishes.classes[:1] == ("background",)
    labels = wishes.classes[has_background:]
    said = Said(wishes.order, wishes.base, wishes.empty, wishes.csv_size, labels)
    ask(check_said, found, said)
    form, numbered = ask(form_of, found, said), None
    if form is not None:
        if wishes.task == "binary" and form.rows == "instance" and not form.has_classes:
            form = replace(form, rows="image")
        numbered = ask(number, found, form, meaning, said)
    dialect, how = numbered or (form, "")
    if not found.masks and dialect is not None:
        are_parts = wishes.slides or are_slides(found)
        task = wishes.task
        if task is None and are_parts and len(dialect.labels) > 1:
            task = ask(task_of_rows, found, dialect.labels)
        is_final = numbered is not None and not are_parts  # whole masks of slides are too large to compare
        meaning = ask(meaning_of_rows, found, dialect, task, wishes.classes, is_final)
    if meaning is not None and dialect is not None:
        named = ask(with_labels, meaning, dialect, bool(wishes.classes))
        dialect = named or dialect
        if meaning.table is not None:
            meaning.table = replace(meaning.table, labels=dialect.labels)
    return meaning, dialect, how


def _device_of(name: str) -> Device:
    """The device asked for. Raises ValueError for one that is not there."""
    kind = name.partition(":")[0]
    if kind not in {"auto", "cpu", "cuda", "mps"}:
        raise ValueError(f"--device {name}: expected auto, cpu or cuda")
    device = device_of("cpu" if kind == "mps" else name)
    if kind == "cuda" and device.kind != "cuda":
        raise ValueError(
            f"--device {name}: this machine shows no such GPU, by whose memory sizes are chosen: --device cpu"
        )
    return device


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
    counts = " and ".join([*map(str, own[:-1]), counted(own[-1], "channel")])
    return f"{counts}; grey is repeated to RGB, for which encoders have weights"


def _check_planes(found: Study, planes: tuple[int, ...]) -> None:
    """Raise ValueError where each channel has a file, and each file several channels, and nothing says which."""
    several = max((kind.channels for kind in found.kinds), default=1)
    if found.bands and several > 1 and not planes:
        raise ValueError(
            f"{', '.join(found.bands)} are files of a channel each, and each holds {several}, as points in time: say "
            f"which the masks are of, counted from 0: --planes {several // 2}"
        )
    most = several * (1 if found.bands else max(1, len(found.bands)))
    if odd := [plane for plane in planes if not 0 <= plane < most]:
        raise ValueError(f"--planes {' '.join(map(str, odd))}: images have {counted(most, 'channel')}, the first is 0")
    found.planes = planes


def _unused_names(found: Study, meaning: Meaning | None) -> list[str]:
    """Files that may name classes, and do not."""
    reasons = meaning.reasons if meaning else []
    rest = [one.path for one in found.legends if f"named by {one.path}" not in reasons]
    return [
        *(f"{path}, which has names, but not one for each value of the masks" for path in rest),
        *(f"{path}, which may say what the classes are" for path in found.likely),
    ]


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
        try:
            groups = group_ids(found.ids, argument, found.data, problems)
        except (ValueError, OSError) as error:
            raise ValueError(f"--groups {wish}: {error}") from error
        raise_all(problems, f"problems with --groups {wish}")
        words = "asked for"
        if isinstance(argument, tuple) and (example := part_of_id(found.ids, argument, found.data)):
            words = f"asked for; {argument[1]} is a part of each id, as {example[1]} of {example[0]}"
        return Grouping(argument, words, tuple(groups), float("nan"), is_named=True), argument, []
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
        named = f": those of the images that {found.sample.path} names" if found.has_named_tests else ""
        yield "tests", f"{counted(len(found.tests), 'image')} to predict{named}"
    if meaning is not None:
        yield "task", f"{meaning.task}: {'; '.join(meaning.reasons)}"
    if choices.grouping:
        yield "groups", str(choices.grouping)
    else:
        yield "groups", "none found by ids, folders or tables: every image is its own"
    yield "folds", _folds_in_words(choices)
    yield "size", choices.sizing.reasons[0]
    yield "training", choices.sizing.reasons[1]
    yield "network", network_in_words(choices.network, choices.has_borders)
    if choices.is_rare:
        yield "sampling", f"the rarest class is in {meaning.rarest:.1%} of the images; those are drawn more often"
    yield "views", _views_in_words(choices)
    if meaning is not None:
        yield "loss", _loss_in_words(choices)
    for reason in choices.goal.reasons if choices.goal else ():
        yield "goal", reason


def _views_in_words(choices: Choices) -> str:
    sides = choices.found.sides
    if sides.is_upright or choices.is_turned:
        return str(sides)
    return f"mirrored left to right: {choices.sizing.epochs} epochs are too few for all symmetries; {sides.shares}"


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
    if choices.has_borders:
        return "cross-entropy and Dice, of the objects and of the borders between those that touch or nearly do"
    if meaning.task != "multiclass":
        return "cross-entropy and Dice, which counts a small foreground as much as a large background"
    if not choices.weighted:
        return "cross-entropy"
    shares = dict(zip(meaning.classes, meaning.shares, strict=True))
    rare = min((name for name in shares if shares[name]), key=shares.get)
    return f"cross-entropy weighted by median frequency: {rare} has {shares[rare]:.2%} of the pixels"
