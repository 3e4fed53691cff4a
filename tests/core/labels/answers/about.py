"""A data set of four images and three classes to answer about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer

CLASSES, IMAGES = ("cat", "dög", "stop sign"), ("a.jpg", "b/ü.jpg", "c\udcff.jpg", "d.jpg")
GIVEN = np.array([[1, 0, -1], [0, 0, 0], [0, 1, 0], [-1, -1, 1]], np.int8)


def data_set(place: Path, images=IMAGES, classes=CLASSES, given=None) -> DataSet:
    """The third image's name is no UTF-8."""
    given = GIVEN if given is None else np.array(given, np.int8)
    splits = tuple("test" if name == "d.jpg" else "train" for name in images)
    return DataSet(classes, place / "images", images, splits, given, place / "prepared")


def said(token, row=0, column=1, state="present", person="ann", probability=0.25) -> NewAnswer:
    return NewAnswer(token, row, column, state, person, probability)
