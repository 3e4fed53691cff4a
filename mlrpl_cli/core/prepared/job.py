"""What `prepare` is asked for, checked and with its defaults filled in, before anything is read."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.io.errors import ConfigError, DataError, first_few
from mlrpl_cli.core.io.reading import is_file_name, path_from, relative_path, shown
from mlrpl_cli.core.io.schema import fields_of, validated
from mlrpl_cli.core.labels import masks, sources
from mlrpl_cli.core.labels.formats import registry
from mlrpl_cli.core.labels.records import SCENES, SPLIT_NAMES, VALIDATING, Format, PrepareOptions
from mlrpl_cli.core.prepared import folder as manifest
from mlrpl_cli.core.prepared.folder import Prepared, damaged, is_prepared

MOST_FOLDS = 100
NOT_RECORDED = frozenset({"out", "download", "check_images", "replace"})
"""Options that do not decide the content."""
OUR_ENTRIES = frozenset(
    {
        manifest.MANIFEST,
        manifest.IMAGES,
        manifest.FULL,
        manifest.OBSERVED,
        manifest.PROPOSALS,
        manifest.CONTENTS,
        "images",
    }
)
PLAIN_NAMES = frozenset((
    *SPLIT_NAMES, "labels", "label", "annotations", "annotation", "data", "dataset", "result", "results", "export",
    "classes", "metadata", "tags", "table", "images", "samples", "tasks", "instances", "default", "coco", "project",
    "answers",
))  # fmt: skip
"""Names of files, and of parts of them, that do not tell one data set from another."""


class Job(NamedTuple):
    """Options that can be, their defaults filled in."""

    options: PrepareOptions
    dataset: str
    source: Format
    keep: float
    validation_fraction: float
    out: Path
    is_published: bool
    """Whether the source keeps a published protocol, whose draws are by row."""
    notes: tuple[str, ...]
    """What was found out rather than asked."""

    @property
    def root(self) -> Path | None:
        """Where the format reads; None for one that reads no files."""
        return getattr(self.source, "root", None)

    @property
    def record(self) -> dict[str, Any]:
        """The options that decide the content, as JSON holds them, paths as seen from the prepared folder."""
        given = {name: value for name, value in vars(self.options).items() if name not in NOT_RECORDED}
        settled = {"dataset": self.dataset, "keep": self.keep, "validation_fraction": self.validation_fraction}
        record = {**given, **settled, "reading": self.source.model_dump()}
        return json.loads(json.dumps(record, default=partial(relative_path, start=self.out)))


def check(options: PrepareOptions) -> Job:
    """Raises ConfigError for everything that cannot be, at once."""
    problems, source = [], Format()  # which stands in while there is none of the data set
    given, notes, dataset = dict(options.reading), list[str](), options.dataset or SCENES
    try:
        if options.dataset is None and "root" in given:
            dataset, why = registry.recognise(Path(given["root"]))
            notes.append(f"read as {dataset}: {why}")
        if options.download:
            sources.archives_of(dataset)
            given.setdefault("root", registry.DATASETS_FOLDER / dataset)
        elif "root" not in given and (found := registry.find_root(dataset)):
            given["root"] = found
            notes.append(f"{dataset} is read from {found}")
        if options.folds and "test_fraction" in fields_of(registry.format_of(dataset)):
            given.setdefault("test_fraction", 0.0)
        source = registry.make_format(dataset, given)
    except ConfigError as error:
        problems.append(str(error))
    keep = source.usual_keep() if options.keep is None else options.keep
    if problem := masks.mask_problem(keep, options.seed):
        problems.append(problem)
    if options.drop_broken and options.check_images is False:
        problems.append("--drop-broken needs the images to be checked; leave --no-check-images out")
    if options.folds is not None:
        if not 2 <= options.folds <= MOST_FOLDS:
            problems.append(f"expected from 2 to {MOST_FOLDS} folds, got {options.folds}")
        if options.validation_fraction:
            problems.append(
                "with folds no image is set aside for validation; leave out --validation-fraction or --folds"
            )
    usual = 0.0 if options.folds is not None else VALIDATING
    fraction = usual if options.validation_fraction is None else options.validation_fraction
    if not 0 <= fraction < 1:
        problems.append(f"the validation fraction must be from 0 to below 1, not {fraction:g}")
    is_published = source.is_published()
    problems.extend(_problems_of_splits(source, dataset, is_published))
    raise_together(problems)
    folds = f"-folds{options.folds}" if options.folds else ""
    name = f"{_name(dataset, source, is_published)}-keep{100 * keep:.6g}-seed{options.seed}{folds}"
    return Job(
        options, dataset, source, keep, fraction, options.out or manifest.PREPARED / name, is_published, tuple(notes)
    )


def _problems_of_splits(source: Format, dataset: str, is_published: bool) -> list[str]:
    """What cannot be of the options that say how images are divided."""
    by, stratify = getattr(source, "split_by", None), getattr(source, "stratify", False)
    if is_published and (by or stratify):
        asked = " and ".join((["--split-by"] if by else []) + (["--stratify"] if stratify else []))
        return [f"{asked} is for images of your own, and {dataset} has a published split; leave it out"]
    if by and stratify:
        return ["--stratify divides by classes, not by names or contents; leave out --stratify or --split-by"]
    return []


def _name(dataset: str, source: Format, is_published: bool) -> str:
    """What a prepared folder is called after: the data set, or the folder or file that holds the user's labels.

    A file whose name says nothing is called FOLDER-FILE.
    """
    root = getattr(source, "root", None)
    if is_published or root is None:
        return dataset
    place = Path(os.path.abspath(root))
    if os.path.isdir(place):
        return place.name or dataset
    stem = place.name.split(".")[0] or place.name
    words = re.findall(r"[^\W_]+", stem.casefold())
    return stem if set(words) - PLAIN_NAMES or not place.parent.name else f"{place.parent.name}-{stem.lstrip('_')}"


def target(job: Job) -> Path:
    """Where to write. Raises DataError rather than replace anything that `prepare` did not make."""
    # The folder a link points to is replaced, not the link.
    folder = real(job.out) if os.path.islink(job.out) else job.out
    if job.root is not None and real(job.root).is_relative_to(real(folder)):
        raise DataError(f"{folder} holds the data set {job.root} itself; name another folder with --out")
    if not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise DataError(f"{folder} is a file; name a folder with --out")
        return folder
    try:
        entries = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name another folder with --out") from error
    if entries and not is_prepared(folder):
        raise DataError(f"{folder} is not empty and not a prepared folder; name another one with --out")
    if foreign := sorted(entries - OUR_ENTRIES):
        advice = "move that away, or name another folder with --out"
        raise DataError(f"{folder} holds more than mlrpl prepare wrote ({first_few(foreign)}); {advice}")
    return folder


def real(path: Path) -> Path:
    """`path` with its links followed: os.path, unlike Path, has an answer for links in a circle and too long names."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise DataError(f"{shown(str(path))} cannot be the name of a file; check the path") from error


class _Recorded(BaseModel):
    """The options in a manifest; those that older versions did not have are their defaults."""

    model_config = ConfigDict(strict=True)

    keep: float
    seed: int
    reading: dict[str, Any]
    validation_fraction: float = VALIDATING
    classes: list[str] | None = None
    merge_classes: dict[str, str] = {}
    drop_broken: bool = False
    allow_truncated: bool = False
    folds: int | None = None


def recorded(prepared: Prepared) -> PrepareOptions:
    """The options that made a prepared folder, for its place. Raises DataError for a manifest that does not say them.

    Options of its format that older versions called otherwise, or did not have, are left to their defaults.
    """
    try:
        found = validated(_Recorded, prepared.options)
    except ValueError as error:
        raise damaged(prepared.folder, f"{manifest.MANIFEST} does not say its options ({error})") from error
    fields, folder = fields_of(registry.format_of(prepared.dataset)), prepared.folder
    given = {name: value for name, value in found.reading.items() if name in fields and value is not None}
    paths = {name: value for name, value in given.items() if _is_path(fields[name])}
    if odd := [name for name, value in paths.items() if not is_file_name(value)]:
        raise damaged(folder, f"{manifest.MANIFEST} does not say its options ({odd[0]} is no path)")
    paths = {name: path_from(folder, way) for name, way in paths.items()}
    classes = None if found.classes is None else tuple(found.classes)
    options = PrepareOptions(**{**vars(found), "classes": classes, "reading": given | paths})
    return replace(options, dataset=prepared.dataset, out=folder)


def _is_path(field: dict[str, Any]) -> bool:
    return field.get("anyOf", [field])[0].get("format") == "path"
