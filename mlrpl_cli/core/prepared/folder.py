"""The prepared folder: what `prepare` writes and everything after it only reads.

    manifest.json          classes, options, where the images are, counts, checksums
    images.csv             split and image, one row each, in the order of the label rows
    labels_full.npy        (N, C) int8, the labels as published
    labels_observed.npy    (N, C) int8, the labels that training may see; test rows are whole

    contents.npy           of own images that may grow: size of each file, and its SHA-256 where that decides its split
    proposals.npy          only where asked for: cells that a machine says something of and nobody verified

No file holds a time, so the same options give the same bytes. What is read may be damaged: nothing is made of the size
that a file claims before the file has that size.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import numpy as np
from annotated_types import Predicate
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean
from mlrpl_cli.core.io.files import REPLACED_PREFIX, sha256_of_file, write_text
from mlrpl_cli.core.io.reading import (
    GIB,
    MIB,
    is_file_name,
    is_name,
    leads_outside,
    open_file,
    path_from,
    read_text,
    relative_path,
    shown,
)
from mlrpl_cli.core.io.schema import Text, validated
from mlrpl_cli.core.labels.proposals import PROPOSAL
from mlrpl_cli.core.labels.records import SPLITS, TEST, TRAIN, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.contents import is_whole

PREPARED = Path("prepared")
"""Where prepared folders lie when nothing else is said, below the current folder."""
KIND, VERSION = "mlrpl-prepared", 1
MANIFEST, IMAGES = "manifest.json", "images.csv"
FULL, OBSERVED = "labels_full.npy", "labels_observed.npy"
PROPOSALS, CONTENTS = "proposals.npy", "contents.npy"
IMAGES_HEADER = ("split", "image", "fold")
"""The last column only where there are folds."""
NO_FOLD = -1
MOST_OF_A_MANIFEST, MOST_OF_IMAGES = 64 * MIB, GIB
"""Bytes: a manifest lists the classes only, and an image takes some 30."""
AS_GIVEN = {"dataset", "options", "mask_sha256", "unlisted", "notes", "proposals"}
"""Fields of a manifest that are those of `Prepared`."""
AGAIN = "run mlrpl prepare again"
_FOLD = re.compile(r"\d{1,2}")
MOVE_TOO = "put them back there, since a prepared folder moves together with its images"
NAME_ANOTHER = "run mlrpl prepare, or name a prepared folder"


@dataclass(frozen=True)
class Prepared(Records):
    """A data set with hidden labels, ready for training; each image is of a split, and a split may be empty."""

    folder: Path
    """The prepared folder."""
    observed_labels: np.ndarray = field(repr=False)
    """(N, C) int8: what is known after the mask; test rows are those of `full_labels`."""
    dataset: str
    """Key of the registry of data sets."""
    options: dict[str, Any]
    """The options that made it, as JSON holds them."""
    mask_sha256: str
    """Checksum of the known mask over the training and validation rows."""
    unlisted: str | None = None
    """What a cell is that the source says nothing of, and who says so; None where every cell is said."""
    notes: list[str] = field(default_factory=list)
    """What had to be found out to read the labels."""
    proposals: dict[str, int] | None = None
    """How many cells of each split a machine proposes a label of (`read_proposals`); None where nobody asked."""
    folds: np.ndarray | None = field(default=None, repr=False)
    """(N,) int16: the fold of each training image, from 0, NO_FOLD for the others; None without cross-validation."""
    contents: np.ndarray | None = field(default=None, repr=False)
    """(N,) of `contents.CONTENT`; None for published sets, and for folders of an older mlrpl."""

    @property
    def allow_truncated(self) -> bool:
        """Whether a JPEG may lack its last bytes."""
        return self.options.get("allow_truncated") is True

    @property
    def sha256(self) -> str:
        """Checksum of what training and evaluation read: classes, images, splits, published and observed labels."""
        told = json.dumps([self.classes, self.images, self.splits]).encode()
        labels = (np.ascontiguousarray(labels).tobytes() for labels in (self.full_labels, self.observed_labels))
        folds = b"" if self.folds is None else self.folds.tobytes()
        return hashlib.sha256(b"".join((told, *labels, folds))).hexdigest()

    def rows(self, split: str) -> np.ndarray:
        """int64 row numbers of a split's images, ascending. Raises ConfigError for an unknown split."""
        if split not in SPLITS:
            raise ConfigError(f"no split is called '{split}'; {did_you_mean(split, SPLITS)}")
        return np.flatnonzero(np.array(self.splits) == split).astype(np.int64)

    def paths(self, rows: np.ndarray) -> list[Path]:
        """Where the images of some rows are. Raises DataError, which names them, when some are not there."""
        names = [self.images[row] for row in rows]
        problems = Problems()
        check_images(self.image_root, names, problems)
        anew = f"take the labels as they are with mlrpl prepare --update {quote(str(self.folder))}"
        problems.raise_if_any(f"the images of {self.folder}, below {self.image_root}", f"{MOVE_TOO}, or {anew}")
        return [self.image_root / name for name in names]


def _renamed(options: Any) -> Any:
    """The options of a manifest by their present names: in those of mlrpl 0.1.0 all formats have the same."""
    reading = options.get("reading") if isinstance(options, dict) else None
    if not isinstance(reading, dict) or "image_folder" not in reading:
        return options
    seed, images = reading.get("seed"), reading["image_folder"]
    return {**options, "reading": {**reading, "scenes_seed": seed, "split_seed": seed, "images": images}}


class Manifest(BaseModel):
    """What manifest.json holds."""

    # Lists and mappings are checked as a whole, since a damaged file may have millions of wrong items; and a path is
    # Any, since it need not be valid UTF-8, which `str` demands.
    model_config = ConfigDict(frozen=True, strict=True)

    kind: str = KIND
    version: int = VERSION
    dataset: Annotated[str, Predicate(str.isidentifier), WithJsonSchema({"type": "a name"})]
    options: Annotated[dict[str, Any], AfterValidator(_renamed)]
    image_root: Annotated[Any, Predicate(is_file_name), WithJsonSchema({"type": "a folder"})]
    """As seen from the manifest's folder; absolute where no relative path exists."""
    counts: dict[str, Any]
    """Images of each split."""
    mask_sha256: str
    sha256: dict[str, Any]
    """Checksums of the files beside the manifest, by name."""
    unlisted: Text | None = None
    notes: list[Any] = Field([])
    proposals: dict[str, Any] | None = None
    classes: Annotated[
        list[Any], Predicate(lambda names: all(map(is_name, names))), WithJsonSchema({"type": "a list of names"})
    ]


def write_manifest(folder: Path, prepared: Prepared, proposals: np.ndarray | None = None) -> Prepared:
    """Write the files of `prepared` to `folder`, which stands in for `prepared.folder` until it is complete.

    Returns `prepared`, which counts the `proposals` (P,) of PROPOSAL if there are any to be written.
    """
    names = [IMAGES, FULL, OBSERVED]
    if prepared.contents is not None:
        np.save(folder / CONTENTS, prepared.contents, allow_pickle=False)
        names.append(CONTENTS)
    if proposals is not None:
        np.save(folder / PROPOSALS, proposals, allow_pickle=False)
        names.append(PROPOSALS)
        prepared = replace(prepared, proposals=_proposed(prepared, proposals))
    # surrogateescape: a file name need not be valid UTF-8, and has to come back as the same bytes.
    with (folder / IMAGES).open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        columns: list[Iterable[object]] = [prepared.splits, prepared.images]
        if prepared.folds is not None:
            columns.append("" if fold == NO_FOLD else fold for fold in prepared.folds.tolist())
        writer.writerow(IMAGES_HEADER[: len(columns)])
        writer.writerows(zip(*columns, strict=True))
    np.save(folder / FULL, prepared.full_labels, allow_pickle=False)
    np.save(folder / OBSERVED, prepared.observed_labels, allow_pickle=False)
    place = relative_path(prepared.image_root, prepared.folder)
    sums = {name: sha256_of_file(folder / name) for name in names}
    told, classes = {name: getattr(prepared, name) for name in AS_GIVEN}, list(prepared.classes)
    content = Manifest(**told, image_root=place, counts=_counts(prepared), sha256=sums, classes=classes)
    dumped = content.model_dump(exclude={"proposals"} if proposals is None else None)
    write_text(folder / MANIFEST, json.dumps(dumped, indent=2) + "\n")
    return prepared


def read_proposals(prepared: Prepared) -> np.ndarray:
    """(P,) of PROPOSAL in the order of the cells: what a machine proposes of cells that people did not verify.

    They are no labels: masks, training and evaluation leave them alone. Empty where none were asked for. Raises
    DataError for a file that is damaged.
    """
    if prepared.proposals is None:
        return np.empty(0, PROPOSAL)
    path = prepared.folder / PROPOSALS
    try:
        proposals = _read_array(path)
    except OSError as error:
        raise damaged(prepared.folder, f"{PROPOSALS} cannot be read ({error.strerror})") from error
    if proposals.dtype != PROPOSAL or proposals.ndim != 1:
        raise damaged(prepared.folder, f"{PROPOSALS} holds {shown(str(proposals.dtype))}, expected {PROPOSAL}")
    rows, columns, sure = (proposals[name] for name in PROPOSAL.names or ())
    shape, proposals = prepared.full_labels.shape, np.array(proposals)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1]) & (sure >= 0) & (sure <= 1)
    if not inside.all() or (prepared.full_labels[rows, columns] != UNKNOWN).any():
        raise damaged(prepared.folder, f"{PROPOSALS} holds cells that are none, or that people verified")
    if _proposed(prepared, proposals) != prepared.proposals:
        raise damaged(prepared.folder, f"{PROPOSALS} holds another number of cells than {MANIFEST} says")
    return proposals


def _proposed(prepared: Prepared, proposals: np.ndarray) -> dict[str, int]:
    """How many proposals each split has."""
    counts = np.bincount(proposals["image"], minlength=len(prepared.images))
    return {split: int(counts[prepared.rows(split)].sum()) for split in SPLITS}


def read_prepared(folder: Path, elsewhere: str = NAME_ANOTHER) -> Prepared:
    """The prepared folder at `folder`, verified. Raises DataError when it is missing, damaged or of another version.

    `elsewhere`: what to type where there is none at `folder`, which may have been moved.
    """
    content = _read_manifest(folder, elsewhere)
    try:
        has_contents = CONTENTS in content.sha256
        optional = [CONTENTS] * has_contents + [PROPOSALS] * (content.proposals is not None)
        for name in (IMAGES, FULL, OBSERVED, *optional):
            if not (folder / name).is_file():
                raise damaged(folder, f"{name} is missing")
            if sha256_of_file(folder / name) != content.sha256.get(name):
                raise damaged(folder, f"{name} has changed since it was written")
        splits, images, folds = _read_images(folder / IMAGES)
        full, observed = (_read_labels(folder / name, (len(images), len(content.classes))) for name in (FULL, OBSERVED))
        contents = _read_contents(folder / CONTENTS, len(images)) if has_contents else None
    except OSError as error:
        raise damaged(folder, f"it cannot be read ({error.strerror})") from error
    classes, root = tuple(content.classes), path_from(folder, content.image_root)
    told = content.model_dump(include=AS_GIVEN)
    prepared = Prepared(classes, root, images, full, splits, folder, observed, **told, folds=folds, contents=contents)
    _verify(prepared, content.counts)
    return prepared


def newest_prepared(parent: Path = PREPARED) -> Path:
    """The folder below `parent` that was prepared last. Raises DataError when there is none."""
    found = [path.parent for path in parent.glob(f"*/{MANIFEST}") if is_prepared(path.parent)]
    complete = [folder for folder in found if not folder.name.startswith(REPLACED_PREFIX)]
    if not complete:
        raise DataError(f"no prepared data below {parent}; {NAME_ANOTHER}")
    return max(complete, key=lambda folder: ((folder / MANIFEST).stat().st_mtime_ns, folder.name))


def is_prepared(folder: Path) -> bool:
    """Whether `folder` holds a manifest of ours, of any version; other tools have a manifest.json too."""
    return _content(folder) is not None


def options_of(folder: Path) -> Any:
    """The options in the manifest at `folder`, of whatever version; None where there is no manifest of ours."""
    return _renamed((_content(folder) or {}).get("options"))


def _content(folder: Path) -> dict[str, Any] | None:
    """What a manifest of ours says; None for any other file."""
    try:
        content = json.loads(read_text(folder / MANIFEST, MOST_OF_A_MANIFEST))
    except (OSError, ValueError, RecursionError, DataError):
        return None
    return content if isinstance(content, dict) and content.get("kind") == KIND else None


def _counts(prepared: Prepared) -> dict[str, int]:
    return {split: prepared.splits.count(split) for split in SPLITS}


def _read_manifest(folder: Path, elsewhere: str) -> Manifest:
    # os.path: unlike Path.is_file it has an answer for a name that is too long, too.
    if not os.path.isfile(folder / MANIFEST):
        raise DataError(f"{folder} is not a prepared folder (it has no {MANIFEST}); {elsewhere}")
    content = _content(folder)
    if content is None:
        raise damaged(folder, f"{MANIFEST} cannot be read")
    if content.get("version") != VERSION:
        found = shown(content.get("version"))
        raise DataError(f"{folder} has format version {found}, this mlrpl reads version {VERSION}; {AGAIN}")
    try:
        return validated(Manifest, content)
    except ValueError as error:
        raise damaged(folder, f"{MANIFEST} is not what mlrpl wrote ({error})") from error


def _verify(prepared: Prepared, counts: Mapping[str, int]) -> None:
    folder, full, observed = prepared.folder, prepared.full_labels, prepared.observed_labels
    for name, labels in ((FULL, full), (OBSERVED, observed)):
        if not np.isin(labels, (PRESENT, ABSENT, UNKNOWN)).all():
            raise damaged(folder, f"{name} holds values other than {PRESENT}, {ABSENT} and {UNKNOWN}")
    if _counts(prepared) != counts:
        raise damaged(folder, f"{IMAGES} has {_counts(prepared)} images, {MANIFEST} says {shown(counts)}")
    # Observed labels may only hide what the full ones say, and hide nothing of the test images.
    agrees = observed == full
    if not (agrees | (observed == UNKNOWN)).all() or not agrees[prepared.rows(TEST)].all():
        raise damaged(folder, f"{OBSERVED} contradicts {FULL}")
    if not os.path.isdir(prepared.image_root):
        raise DataError(f"the images of {folder} are not in {prepared.image_root}; {MOVE_TOO}, or {AGAIN}")


def _read_images(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray | None]:
    """Splits, images, and folds if there are any. Raises DataError for what `write_manifest` cannot have written."""
    with io.TextIOWrapper(open_file(path, MOST_OF_IMAGES), "utf-8", "surrogateescape", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            rows = [tuple(row) for row in reader]
        except csv.Error as error:
            raise damaged(path.parent, f"{path.name} is no table ({error})") from error
    if not rows or rows[0] not in (IMAGES_HEADER[:2], IMAGES_HEADER):
        raise damaged(path.parent, f"{path.name} does not begin with {','.join(IMAGES_HEADER[:2])}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]) or row[0] not in SPLITS or not is_file_name(row[1]) or leads_outside(row[1]):
            raise damaged(path.parent, f"row {number} of {path.name} is no split and image inside: {shown(row)}")
    splits, images = tuple(row[0] for row in rows[1:]), tuple(row[1] for row in rows[1:])
    return splits, images, _read_folds(path, rows[1:]) if len(rows[0]) > 2 else None


def _read_folds(path: Path, rows: Sequence[tuple[str, ...]]) -> np.ndarray:
    """(N,) int16 of a third column. Raises DataError for folds that are not 0, 1, … of the training images alone."""
    folds = np.full(len(rows), NO_FOLD, np.int16)
    for number, (split, _, fold) in enumerate(rows):
        if (split == TRAIN) != (_FOLD.fullmatch(fold) is not None) or (fold and split != TRAIN):
            raise damaged(
                path.parent, f"row {number + 2} of {path.name} has no fold of a training image: {shown(fold)}"
            )
        folds[number] = int(fold or NO_FOLD)
    if sorted(set(folds.tolist()) - {NO_FOLD}) != list(range(folds.max(initial=NO_FOLD) + 1)):
        raise damaged(path.parent, f"{path.name} lacks a fold")
    return folds


def _read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(N, C) int8. Raises DataError for a header that says otherwise, before anything of its size is made."""
    labels = _read_array(path)
    if labels.shape != shape or labels.dtype != np.int8:
        got = f"{labels.dtype} {labels.shape}"
        raise damaged(path.parent, f"{path.name} holds {got}, expected int8 {shape} (images, classes)")
    return np.array(labels)


def _read_contents(path: Path, images: int) -> np.ndarray:
    """(N,) of CONTENT. Raises DataError for what `write_manifest` cannot have written."""
    contents = np.array(_read_array(path))
    if not is_whole(contents, images):
        raise damaged(path.parent, f"{path.name} does not hold the sizes and digests of {images} images")
    return contents


def _read_array(path: Path) -> np.ndarray:
    """The array in a file, mapped. Raises DataError for what is none."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy reads the header as Python, whose parser has errors of its own
        raise damaged(path.parent, f"{path.name} is no array that mlrpl wrote") from error


def damaged(folder: Path, what: str) -> DataError:
    """The error for a prepared folder that does not hold what `prepare` wrote."""
    return DataError(f"{folder} is damaged: {what}; {AGAIN}")
