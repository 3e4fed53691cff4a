"""The data sets that `prepare` reads. To add one: a reader in a file of its own, and here its function and line.

A reader is imported when it is used: pycocotools alone takes longer to import than `mlrpl prepare --help` to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import SCENES, ReadOptions, Records

TABLE = "table"
DEFAULT_DATASET = SCENES


class Reader(Protocol):
    """Reads a data set where its publisher put it, or makes its images in `workspace`."""

    def __call__(self, options: ReadOptions, workspace: Path, progress: Progress) -> Records:
        """All images and labels. `workspace` is the folder being prepared, empty; most readers leave it alone."""


def _scenes(options: ReadOptions, workspace: Path, progress: Progress) -> Records:
    from mlrpl_cli.core.labels.formats.scenes import write_scenes

    return write_scenes(workspace, options, progress)


def _voc(options: ReadOptions, workspace: Path, progress: Progress) -> Records:
    from mlrpl_cli.core.labels.formats.voc import read

    return read(options, progress)


def _coco(options: ReadOptions, workspace: Path, progress: Progress) -> Records:
    from mlrpl_cli.core.labels.formats.coco import read

    return read(options, progress)


def _table(options: ReadOptions, workspace: Path, progress: Progress) -> Records:
    from mlrpl_cli.core.labels.formats.table import read

    return read(options, progress)


DATASETS: dict[str, Reader] = {
    SCENES: _scenes,
    "voc": _voc,
    "coco": _coco,
    TABLE: _table,
}
