"""What `python -m kit audit` prints: short lines, the leaks first."""

from collections import Counter
from collections.abc import Sequence

from kit.folds.auditing import Audit, describe
from kit.report.audit_page import frames_line
from kit.runs.doctor import LabelDoubt
from kit.system.files import counted

LEAKS, SHOWN, TWINS, ODD = 20, 5, 5, 3  # lines of each kind


def audit_lines(found: Audit, allowed: str = "") -> list[str]:
    """The audit of images."""
    what = "groups" if found.has_groups else "images"
    lines = [f"{counted(found.images, 'image')} in {counted(found.grouped, 'group')}" + _more(found)]
    lines += [f"note      {note}" for note in found.notes]
    lines += _some("LEAK      ", [describe(one) for one in found.fails], LEAKS)
    together = [describe(one) for one in found.kept if one.places[0] == one.places[1]]
    lines += _some("together  ", together, SHOWN)
    lines += _some("copy      ", [describe(one) for one in found.kept if one.places[0] != one.places[1]], SHOWN)
    lines += _frame_lines(found)
    lines += _some("metadata  ", [f"{one.first} and {one.second}: {one.what}" for one in found.metadata], SHOWN)
    alike = [f"{one.first} and {one.second}: {what} of like colours ({one.distance:.3f})" for one in found.twins]
    lines += _some("alike     ", alike, TWINS)
    lines += _shift_lines(found) + _quality_lines(found)
    leaks = len(found.fails)
    if leaks and allowed:
        return [*lines, f"{counted(leaks, 'leak')}, allowed: {allowed}"]
    if leaks:
        fix = "give the images of each line one group, or leave copies out; --allow-leak REASON accepts them"
        return [*lines, f"{counted(leaks, 'leak')}: scores would be too high. To mend it, {fix}"]
    return [*lines, "no leak found"]


def _more(found: Audit) -> str:
    tests = f", {counted(found.tests, 'test image')}" if found.tests else ""
    unlabelled = f", {counted(found.unlabelled, 'image')} without a mask" if found.unlabelled else ""
    return (f", {counted(found.folds, 'fold')}" if found.folds else "") + tests + unlabelled


def _some(front: str, lines: Sequence[str], most: int) -> list[str]:
    more = [f"{front}and {len(lines) - most} more"] if len(lines) > most else []
    return [f"{front}{line}" for line in lines[:most]] + more


def _frame_lines(found: Audit) -> list[str]:
    """A line for each series that is split, and one for all others."""
    place = "fold" if found.folds else "group"
    split = [frames_line(one, bool(found.folds)) for one in found.sequences if one.is_split]
    whole = len(found.sequences) - len(split)
    rest = [f"frames    {whole} series of neighbouring images, each in one {place}"] if whole else []
    return _some("frames    ", split, SHOWN) + rest


def _shift_lines(found: Audit) -> list[str]:
    shift = found.shift
    if shift is None or shift.auc is None:
        return []
    what = "differ" if shift.is_clear else "look alike"
    best = ", ".join(name for name, _ in shift.features[:3])
    return [
        f"shift     train and test images {what}: a classifier of simple numbers has an AUC of {shift.auc:.2f}, "
        f"0.50 is a guess (standard error {shift.error:.2f}); most by {best}"
    ]


def _quality_lines(found: Audit) -> list[str]:
    """A line for each kind of odd image."""
    counts = Counter(one.kind for one in found.quality)
    lines = []
    for kind, count in counts.items():
        names = [one.id for one in found.quality if one.kind == kind][:ODD]
        lines.append(f"odd       {kind}: {counted(count, 'image')}, as {', '.join(names)}")
    return lines


def label_lines(doubts: Sequence[LabelDoubt]) -> list[str]:
    """The label doctor's first lines."""
    regions = [one for one in doubts if one.kind != "image"]
    if not regions:
        return ["labels    no confident held-out prediction contradicts a label; unsure networks contradict nothing"]
    names = [
        f"{one.id}: {one.kind}, {one.labelled or 'nothing'} is predicted {one.predicted or 'nothing'}, {one.box[2]} × "
        f"{one.box[3]} pixels at row {one.box[0]}, column {one.box[1]} (score {one.score:.2f})"
        for one in regions
    ]
    return _some("label     ", names, SHOWN)
