"""Where VOC 2007 and COCO 2014 are published, and how their folders come to be on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.archives import extract, unfinished

ARCHIVES = "archives"
"""Folder below the root that keeps what was downloaded; it may be removed once everything is unpacked."""


@dataclass(frozen=True)
class Archive:
    """One file of a data set and what it unpacks to."""

    url: str
    md5: str
    """Of the archive, hexadecimal."""
    holds: tuple[str, ...]
    """Paths relative to the root that are there once the archive is unpacked."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


# Neither publisher lists hashes. These are the ones that public readers of the two data sets agree on; MD5 guards
# against a broken transfer, not against an attacker.
SOURCES: dict[str, tuple[Archive, ...]] = {
    "voc": (
        Archive(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
            "c52e279531787c972589f7e41ab4ae64",
            ("VOCdevkit/VOC2007/ImageSets/Main/trainval.txt", "VOCdevkit/VOC2007/JPEGImages"),
        ),
        Archive(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtest_06-Nov-2007.tar",
            "b6e924de25625d8de591ea690078ad9f",
            ("VOCdevkit/VOC2007/ImageSets/Main/test.txt",),
        ),
    ),
    "coco": (
        Archive(
            "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
            "0a379cfc70b0e71301e0f377548639bd",
            ("annotations/instances_train2014.json", "annotations/instances_val2014.json"),
        ),
        Archive("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", ("train2014",)),
        Archive("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", ("val2014",)),
    ),
}


def download(
    dataset: str,
    root: Path,
    progress: Progress | None = None,
    sources: Mapping[str, tuple[Archive, ...]] = SOURCES,
) -> Path:
    """Put VOC 2007 ("voc") or COCO 2014 ("coco") below `root` and return the folder for the reader: `root`.

    Archives that are unpacked already are neither fetched nor unpacked again, and one that was cut short goes on.
    Raises ConfigError for a data set that cannot be downloaded, DataError for what `fetch` and `extract` find.
    """
    if dataset not in sources:
        raise ConfigError(f"'{dataset}' cannot be downloaded; {did_you_mean(dataset, sources)}")
    progress = progress or Silent()
    for archive in sources[dataset]:
        if not _is_unpacked(archive, root):
            path = fetch(archive.url, root / ARCHIVES / archive.name, "md5", archive.md5, progress)
            extract(path, root, progress)
    return root


def _is_unpacked(archive: Archive, root: Path) -> bool:
    cut_short = unfinished(root / ARCHIVES / archive.name, root).exists()
    return not cut_short and all((root / path).exists() for path in archive.holds)
