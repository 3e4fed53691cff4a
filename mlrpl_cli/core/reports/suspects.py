"""Pictures of labels that look wrong: the image, and where a run looks for the classes in question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.correcting import Check, cells
from mlrpl_cli.core.images.decode import open_image
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.prediction.images import Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.reports.names import picture_name
from mlrpl_cli.core.reports.slides import MOST_PANELS, draw_slide, save_slide

IMAGES_AT_ONCE = 8


def draw_suspects(found: Check, options: CheckOptions, out: Path, progress: Progress) -> Iterator[Path | Unreadable]:
    """A PNG for each image of the shown cells, with the attention of their classes; yields it when it is written.

    Where an image has more such cells than a picture has room for, the first are drawn. Yields images that cannot be
    read, too. Raises DataError rather than replace a file that is no picture of mlrpl.
    """
    columns, titles = dict[int, list[int]](), dict[int, list[str]]()
    checked, prepared = found.checked, found.subject.prepared
    rows = checked.rows[: options.most].tolist()
    told = zip(rows, checked.columns.tolist(), cells(checked, prepared, options.most), strict=False)
    for row, column, cell in told:
        columns.setdefault(row, []).append(column)
        title = f"{cell['class']}: given {cell['given']}, right with p {cell['right']:.2f}"
        titles.setdefault(row, []).append(title)
    predictor = Predictor.from_run(found.subject.run, options.checkpoint, options.device)
    paths = prepared.paths(np.array(list(columns), int))
    results = predictor.predict_files(paths, IMAGES_AT_ONCE, options.workers)
    for row, result in zip(columns, track(progress, results, "drawing", len(paths)), strict=True):
        if isinstance(result, Unreadable):
            yield result
            continue
        room = slice(MOST_PANELS - 1)
        image = open_image(result.path, allow_truncated=prepared.allow_truncated)
        picture = draw_slide(image, result.path.name, result.attention[columns[row][room]], titles[row][room])
        yield save_slide(picture, out / picture_name(result.path))
