"""The classes of a data set against those of a dialect's rows."""

from collections.abc import Sequence

from kit.submission.dialect import Dialect


def with_classes(dialect: Dialect, foreground: Sequence[str]) -> Dialect:
    """Return the dialect with labels for the foreground classes.

    Raises ValueError where it has others, the same in another order, or rows of one class alone.
    """
    if dialect.has_classes or len(foreground) <= 1:
        labels, names = ([name.casefold() for name in each] for each in (dialect.labels, foreground))
        if labels != names and sorted(labels) == sorted(names):
            raise ValueError(
                f"the dialect's labels ({', '.join(dialect.labels)}) are the data set's classes in another order "
                f"({', '.join(foreground)}), so masks would get a wrong label. Put the labels in the classes' order: "
                "dataclasses.replace(dialect, labels=dataset.foreground)"
            )
        return dialect.with_labels(len(foreground))
    raise ValueError(
        f"the data set has {len(foreground)} foreground classes ({', '.join(foreground)}) and the dialect "
        'writes rows of one class. Say how the CSV names a class: Dialect(rows="class", key="{id}_{class}", labels=…), '
        'or class_column="…"'
    )
