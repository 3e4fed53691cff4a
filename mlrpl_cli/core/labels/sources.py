"""Where VOC 2007 and COCO 2014 are published, and how their folders come to be on disk.

Archives have a pinned hash, so what one says of itself is what its publisher wrote: sizes are not distrusted. Still
nothing lands outside the folder, and the disk has room for all of it.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import ConfigError, DataError, MlrplError, Problems, did_you_mean, in_words, one_line
from mlrpl_cli.core.io.files import make_folder
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.io.reading import leads_outside, open_file, short

ARCHIVES = "archives"
"""Folder below the root that keeps what was downloaded; it may be removed once everything is unpacked."""
DEEPEST = 100
"""Folders inside folders."""


class Archive(NamedTuple):
    """One file of a data set and what it unpacks to."""

    url: str
    md5: str
    """Of the archive, hexadecimal."""
    holds: tuple[str, ...]
    """Paths relative to the root that are there once the archive is unpacked."""


_VOC, _COCO = "http://host.robots.ox.ac.uk/pascal/VOC/voc2007", "http://images.cocodataset.org"
_LISTS = "VOCdevkit/VOC2007/ImageSets/Main"
_TRAINVAL = (f"{_LISTS}/trainval.txt", "VOCdevkit/VOC2007/JPEGImages")
_INSTANCES = ("annotations/instances_train2014.json", "annotations/instances_val2014.json")
# Neither publisher lists hashes. These are the ones that public readers of the two data sets agree on; MD5 guards
# against a broken transfer, not against an attacker.
SOURCES: dict[str, tuple[Archive, ...]] = {
    "voc": (
        Archive(f"{_VOC}/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64", _TRAINVAL),
        Archive(f"{_VOC}/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f", (f"{_LISTS}/test.txt",)),
    ),
    "coco": (
        Archive(f"{_COCO}/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd", _INSTANCES),
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
        path = root / ARCHIVES / archive.url.rpartition("/")[2]
        if unfinished(path, root).exists() or not all((root / held).exists() for held in archive.holds):
            extract(fetch(archive.url, path, "md5", archive.md5, progress), root, progress)


def extract(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a tar (plain or compressed) or zip into `folder`, adding to what is there.

    Everything is unpacked aside first, so a broken archive leaves `folder` as it was. Raises DataError for an archive
    that is damaged, too large for the disk, or holds links, devices or names that lead outside.
    """
    aside = unfinished(archive, folder)
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)
    try:
        with ExitStack() as on_failure:
            on_failure.callback(shutil.rmtree, aside, ignore_errors=True)
            with _opened(archive) as members:
                _check(archive, members, aside)
                for member in track(progress or Silent(), members, f"unpacking {archive.name}", len(members), "files"):
                    member.unpack(aside)
            on_failure.pop_all()
        for item in sorted(aside.rglob("*")):  # a folder before what it holds
            place = folder / item.relative_to(aside)
            if item.is_dir():
                place.mkdir(exist_ok=True)
            else:
                item.replace(place)
        shutil.rmtree(aside)
    except MlrplError:
        raise
    except Exception as error:  # tarfile, zipfile and the decompressors below them raise a dozen kinds
        reason = one_line(error)
        if isinstance(error, OSError) and error.errno:  # the system's own: theirs have no number
            raise DataError(f"cannot unpack {archive}: {reason}; free space, or choose another place") from error
        raise DataError(f"{archive} is damaged or no tar or zip: {reason}; remove it and fetch it again") from error


def unfinished(archive: Path, folder: Path) -> Path:
    """The folder that exists exactly while, or after, an extraction of `archive` into `folder` was cut short."""
    # Not the prefix of what is abandoned when its writer ends: an extraction that was cut short has to be remembered.
    return folder / f".unpacking-{archive.name}"


class _Member(NamedTuple):
    name: str
    size: int
    is_plain: bool
    """A file or a folder, neither a link nor a device."""
    unpack: Callable[[Path], object]
    """Write it below a folder."""


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member]]:
    # A tar first, since a tar may end with a zip.
    with open_file(archive) as stream:
        if tarfile.is_tarfile(stream):
            stream.seek(0)
            with tarfile.open(fileobj=stream) as tar:
                # Older releases of Python 3.10 and 3.11 have no filter; names and kinds are checked by `_check` too.
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                yield [_tar_member(tar, info) for info in tar]
        else:
            with zipfile.ZipFile(stream) as opened:
                kinds = (0, stat.S_IFREG, stat.S_IFDIR)
                plain = [(info, stat.S_IFMT(info.external_attr >> 16) in kinds) for info in opened.infolist()]
                yield [_Member(i.filename, i.file_size, is_plain, partial(opened.extract, i)) for i, is_plain in plain]


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if info.size < 0:
        raise tarfile.ReadError(f"a member of {info.size} bytes")  # which tarfile would read for ever
    return _Member(info.name, info.size, info.isreg() or info.isdir(), partial(tar.extract, info, set_attrs=False))


def _check(archive: Path, members: Sequence[_Member], folder: Path) -> None:
    problems = Problems()
    problems.extend("names lead outside the folder", (short(m.name) for m in members if leads_outside(m.name)))
    problems.extend(
        "members are of another kind than files and folders", (short(m.name) for m in members if not m.is_plain)
    )
    deep = (short(m.name) for m in members if m.name.count("/") >= DEEPEST)
    problems.extend(f"names are more than {DEEPEST} folders deep", deep)
    problems.raise_if_any(f"{archive} is not unpacked", "fetch it from a source that you trust")
    need, free = sum(member.size for member in members), shutil.disk_usage(folder).free
    if need > free:
        needed, room = in_words(need), in_words(free)
        raise DataError(f"{archive} needs {needed} unpacked, {folder.parent} has {room} free; choose another place")
