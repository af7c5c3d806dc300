"""What the values of masks mean where a file holds all classes of an image: two values, soft, numbers, colours."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kit.new.decisions.label_numbers import are_all_in_csv, class_numbers
from kit.new.decisions.legend import find_legend
from kit.new.look.labels import Labels
from kit.new.look.legends import Legend
from kit.new.look.numbers import MOST_CLASSES, VOID
from kit.new.look.tables import Table
from kit.submission.dialect import Dialect

BLACK = (0, 0, 0)
PLAIN_BINARY = ({0, 1}, {0, 255}, {0, 65535})  # what Folder's "binary" reads
MOST_SHOWN = 16  # classes whose values the recipe says although Folder would know them
ON_EDGES, MOST = 0.8, 0.5  # the shares of the edges and of all pixels that a background has and an object has not
FILLS_EDGES = 0.6  # of the edges: a value that no other can compete with
SELDOM = 0.05  # of all pixels: a 0 that is rarer is hardly the background


@dataclass
class Meaning:
    """task: "binary", "multiclass", "multilabel" or "instances". values, ignore, absent: as Folder takes them.

    shares: of all pixels, of each class, 0..1.
    """

    task: str
    classes: tuple[str, ...]
    values: object = None
    ignore: object = None
    absent: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    rarest: float = 1.0  # the share of images that show the rarest class
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    table: Dialect | None = None  # of the CSV of the masks, where they have no files
    lacking: str = "refuse"  # what an image without a row of that CSV is


def named(classes: Sequence[str], usual: Sequence[str], held: str) -> tuple[str, ...]:
    """The names that were given, else the usual ones. Raises ValueError for another number of them."""
    if classes and len(classes) != len(usual):
        raise ValueError(f"{len(classes)} classes are named ({', '.join(classes)}), expected {len(usual)}: {held}")
    return tuple(classes or usual)


def of_soft(labels: Labels, task: str | None, classes: Sequence[str]) -> Meaning:
    """Two values with blurred edges."""
    half = labels.top // 2
    above = sum(count for value, count in labels.pixels.items() if value > half) / sum(labels.pixels.values())
    kind = "JPEG compression left" if labels.jpeg else "soft edges have"
    reason = (
        f"{kind} {len(labels.pixels)} values where 0 and {max(labels.pixels)} are meant; a pixel above {half} is "
        f"foreground, {above:.1%} of all"
    )
    if task not in (None, "binary"):
        raise ValueError(f"--task {task} does not suit these masks: {reason}. That is --task binary")
    names = named(classes, ("background", "foreground"), reason)
    edges = sum(count for value, count in labels.edge.items() if value > half) / max(1, sum(labels.edge.values()))
    doubt = f"{edges:.0%} of the images' edges are bright: where that is the background, save the masks inverted"
    doubts = [doubt] * (edges >= ON_EDGES and above >= MOST)
    return Meaning("binary", names, half, shares=(1 - above, above), reasons=[reason], doubts=doubts)


def of_two(labels: Labels, task: str | None, classes: Sequence[str]) -> Meaning:
    """Two values, or one."""
    values, background = sorted(labels.pixels), labels.background
    other = next((value for value in values if value != background), None)
    empty = labels.single / labels.masks if other is not None else 1.0
    share = labels.share(other) if other is not None else 0.0
    shown = " and ".join(map(str, values))
    names = named(classes, ("background", "foreground"), f"the masks hold the values {shown}")
    reasons = [f"values {shown}: {share:.1%} of the pixels are foreground, {empty:.0%} of the masks hold one value"]
    doubts = _doubts_of_inversion(labels, background)
    rule = {background: 0} if other is None else {background: 0, other: 1}
    if background not in (0, BLACK):
        reasons.append(f"{background} is the background, because it fills most of the images' edges")
    is_plain = not labels.colours and any(set(values) <= near for near in PLAIN_BINARY)
    if is_plain and not doubts and task != "multiclass":
        rule = None
    return Meaning(task or "binary", names, rule, shares=(1 - share, share), reasons=reasons, doubts=doubts)


def of_foreground(labels: Labels, classes: Sequence[str]) -> Meaning:
    """Several values, of which all but the background are one foreground, as the user says."""
    background, void = labels.background, void_of(labels)
    names = named(classes, ("background", "foreground"), "--task binary has a background and a foreground")
    fore = [value for value in sorted(labels.pixels) if value != background and value not in void]
    above_zero = not (labels.colours or labels.palette or void or background)
    if not above_zero and len(fore) >= MOST_CLASSES:
        raise ValueError(
            f"--task binary: the masks hold {len(fore):,} values beside {background}, too many to map each to the "
            "foreground. Save the masks with two values"
        )
    share = sum(map(labels.share, fore))
    reasons = [f"as asked for, {len(fore):,} values are one foreground, {share:.1%} of all pixels"]
    return Meaning(
        "binary",
        names,
        0 if above_zero else {background: 0} | dict.fromkeys(fore, 1),
        ignore=_ignored(void),
        shares=(1 - share, share),
        reasons=[*reasons, *(f"{value} is ignored" for value in void)],
        doubts=_doubts_of_inversion(labels, background),
    )


@dataclass
class _Reading:
    """Which values are classes, in the order of the classes. has_ground: the first of them is a background.

    is_added: the masks hold no background, and one without pixels stands before their classes.
    """

    used: list
    has_ground: bool = True
    is_added: bool = False
    is_whole: bool = False  # the CSV numbers the classes, so that there is no class between its numbers
    doubts: list[str] = field(default_factory=list)


def of_classes(
    labels: Labels, task: str | None, classes: Sequence[str], tables: Sequence[Table | Legend], of_csv: Sequence[str]
) -> Meaning:
    """Class numbers, other numbers, or colours. Names are those given, else those of a file beside the data.

    of_csv: the labels of the classes in the sample submission.
    """
    outlines = [] if task == "multiclass" or len(classes) == len(labels.pixels) else labels.outlines()
    void = void_of(labels, outlines)
    values = [value for value in sorted(labels.pixels) if value not in void]
    numbers = class_numbers(values, of_csv, void)
    source, legend = (None if classes else find_legend(tables, [0, *numbers] if numbers else values)) or ("", None)
    if numbers:
        reading = _read_numbers(labels, numbers)
    else:
        reading = _read_values(labels, values, bool(outlines), are_all_in_csv(values, legend or {}, of_csv))
    used = reading.used
    plain = legend is None and _are_class_numbers(labels, reading)
    count = len(used) + reading.is_added
    if plain:
        count = max(max(used) + 1, len(classes))
    usual = _names(reading, plain, count, legend, labels.colours)
    names = named(classes, usual, f"the masks hold {', '.join(map(str, used))}")
    rule = {value: at for at, value in enumerate(used, start=int(reading.is_added))}
    if plain:
        rule = {value: value for value in range(count)}
    is_told = bool(outlines) or (count == 2 and (bool(void) or task == "multiclass"))  # as "binary", 255 is foreground
    is_told |= bool(reading.doubts) and count <= MOST_SHOWN
    labels_of = dict(zip(rule.values(), rule, strict=True))
    return Meaning(
        task="binary" if count == 2 and task != "multiclass" else "multiclass",
        classes=names,
        values=rule if not plain or is_told else None,
        ignore=_ignored(void) if not plain or is_told else None,
        absent=tuple(names[at] for at in range(count) if labels_of.get(at) not in labels.pixels),
        shares=tuple(labels.share(labels_of.get(at)) for at in range(count)),
        rarest=min(labels.present[value] for value in used if value in labels.pixels) / labels.masks,
        reasons=[*_reasons(labels, reading, void), *([] if legend is None else [f"named by {source}"])],
        doubts=reading.doubts + _doubts_of_void(labels, void),
    )


def void_of(labels: Labels, outlines: Sequence = ()) -> list:
    """255 where it is ignored beside class numbers, and the outlines."""
    others = [value for value in labels.pixels if value != VOID and value not in outlines]
    is_void = not labels.colours and VOID in labels.pixels and (are_small_numbers(others) or bool(outlines))
    return [VOID] * is_void + [*outlines]


def are_small_numbers(values: Sequence) -> bool:
    """Whether at least half of the numbers up to the largest occur, as of classes that are numbered."""
    return max(values) < MOST_CLASSES and max(values) + 1 <= 2 * len(values)


def _read_values(labels: Labels, values: list, has_outlines: bool, are_all: bool) -> _Reading:
    """Which values are classes, and which of them is the background."""
    ground = next((value for value in (0, BLACK) if value in values), None)
    if are_all:
        return _Reading(values, is_added=True)
    if ground is not None:
        used = [ground, *(value for value in values if value != ground)]
        return _Reading(used, doubts=_doubts_of_inversion(labels, ground) or _doubts_of_no_data(labels, ground))
    top = max(values, key=lambda value: labels.edge[value])
    if has_outlines or labels.edge_share(top) >= FILLS_EDGES:
        doubt = f"no value of the masks is 0, and {top} fills {labels.edge_share(top):.0%} of the images' edges: it is "
        doubt += "taken for the background. If it is a class as the others, change `values` and `classes`"
        used = [top, *(value for value in values if value != top)]
        return _Reading(used, doubts=[] if has_outlines else [doubt])
    doubt = f"no value of the masks is 0, and none fills the images' edges: each of {_listed(values)} is taken for a "
    doubt += f"class, without a background. If {values[0]} is no class, or pixels are to be left out, see `ignore`"
    return _Reading(values, has_ground=False, doubts=[doubt])


def _read_numbers(labels: Labels, numbers: Sequence[int]) -> _Reading:
    """The classes are those that the CSV numbers, also where no mask of the sample shows one."""
    doubts = _doubts_of_inversion(labels, 0) or _doubts_of_no_data(labels, 0)
    if lacking := [number for number in numbers if number not in labels.pixels]:
        doubts.append(
            f"the CSV has rows of the class{'es' * (len(lacking) > 1)} {_listed(lacking)}, which none of "
            f"{labels.masks} masks shows: see `absent`"
        )
    return _Reading([0, *numbers], is_whole=True, doubts=doubts)


def _names(reading: _Reading, plain: bool, count: int, legend: dict | None, are_colours: bool) -> tuple[str, ...]:
    """The usual names of the classes: as a table has them, else by the stored numbers."""
    ground = "no class" if legend and "background" in legend.values() else "background"
    front = (ground,) * (reading.is_added or (reading.has_ground and legend is None))
    if legend is not None:
        return (*front, *(legend[value] for value in reading.used))
    if plain:
        return "background", *(f"class {number}" for number in range(1, count))
    rest = reading.used[1:] if reading.has_ground and not reading.is_added else reading.used
    numbers = range(1, len(rest) + 1) if are_colours else rest
    return (*front, *(f"class {number}" for number in numbers))


def _doubts_of_inversion(labels: Labels, background: object) -> list[str]:
    """A line where another value looks like the background."""
    for value in labels.pixels:
        edges, share = labels.edge_share(value), labels.share(value)
        is_other = value != background and not (value == VOID and len(labels.pixels) > 2)
        if is_other and edges >= ON_EDGES and share >= MOST:
            return [
                f"{background} is taken for the background, and {value} has {share:.0%} of the pixels and {edges:.0%} "
                f"of the images' edges: where {value} is the background, exchange them in `values`"
            ]
    return []


def _doubts_of_no_data(labels: Labels, ground: object) -> list[str]:
    """A line where 0 is so rare that it may stand for pixels without data."""
    if len(labels.pixels) > 3 and labels.share(ground) < SELDOM:
        return [
            f"{ground} has {labels.share(ground):.1%} of the pixels and is taken for the background: where it means "
            f'"no data", leave it out of `values` and write ignore={ground}'
        ]
    return []


def _doubts_of_void(labels: Labels, void: Sequence) -> list[str]:
    """A line where most pixels would be ignored."""
    return [
        f"{value} has {labels.share(value):.0%} of the pixels and is ignored: where it is the background, map it to 0 "
        "in `values`"
        for value in void
        if labels.share(value) >= MOST
    ]


def _reasons(labels: Labels, reading: _Reading, void: list) -> list[str]:
    """What the values are, in words."""
    values = sorted(labels.pixels)
    reasons = [f"{len(values)} values: {', '.join(f'{value} ({labels.share(value):.1%})' for value in values[:24])}"]
    if reading.is_added:
        reasons.append("none is a background, because the sample submission has rows for each")
    elif reading.has_ground and reading.used[0] not in (0, BLACK):
        reasons.append(f"{reading.used[0]} is the background, because it fills most of the images' edges")
    for value in void:
        why = "" if value == VOID else ": it lies between two others, as the border of a trimap does"
        reasons.append(f"{value} is ignored{why}")
    return reasons


def _ignored(void: Sequence) -> object:
    return (void[0] if len(void) == 1 else tuple(void)) if void else None


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values))


def _are_class_numbers(labels: Labels, reading: _Reading) -> bool:
    """Whether the values are 0 to K - 1 with some that the sample lacks, as of rare classes."""
    used = [0] * reading.is_added + reading.used
    if labels.colours or used.count(0) != 1:
        return False
    if sorted(used) == list(range(len(used))):
        return True
    return len(used) > 2 and are_small_numbers(used) and not reading.is_whole
