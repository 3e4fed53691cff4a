"""Write the page of a comparison on VOC's photographs: python scripts/make_results_photos.py SWEEP OUT [FOLDS]

Every figure of OUT/results-photos.md, and those below OUT/results-photos, come from SWEEP/results.jsonl and the scores
beside it. FOLDS is the file that the sweep was given with --folds; without it the sweep is of VOC's own test split.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.openai.published import PUBLISHED_SHA256
from mlrpl_cli.core.backbones.registry import describe
from mlrpl_cli.core.io.errors import MlrplError, RunError
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.sweep.data import SweepData, read_data
from mlrpl_cli.core.sweep.plan import DATA
from mlrpl_cli.core.sweep.report import SweepReport
from mlrpl_cli.core.sweep.results import Row
from scripts.make_results import reported, setting, write_page

PAGE, IDS = "results-photos", "photographs.csv"
DATASET = "voc"
TRAINVAL, TESTED = 5011, 4952
"""Photographs of VOC 2007."""
OF_THE_PAPERS = "RN101"


def main() -> None:
    sweep, out, *folds = (Path(argument) for argument in sys.argv[1:4])
    data = read_data(sweep / DATA, folds=folds[0] if folds else None)
    if data.prepared.dataset != DATASET:
        raise RunError(f"{sweep / DATA} is of {data.prepared.dataset}, expected {DATASET}; prepare VOC's folder")
    report, shown = reported(sweep, data)
    values = setting(report, data, shown.rows) | ground(report, data, shown.rows[0])
    write_page(out, PAGE, report, shown, values)
    write_text(out / PAGE / IDS, ids(data))


def ground(report: SweepReport, data: SweepData, row: Row) -> dict[str, Any]:
    """What the photographs and features of a comparison are, and whether published figures may stand beside it."""
    config, sides = row["config"], data.prepared.splits
    backbone = str(config["backbone"])
    counts = (data.prepared.full_labels[data.scored][:, report.counted] == PRESENT).sum(axis=0)
    tested = sides.count(TEST)
    is_whole = data.folds is None and (len(sides) - tested, tested) == (TRAINVAL, TESTED)
    return {
        "backbone": backbone,
        "image_size": config["image_size"],
        "pretraining": describe(BackboneOptions(backbone, config["backbone_config"])).pretraining,
        "is_clip": backbone in PUBLISHED_SHA256,
        "is_whole": is_whole,
        "photographs": len(data.prepared.images),
        "of_all": TRAINVAL + TESTED,
        "fewest": int(counts.min()),
        "most": int(counts.max()),
        "ids": f"{PAGE}/{IDS}",
        "published": is_whole and backbone == OF_THE_PAPERS,
    }


def ids(data: SweepData) -> str:
    """The VOC id of each photograph and its fold, as --folds reads it, or its split."""
    names = (PurePosixPath(image).stem for image in data.prepared.images)
    sides = data.prepared.splits if data.folds is None else data.folds.tolist()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "split" if data.folds is None else "fold"])
    writer.writerows(zip(names, sides, strict=True))
    return table.getvalue()


if __name__ == "__main__":
    try:
        main()
    except MlrplError as error:
        sys.exit(f"make_results_photos: error: {error}")
