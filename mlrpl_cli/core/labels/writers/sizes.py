"""The sizes of images, for formats that state them."""

from __future__ import annotations

from mlrpl_cli.core.images.decode import image_size
from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.labels.writers.registry import Export


def image_sizes(export: Export) -> list[tuple[int, int]]:
    """(width, height) in pixels of every image. Raises DataError, which names all that cannot be read."""
    records, problems, sizes = export.records, Problems(), list[tuple[int, int]]()
    for name in track(export.progress, records.images, "reading image sizes", len(records.images)):
        try:
            sizes.append(image_size(records.image_root / name))
        except DataError as error:
            problems.add("images cannot be read", error)
    problems.raise_if_any(str(records.image_root), "restore them, or write a table, which needs no sizes")
    return sizes
