"""Labels that a machine proposes and nobody verified, which are kept apart from labels: what is where, and how sure.

In: what a reader found, by the rows and columns of its `Records`. Out: the same of the images and classes that stay.
"""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.labels.records import Records
from mlrpl_cli.core.labels.states import UNKNOWN

PROPOSAL = np.dtype([("image", "<i4"), ("class", "<i4"), ("confidence", "<f4")])
"""Row of the image, column of the class, and the machine's confidence in [0, 1]."""


def kept(proposals: np.ndarray, before: Records, after: Records) -> np.ndarray:
    """(P,) of PROPOSAL by the rows and columns of `after`, in their order, each cell once with the highest confidence.

    `proposals` are by those of `before`, of which `after` has some. Cells that people verified have none.
    """
    rows, columns = (
        np.array([place.get(name, -1) for name in old], np.int32)
        for place, old in (
            ({name: row for row, name in enumerate(after.images)}, before.images),
            ({name: column for column, name in enumerate(after.classes)}, before.classes),
        )
    )
    moved = proposals.copy()
    moved["image"], moved["class"] = rows[proposals["image"]], columns[proposals["class"]]
    moved = moved[(moved["image"] >= 0) & (moved["class"] >= 0)]
    moved = moved[after.full_labels[moved["image"], moved["class"]] == UNKNOWN]
    moved = moved[np.lexsort((-moved["confidence"], moved["class"], moved["image"]))]
    cells = moved["image"].astype(np.int64) * len(after.classes) + moved["class"]
    return moved[np.flatnonzero(np.diff(cells, prepend=-1))]
