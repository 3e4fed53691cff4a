"""Pictures for the page: images scaled down, and the attention of a class laid over them, kept as JPEG."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image

from mlrpl_cli.core.images.decode import scaled_image
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.prediction.images import Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.reports.figures import overlay

SMALL, LARGE = SIDES = (192, 1024)
"""The longest side in pixels, of a grid and of an image alone."""
QUALITY = 85
MOST_BYTES = 256 * 1024**2
"""Of JPEGs that are kept."""


class Pictures:
    """Images by their rows; safe to call from several threads."""

    def __init__(self, paths: Sequence[Path], allow_truncated: bool, load: Callable[[], Predictor]) -> None:
        """`load` is called when attention is asked for first."""
        self.paths, self.allow_truncated = paths, allow_truncated
        self._load, self._attending = load, Lock()
        self._predictor: Predictor | None = None
        self._kept, self._bytes, self._lock = OrderedDict[tuple[int, ...], bytes](), 0, Lock()

    def image(self, row: int, side: int) -> bytes:
        """JPEG of at most `side` pixels, of SIDES. Raises DataError for another side, or what cannot be read."""
        if side not in SIDES:
            raise DataError(f"expected a side of {SMALL} or {LARGE} pixels, got {side}")
        return self._remembered((row, side), lambda: self._scaled(row, side))

    def attention(self, row: int, column: int) -> bytes:
        """The same of LARGE pixels, tinted by where a class was looked for."""
        return self._remembered((row, column, LARGE), lambda: self._attended(row, column))

    def _attended(self, row: int, column: int) -> Image.Image:
        with self._attending:  # one at a time: it has all cores that there are
            if self._predictor is None:
                self._predictor = self._load()
            with torch.inference_mode():
                (result,) = self._predictor.predict_files([self.paths[row]], workers=0)
        if isinstance(result, Unreadable):
            raise DataError(result.reason)
        pixels = np.asarray(self._scaled(row, LARGE))
        return Image.fromarray(overlay(pixels, result.attention[column]))

    def _scaled(self, row: int, side: int) -> Image.Image:
        return scaled_image(self.paths[row], side, self.allow_truncated)

    def _remembered(self, key: tuple[int, ...], make: Callable[[], Image.Image]) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        stream = io.BytesIO()
        make().save(stream, "JPEG", quality=QUALITY)
        content = stream.getvalue()
        with self._lock:
            if key not in self._kept:
                self._kept[key], self._bytes = content, self._bytes + len(content)
            while self._bytes > MOST_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return content
