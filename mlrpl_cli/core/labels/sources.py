"""Where VOC 2007 and COCO 2014 are published, and how their folders come to be on disk."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.archives import extract, unfinished

ARCHIVES = "archives"
"""Folder below the root that keeps what was downloaded; it may be removed once everything is unpacked."""


class Archive(NamedTuple):
    """One file of a data set and what it unpacks to."""

    url: str
    md5: str
    """Of the archive."""
    holds: tuple[str, ...]
    """Paths relative to the root that are there once the archive is unpacked."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


_VOC, _COCO = "http://host.robots.ox.ac.uk/pascal/VOC/voc2007", "http://images.cocodataset.org"
_VOC_LISTS = "VOCdevkit/VOC2007/ImageSets/Main"
# Neither publisher lists hashes. These are the ones that public readers of the two data sets agree on; MD5 guards
# against a broken transfer, not against an attacker.
SOURCES: dict[str, tuple[Archive, ...]] = {
    "voc": (
        Archive(
            f"{_VOC}/VOCtrainval_06-Nov-2007.tar",
            "c52e279531787c972589f7e41ab4ae64",
            (f"{_VOC_LISTS}/trainval.txt", "VOCdevkit/VOC2007/JPEGImages"),
        ),
        Archive(f"{_VOC}/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f", (f"{_VOC_LISTS}/test.txt",)),
    ),
    "coco": (
        Archive(
            f"{_COCO}/annotations/annotations_trainval2014.zip",
            "0a379cfc70b0e71301e0f377548639bd",
            ("annotations/instances_train2014.json", "annotations/instances_val2014.json"),
        ),
        Archive(f"{_COCO}/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", ("train2014",)),
        Archive(f"{_COCO}/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", ("val2014",)),
    ),
}


def archives_of(dataset: str) -> tuple[Archive, ...]:
    """The archives that hold a data set. Raises ConfigError for one that cannot be downloaded."""
    if dataset not in SOURCES:
        raise ConfigError(f"'{dataset}' cannot be downloaded; {did_you_mean(dataset, SOURCES)}")
    return SOURCES[dataset]


def download(dataset: str, root: Path, progress: Progress | None = None) -> None:
    """Put VOC 2007 ("voc") or COCO 2014 ("coco") below `root`, the folder for the reader.

    Archives that are unpacked already are neither fetched nor unpacked again, and one that was cut short goes on.
    Raises ConfigError for a data set that cannot be downloaded, DataError for what `fetch` and `extract` find.
    """
    progress = progress or Silent()
    for archive in archives_of(dataset):
        path = root / ARCHIVES / archive.name
        if unfinished(path, root).exists() or not all((root / held).exists() for held in archive.holds):
            extract(fetch(archive.url, path, md5=archive.md5, progress=progress), root, progress)
