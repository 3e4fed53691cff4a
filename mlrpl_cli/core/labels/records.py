"""What a label format is, what every reader returns, and what `prepare` may be asked for. Help reads it: no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mlrpl_cli.core.io.errors import Problems
from mlrpl_cli.core.io.progress import Progress

if TYPE_CHECKING:
    import numpy as np

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
UNASSIGNED = ""
"""The split of an image of which the source does not say one: `labels.splits` assigns it."""
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""How files and tables call a split, in any case."""

SCENES = "scenes"
"""The data set that needs no download, which is the default."""
VALIDATING = 0.1
"""Share of the training images set aside for validation when nothing is said."""
CHECKED = 20_000
"""How many images are checked when nothing is said: more of them take a while, above all on a network disk."""
ROOT = "file or folder with the labels; without --dataset its format is recognised"
"""The meaning of the option `root` of every format."""


@dataclass(frozen=True)
class Records:
    """A data set before any label is hidden: N images of all splits and C classes, both in the publisher's order."""

    classes: tuple[str, ...]
    """C class names, in the order of the label columns."""
    image_root: Path
    """The folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths with forward slashes, relative to `image_root`."""
    full_labels: np.ndarray = field(repr=False)
    """(N, C) int8 of label states, as published."""
    splits: tuple[str, ...]
    """N split names, or UNASSIGNED, which `labels.splits` assigns. It takes validation images where none are named."""


@dataclass
class Reading:
    """What a reader is given beside its options, and where it says what it had to find out."""

    workspace: Path
    """The folder being prepared, empty; most readers leave it alone."""
    progress: Progress
    classes: Sequence[str] | None = None
    """The classes that count; None for all."""
    merged: Mapping[str, str] = field(default_factory=dict)
    """Class names that are another name of a class."""
    notes: list[str] = field(default_factory=list)
    """Sentences on what was found out rather than asked, for the user to see and the manifest to keep."""
    unlisted: str | None = None
    """What a cell is that the source says nothing of, "absent" or "unknown", and who says so."""
    groups: dict[str, str] = field(default_factory=dict)
    """Group of each image that has one, by its file: images of one group are of one split."""
    proposals: np.ndarray | None = None
    """What machines propose of the cells of the `Records`, as `labels.proposals.PROPOSAL`; None where nobody asked."""
    problems: Problems = field(default_factory=Problems)
    """Everything wrong with the data."""
    seen: set[str] = field(default_factory=set)
    """Every class name of the source, those that do not count or are merged among them."""


class Format(BaseModel):
    """A label format: its fields are its options, each of them the flag of `mlrpl prepare` of the same name.

    A field's description is the flag's help; formats that name an option alike share the flag. A format that reads
    files has a field `root`. Options that cannot be raise pydantic's ValidationError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    default_keep: ClassVar[float] = 0.3
    """Proportion of label cells that stay known when none is asked for."""
    holds: ClassVar[str] = ""
    """What `root` has to be."""
    usual_folder: ClassVar[str] = ""
    """What its publisher calls the folder, which is looked for when `root` is not given; "" for no published set."""
    is_general: ClassVar[bool] = False
    """Whether it is recognised only where no other format is, as a plain table is."""

    reads_tables: ClassVar[bool] = False
    """Whether its files are tables, which the general formats would recognise too."""

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        """Why `root` is of this format, such as "it holds VOC2007/Annotations"; None when nothing says so."""
        return None

    def usual_keep(self) -> float:
        """What is kept when none is asked for: a format may tell by what `root` holds, which may not be there yet."""
        return self.default_keep

    def is_published(self) -> bool:
        """Whether it is a set with a protocol of its own, whose draws are by row, rather than images that may grow."""
        return True

    def read(self, reading: Reading) -> Records:
        """All images and labels. Raises DataError, naming everything found at once, for wrong data."""
        raise NotImplementedError


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` may be asked for."""

    dataset: str | None = None
    """Key of the registry of data sets; None is the format that `reading["root"]` is recognised as, else scenes."""
    keep: float | None = None
    """Proportion of label cells that stay known, in (0, 1]; None is 0.3 for the published benchmarks and scenes, and 1
    for every other format, whose source says what is known."""
    seed: int = 0
    """Seed of the mask and of the choice of validation images."""
    out: Path | None = None
    """The folder to write; None is prepared/NAME-keepPERCENT-seedSEED below the current folder, NAME the data set's, or
    that of the folder or file with the user's own labels."""
    validation_fraction: float | None = None
    """Share of the training images set aside for validation, in [0, 1), unless the data set has its own; None is
    VALIDATING, and 0 with `folds`."""
    classes: tuple[str, ...] | None = None
    """Keep only these classes, in the data set's order; None keeps all."""
    merge_classes: Mapping[str, str] = field(default_factory=dict)
    """Names of classes that are other names of a class: {"Car": "car"} makes one class of both."""
    download: bool = False
    """Fetch the data set first, into its format's `root`; when that is not given, into datasets/DATASET."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Options of the data set's format, by name, such as {"root": "VOCdevkit", "difficult": "unknown"}."""
    check_images: bool | None = None
    """Look for empty, truncated and other broken images before anything is written; None is yes for up to CHECKED
    images, and always with `drop_broken`."""
    drop_broken: bool = False
    """Leave broken images out rather than stop."""
    allow_truncated: bool = False
    """Take JPEGs that lack their last bytes: preparing, training, evaluation and prediction read what there is."""
    folds: int | None = None
    """K from 2 to 100: each training image is of one of K folds, for cross-validation, and no image is set aside for
    test or validation unless the source says so, or its option `test_fraction` does."""
    replace: bool = False
    """Replace a prepared folder that was made from other options or another content."""
