"""`prepare` of 80 classes out of Open Images' rows of human labels, at 10 and 20 million made-up rows.

`python -m benchmarks.openimages` measures it alone, without the machine's ceilings.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv

from benchmarks.measure import GIB, Part, Promise, Row, in_fresh_process
from mlrpl_cli.core.prepared.build import PrepareOptions, prepare

# V7's training rows: 57 million of 9 million images and 20,000 classes.
MILLIONS, CLASSES, ROWS_OF_AN_IMAGE = (10, 20), 20_000, 6
IMAGES = 100_000
"""That are in the folder."""
WANTED = tuple(f"Class {number}" for number in range(80))
COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
MILLION = 1_000_000


def openimages_rows() -> Iterator[Row]:
    """`prepare` beside pyarrow's pass over the same file that keeps nothing."""
    for millions in MILLIONS:
        build = partial(filter_part, millions)
        build(torch.device("cpu"))  # writes the files, so that no measured process does
        (memory, seconds), (other_memory, other) = (in_fresh_process(build, which) for which in ("ours", "other"))
        size = _labels(millions).stat().st_size / GIB
        yield Row(
            f"openimages-{millions}M",
            "pyarrow's pass alone",
            Promise(bytes=2 * GIB),
            seconds,
            other,
            memory=memory,
            other_memory=other_memory,
            note=f"{millions},000,000 rows, {size:.2f} GiB, 80 of 20,000 classes, 100,000 images, one run",
        )
        shutil.rmtree(_root(millions))


def filter_part(millions: int, device: torch.device) -> Part:
    """`prepare` and pyarrow's pass over the same rows, which are written when they are not there."""
    root = _make_rows(millions)

    def ours() -> None:
        prepare(PrepareOptions(dataset="openimages", out=root / "prepared", classes=WANTED, reading={"root": root}))

    def other() -> None:
        with csv.open_csv(_labels(millions), csv.ReadOptions(block_size=16 << 20)) as batches:
            for _ in batches:
                pass

    return Part(ours, other)


def _root(millions: int) -> Path:
    return Path(tempfile.gettempdir()) / f"mlrpl-bench-openimages-{millions}M"


def _labels(millions: int) -> Path:
    return _root(millions) / "train-annotations-human-imagelabels.csv"


def _make_rows(millions: int) -> Path:
    """Labels, descriptions and empty files for the images."""
    root = _root(millions)
    if (root / "complete").is_file():
        return root
    (root / "train").mkdir(parents=True, exist_ok=True)
    count = millions * MILLION // ROWS_OF_AN_IMAGE
    for number in range(0, count, count // IMAGES):
        (root / "train" / f"{number:016x}.jpg").touch()
    described = "".join(f"{_mid(number)},Class {number}\n" for number in range(CLASSES))
    (root / "oidv7-class-descriptions.csv").write_text(f"LabelName,DisplayName\n{described}")
    random = np.random.RandomState(0)
    mids = pa.array([_mid(number) for number in range(CLASSES)])
    sources = pa.array(["verification", "crowdsource-verification"])
    schema = pa.schema([(name, pa.string()) for name in COLUMNS[:3]] + [(COLUMNS[3], pa.int8())])
    unquoted = csv.WriteOptions(quoting_style="none")
    with csv.CSVWriter(_labels(millions), schema, write_options=unquoted) as file:
        for million in range(millions):
            # Classes are as uneven as those of photographs: the 80 most frequent have a fifth of the rows.
            ranks = (random.random_sample(MILLION) ** 3.5 * CLASSES).astype(int)
            images = (np.arange(MILLION) + million * MILLION) // ROWS_OF_AN_IMAGE
            ids = pa.array([f"{number:016x}" for number in images.tolist()])
            labels = mids.take(pa.array(ranks))
            checked = sources.take(pa.array((random.random_sample(MILLION) < 0.2).astype(int)))
            confidences = pa.array((random.random_sample(MILLION) < 0.5).astype(np.int8))
            file.write_table(pa.table([ids, checked, labels, confidences], schema))
    (root / "complete").touch()
    return root


def _mid(number: int) -> str:
    return f"/m/{number:06x}"


if __name__ == "__main__":
    for row in openimages_rows():
        ours = f"{row.seconds:.1f} s, {(row.memory or 0) / GIB:.2f} GiB"
        print(f"{row.name}: {ours}; {row.against}: {row.other_seconds:.1f} s", flush=True)
