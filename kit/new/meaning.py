"""What the masks mean: the task, the classes, and how Folder reads them. Decided from what a sample of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kit.new.labels import Labels
from kit.new.legend import legend_of
from kit.new.study import Study
from kit.new.tables import Table, names_of_images
from kit.submission.dialect import Dialect

MOST_CLASSES = 64
DEFAULT_NAMES = {
    "binary": ("background", "foreground"),
    "instances": ("background", "object"),
    "multiclass": ("background", "foreground"),
    "multilabel": ("foreground",),
}
NEAR_BINARY = ({0, 1}, {0, 255}, {0, 65535})


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
    table: Dialect | None = None  # of the CSV of the masks, where they have no files
    lacking: str = "refuse"  # what an image without a row of that CSV is


def meaning_of(found: Study, task: str | None = None, classes: tuple[str, ...] = ()) -> Meaning:
    """Decide what the masks mean. task, classes: where the user says so.

    Raises ValueError with the choices where the masks cannot tell.
    """
    labels = found.labels
    if not labels.masks:
        raise ValueError("no mask could be read")
    if any(len(own) > 1 for own in found.masks.values()):
        return _of_objects_by_file(found, classes)
    if labels.are_objects or task == "instances":
        reason = f"each value of a mask is one connected piece, and there are up to {len(labels.pixels) - 1:,}"
        return Meaning("instances", classes or ("background", "object"), reasons=[reason])
    if labels.is_soft:
        return _of_soft(labels, classes)
    if len(labels.pixels) <= 2:
        return _of_two(labels, classes)
    if len(labels.pixels) > MOST_CLASSES:
        raise ValueError(
            f"the masks hold {len(labels.pixels):,} different values: too many for classes. Where each value is an "
            "object of its own, say so: --task instances; where they are grey, there is no rule for them yet"
        )
    return _of_many(labels, classes, found.tables)


def meaning_of_table(found: Study, dialect: Dialect, task: str | None = None, classes: tuple[str, ...] = ()) -> Meaning:
    """The same of masks that are run lengths in a CSV. dialect: of the submission."""
    table, seen = found.mask_table, found.mask_table.seen
    kinds = {"image": "binary", "class": "multilabel", "instance": "instances"}
    chosen = task or kinds[dialect.rows]
    names = classes or (dialect.labels if chosen == "multilabel" else DEFAULT_NAMES[chosen])
    named = names_of_images(table, found.ids)
    lacking = "empty" if len(named) < len(found.ids) else "refuse"
    reasons = [f"run lengths in {table.path}, {len(seen.keys):,} rows of {len(named):,} images"]
    if lacking == "empty":
        reasons.append(f"the {len(found.ids) - len(named):,} images without a row are taken for empty")
    repeats = seen.repeats and dialect.rows == "image"
    own = replace(dialect, rows="instance" if repeats else dialect.rows, size=None)
    if repeats:
        reasons.append("some images have several rows, which are united")
    return Meaning(chosen, tuple(names), reasons=reasons, table=own, lacking=lacking)


def _of_objects_by_file(found: Study, classes: tuple[str, ...]) -> Meaning:
    counts = sorted(len(own) for own in found.masks.values())
    reason = (
        f"a file an object: {sum(counts):,} masks of {len(counts):,} images, {counts[0]} to {counts[-1]} an image, "
        f"{counts[len(counts) // 2]} in the middle"
    )
    return Meaning("instances", classes or ("background", "object"), reasons=[reason])


def _of_soft(labels: Labels, classes: tuple[str, ...]) -> Meaning:
    half = labels.top // 2
    above = sum(count for value, count in labels.pixels.items() if value > half) / sum(labels.pixels.values())
    kind = "JPEG compression left" if labels.jpeg else "soft edges have"
    reason = (
        f"{kind} {len(labels.pixels)} values where 0 and {max(labels.pixels)} are meant; a pixel above {half} is "
        f"foreground, {above:.1%} of all"
    )
    return Meaning("binary", classes or ("background", "foreground"), half, shares=(1 - above, above), reasons=[reason])


def _of_two(labels: Labels, classes: tuple[str, ...]) -> Meaning:
    values = sorted(labels.pixels)
    names, background = classes or ("background", "foreground"), labels.background
    other = next((value for value in values if value != background), None)
    empty = labels.single / labels.masks if other is not None else 1.0
    share = labels.share(other) if other is not None else 0.0
    shown = " and ".join(map(str, values))
    reasons = [f"values {shown}: {share:.1%} of the pixels are foreground, {empty:.0%} of the masks hold one value"]
    rule = None
    if labels.colours or not any(set(values) <= near for near in NEAR_BINARY):
        rule = {background: 0} if other is None else {background: 0, other: 1}
        if background not in (0, (0, 0, 0)):
            reasons.append(f"{background} is the background, because it fills most of the images' edges")
    return Meaning("binary", names, rule, shares=(1 - share, share), reasons=reasons)


def _of_many(labels: Labels, classes: tuple[str, ...], tables: Sequence[Table]) -> Meaning:
    """Class numbers, other numbers, or colours. Names are those given, else those of a table beside the data."""
    background, outlines = labels.background, labels.outlines()
    others = sorted(value for value in labels.pixels if value != 255 and value not in outlines)
    is_void = not labels.colours and 255 in labels.pixels and (_are_small_numbers(others) or bool(outlines))
    void = [255] * is_void + outlines
    used = [background, *(value for value in sorted(labels.pixels) if value not in void and value != background)]
    legend = None if classes else legend_of(tables, used)
    plain = legend is None and _are_class_numbers(labels, used)
    count = max(used) + 1 if plain else len(used)
    numbered = ("background", *(f"class {number}" for number in range(1, count)))
    names = classes or (tuple(legend[label] for label in used) if legend else numbered)
    if len(names) != count:
        raise ValueError(f"{len(names)} classes are named, the masks hold {count}: {', '.join(map(str, used))}")
    is_ruled = not plain or bool(outlines) or (count == 2 and bool(void))  # as "binary", 255 would be the foreground
    return Meaning(
        task="binary" if count == 2 else "multiclass",
        classes=tuple(names),
        values={value: at for at, value in enumerate(used)} if is_ruled else None,
        ignore=(void[0] if len(void) == 1 else tuple(void) or None) if is_ruled else None,
        absent=tuple(names[k] for k in range(count) if plain and k not in used),
        shares=tuple(labels.share(k if plain else used[k]) for k in range(count)),
        rarest=min(labels.present[value] for value in used) / labels.masks,
        reasons=[*_reasons(labels, void), *([] if legend is None else ["named by a table"])],
    )


def _reasons(labels: Labels, void: list) -> list[str]:
    """What the values are, in words."""
    values = sorted(labels.pixels)
    reasons = [f"{len(values)} values: {', '.join(f'{value} ({labels.share(value):.1%})' for value in values[:24])}"]
    if labels.background not in (0, (0, 0, 0)):
        reasons.append(f"{labels.background} is the background, because it fills most of the images' edges")
    for value in void:
        why = "" if value == 255 else ": it lies between two others, as the border of a trimap does"
        reasons.append(f"{value} is ignored{why}")
    return reasons


def _are_class_numbers(labels: Labels, used: list) -> bool:
    """Whether the values are 0 to K - 1 with some that the sample lacks, as of rare classes."""
    if labels.colours or 0 not in used:
        return False
    if used == list(range(len(used))):
        return True
    return len(used) > 2 and _are_small_numbers(used)


def _are_small_numbers(values: list) -> bool:
    """Whether at least half of the numbers up to the largest occur, as of classes that are numbered."""
    return max(values) < MOST_CLASSES and max(values) + 1 <= 2 * len(values)
