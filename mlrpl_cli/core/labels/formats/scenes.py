"""Scenes as a data set: rendered into the folder that is being prepared, each named by its place in a split.

What draws and writes is imported where it is used: help lists the options of every format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import atomic_folder
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import shown
from mlrpl_cli.core.labels.records import TEST, TRAIN, Format, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT

if TYPE_CHECKING:
    import numpy as np

FIRST_TEST_INDEX = 1_000_000
"""Test scenes start at this index, so that they stay the same however many training scenes there are."""

MASK_SIDE = 64
"""Height and width of the masks that attention is compared with."""

_SCENE_NAME = re.compile(rf"(.+/)?({TRAIN}|{TEST})/[0-9]{{5,9}}\.png")
_FEW_IMAGES = 64  # fewer than this are rendered without starting worker processes


class Scenes(Format):
    """Rendered scenes: a data set that needs no download."""

    train_images: int = Field(2000, ge=2, description="training images to render")
    test_images: int = Field(1000, ge=0, description="test images to render")
    scenes_seed: int = Field(0, ge=0, description="seed of the images")

    def read(self, reading: Reading) -> Records:
        """Render the scenes as PNG files under reading.workspace/images.

        The files are the same whatever the number of processors. Raises DataError when they cannot be written.
        """
        import numpy as np

        from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES

        counts = {TRAIN: self.train_images, TEST: self.test_images}
        splits = tuple(split for split, count in counts.items() for _ in range(count))
        names = [f"{split}/{place:05d}.png" for split, count in counts.items() for place in range(count)]
        with atomic_folder(reading.workspace / "images") as images:
            for split in counts:
                (images / split).mkdir()
            # Closed, so that an interruption ends the processes before their folder is removed.
            with closing(_rendered(images, self.scenes_seed, names)) as rendered:
                done = track(reading.progress, rendered, "Rendering scenes", len(names))
                present = np.fromiter(done, np.dtype((bool, len(SCENE_CLASSES))))  # to its end, which is reported
        labels = np.where(present, PRESENT, ABSENT).astype(np.int8)
        return Records(SCENE_CLASSES, reading.workspace, tuple(f"images/{name}" for name in names), labels, splits)


def object_masks(names: Sequence[str], seed: int, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The visible pixels of every object class in rendered scenes, rendered again from their file names.

    `names` are paths as `Scenes.read` gave them. Returns rows (M,) into `names`, columns (M,) into `classes` and masks
    (M, MASK_SIDE, MASK_SIDE) bool, one for each class present in each image, sampled at every fourth pixel.
    Raises DataError for names and classes that scenes do not have.
    """
    import numpy as np

    from mlrpl_cli.core.scenes.rendering import DEFAULTS, SCENE_CLASSES, render_scene

    if unknown := [name for name in names if not _SCENE_NAME.fullmatch(name)]:
        raise DataError(f"expected scenes, as {TEST}/00000.png, got {shown(unknown[0])}; run mlrpl prepare again")
    if unknown := [label for label in classes if label not in SCENE_CLASSES]:
        raise DataError(f"expected classes of scenes, got {shown(unknown[0])}; run mlrpl prepare again")
    step = DEFAULTS.image_size // MASK_SIDE
    chosen = [SCENE_CLASSES.index(label) for label in classes]
    rows, columns, masks = list[int](), list[int](), list[np.ndarray]()
    for row, name in enumerate(names):
        whole = render_scene(seed, _index(name)).masks[chosen]
        present = np.flatnonzero(whole.any(axis=(1, 2)))
        rows.extend([row] * len(present))
        columns.extend(present)
        masks.extend(whole[present, step // 2 :: step, step // 2 :: step])
    return np.array(rows), np.array(columns), np.array(masks)


def _index(name: str) -> int:
    """The index of the scene in a file that `Scenes.read` named."""
    path = Path(name)
    return int(path.stem) + (FIRST_TEST_INDEX if path.parent.name == TEST else 0)


def _write_scene(images: Path, seed: int, name: str) -> np.ndarray:
    """(C,) bool: the classes that are present in the scene that was written."""
    from PIL import Image

    from mlrpl_cli.core.scenes.rendering import render_scene

    scene = render_scene(seed, _index(name))
    Image.fromarray(scene.pixels).save(images / name, compress_level=1)
    return scene.present


def _rendered(images: Path, seed: int, names: Sequence[str]) -> Generator[np.ndarray]:
    """What `_write_scene` returns, in the order of `names`, worked on by every processor where it is worth it."""
    from concurrent.futures.process import BrokenProcessPool

    from mlrpl_cli.core.io.processes import process_pool, without_interrupts

    write, processes = partial(_write_scene, images, seed), os.cpu_count() or 1
    if len(names) < _FEW_IMAGES or processes == 1:
        yield from map(write, names)
        return
    try:
        with process_pool(processes) as pool:
            with without_interrupts():
                results = pool.map(write, names, chunksize=8)
            yield from results
    except BrokenProcessPool as error:
        raise DataError("a process that rendered scenes was killed; free memory and run the same again") from error
