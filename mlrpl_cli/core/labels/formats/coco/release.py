"""What tells COCO's own annotation files from others that only lie where its releases put them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import KIB, open_file

PUBLISHED_NAME = re.compile(r"(COCO_(train|val)2014_)?\d{12}\.jpg")
# fmt: off
NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
_NEVER_USED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORIES = dict(zip((number for number in range(1, 91) if number not in _NEVER_USED), NAMES, strict=True))
"""The 80 categories of the releases of 2014 and 2017 by id (https://cocodataset.org/#explore)."""
_ENDS = 256 * KIB  # of which the categories, which stand last, are 8 KiB
_FILE_NAME, _CATEGORIES = re.compile(r'"file_name"\s*:\s*"([^"]*)"'), re.compile(r'"categories"\s*:\s*(?=\[)')


def is_published(path: Path) -> bool:
    """Whether an annotation file has COCO's 80 categories, ids and names, and its first image a published name.

    Its two ends are looked at: of the published files they show both.
    """
    try:
        with open_file(path) as stream:
            start = stream.read(_ENDS).decode(errors="replace")
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _ENDS))
            end = stream.read(_ENDS).decode(errors="replace")
    except (OSError, DataError):
        return False
    named, listed = _FILE_NAME.search(start), _CATEGORIES.search(end)
    if not (named and PUBLISHED_NAME.fullmatch(named[1]) and listed):
        return False
    try:
        entries, _ = json.JSONDecoder().raw_decode(end, listed.end())
        return {entry["id"]: entry["name"] for entry in entries} == CATEGORIES
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
