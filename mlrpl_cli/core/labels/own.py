"""What the formats of the user's own images have in common: where the images are, which test, what is not listed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.labels.marks import Marks
from mlrpl_cli.core.labels.records import ROOT, SPLIT_NAMES, SPLITS, TRAIN, UNASSIGNED, Format, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, STATES


def home_of(root: Path) -> Path:
    """The folder that `root` is or lies in."""
    return root if os.path.isdir(root) else root.parent


def split_in(name: str) -> str | None:
    """The split that the words of `name` say, None when they say none or several."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def split_folders(root: Path) -> list[str]:
    """The names in a folder that say a split, training first; none for what cannot be listed."""
    try:
        names = sorted(name for name in os.listdir(root) if name.casefold() in SPLIT_NAMES)
    except OSError:
        return []
    return sorted(names, key=lambda name: SPLITS.index(SPLIT_NAMES[name.casefold()]))


class OwnData(Format):
    """A format whose images may lie anywhere: their folder can be named, and how many test where no split is told."""

    root: Path = Field(description=ROOT)
    images: Path | None = Field(None, description="folder that image names are relative to, else that of the labels")
    test_fraction: float = Field(
        0.2, ge=0, lt=1, description="share of the test images, where the labels name no split; 0 is none"
    )
    split_seed: int = Field(
        0, ge=0, le=2**32 - 1, description="seed of which images test, where the labels name no split"
    )

    default_keep: ClassVar[float] = 1.0
    """The source itself says what is known."""

    def records(self, marks: Marks, reading: Reading, unlisted: int, source: Path, union: bool = False) -> Records:
        """What `marks` say, of images below `self.images`, else beside `source`.

        Raises DataError for every problem of `reading`, and for no image or no class.
        """
        root = self.image_root(source)
        labels = marks.labels(unlisted, union)
        where = f"{source}, images below {root}"
        if not reading.problems and not labels.size:
            what = "image" if marks.classes else "class"
            advice = "name the labels with --root, or the images' folder with --images"
            raise DataError(f"{where}: there is no {what} that counts; {advice}")
        reading.problems.raise_if_any(where, "correct the labels, or name the images' folder with --images")
        splits = tuple(split or UNASSIGNED for split in marks.splits)
        return Records(tuple(marks.classes), root, tuple(marks.images), labels, splits)

    def image_root(self, source: Path) -> Path:
        """The folder that image names are relative to."""
        return self.images or home_of(source)

    def settle_splits(self, marks: Marks, reading: Reading) -> None:
        """For splits that folders tell: images of one that is not training are of none, so that test images are drawn.

        Problems are several splits without training, and images of none beside others.
        """
        told = set(marks.splits)
        if None in told and len(told) > 1:
            bare = (image for image, row in marks.images.items() if marks.splits[row] is None)
            reading.problems.extend("images are in no folder of a split, beside others that are", bare)
        elif len(told) > 1 and TRAIN not in told:
            reading.problems.add("folders of splits are none of train", " and ".join(sorted(filter(None, told))))
        elif told - {None} and TRAIN not in told:
            reading.notes.append("no folder below the root is one of train: test images are drawn")
            marks.splits[:] = [None] * len(marks.splits)


class GrowingData(OwnData):
    """A format of images that may grow in number: where no split is told, an image's name decides (`labels.splits`)."""

    split_by: Literal["name", "content"] | None = Field(
        None, description="what decides the split of an image that has none: its name, or its bytes. Default: name"
    )
    stratify: bool = Field(
        False,
        description="give each class its share of test and validation images, for one table: by the hash, which keeps "
        "images where they are when others are added, the shares of few images vary",
    )

    def is_published(self) -> bool:
        return False


class Tagged(GrowingData):
    """A format that lists what is there and does not say what a class that is not listed means."""

    unlisted: Literal["absent", "unknown"] | None = Field(
        None, description="what a class means that is not listed for an image, in formats that do not say so"
    )

    def otherwise(self, source: Path, reading: Reading, what: str = "labels") -> int:
        """The state of an unlisted cell. Raises ConfigError, which asks, when it is not given."""
        if self.unlisted is None:
            raise ConfigError(
                f"{source} lists {what} and does not say what a missing one means: --unlisted absent if every image "
                "was checked for every class, --unlisted unknown if nobody looked for the others"
            )
        reading.unlisted = f"{self.unlisted}: --unlisted"
        return STATES[self.unlisted]

    def check_labelled(self, marks: Marks, rows: Iterable[int], unlisted: int) -> None:
        """Where every image was checked, those of `rows`, which somebody labelled, lack all that is not marked.

        The others are what the caller gives cells without a mark, which is unknown.
        """
        import numpy as np

        if unlisted == ABSENT:
            marks.checked(np.array(list(rows), np.intp), np.arange(len(marks.classes)))
