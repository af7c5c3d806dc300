"""What is known of a folder: filled in step by step by study.py and the files that it calls."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from kit.datasets.files import DataFolder
from kit.new.look.labels import Labels
from kit.new.look.legends import Legend
from kit.new.look.pairing import Layout
from kit.new.look.tables import Table
from kit.new.look.upright import Sides


@dataclass
class Study:
    """What a folder holds. images: path by id, of those with masks; tests: of those without."""

    data: DataFolder
    layout: Layout
    tables: list[Table]
    legends: list[Legend] = field(default_factory=list)  # other files that name classes
    likely: list[str] = field(default_factory=list)  # files that may name classes, and are not read
    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)  # the mask files of each id
    tests: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)  # id -> "val" or "test", where folders say so, or "listed"
    split_list: str | None = None  # the text file that lists what is held out
    patterns: dict[str, str] = field(default_factory=dict)  # images, masks, tests and ids, as Folder takes them
    bands: dict[str, str] = field(default_factory=dict)  # patterns of the channels, where each has a file
    planes: tuple[int, ...] = ()  # of files with several channels, those to take
    test_bands: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # (height, width) by path
    kinds: Counter = field(default_factory=Counter)  # of the sampled images
    labels: Labels = field(default_factory=Labels)
    mask_table: Table | None = None  # the run lengths of the training masks
    opened: dict[Hashable, object] = field(default_factory=dict)  # of its rows, what was read: large ones take seconds
    sample: Table | None = None  # the sample submission
    lonely: dict[str, str] = field(default_factory=dict)  # images by id without a mask that no sample names
    layers: dict[str, str] = field(default_factory=dict)  # patterns of the masks of each class, where each has a file
    lacking: str = "refuse"  # what these are, as Folder and CsvMasks take it
    has_named_tests: bool = False  # the tests are those of the images that the sample names
    numbered: list[str] = field(default_factory=list)  # patterns of further masks of the images that number objects
    unused: list[str] = field(default_factory=list)  # sets of images that have no part
    doubts: list[str] = field(default_factory=list)
    is_compared: bool = False  # the rows of mask_table are the mask files, as the submission is written
    sides: Sides = field(default_factory=Sides)
    problems: list[str] = field(default_factory=list)

    @property
    def naming(self) -> list[Table | Legend]:
        """The files that may name classes."""
        return [*self.tables, *self.legends]

    @property
    def ids(self) -> list[str]:
        """The ids of the images with masks, sorted."""
        return sorted(self.images)

    @property
    def dtype(self) -> str:
        """Of most sampled images."""
        names = Counter()
        for kind, count in self.kinds.items():
            names[kind.dtype] += count
        return names.most_common(1)[0][0] if names else "uint8"

    def shapes(self) -> Counter:
        """How many images have each size."""
        return Counter(self.sizes[path] for path in self.images.values() if path in self.sizes)
