"""The resampled mAP of every run of a sweep, computed once: a small file a run beside its scores.

Axes: R resamples, N test images, C classes.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.evaluation.comparison import resample_weights, resampled_maps
from mlrpl_cli.core.io.files import make_folder
from mlrpl_cli.core.io.tensorfiles import SUFFIX, read_tensors, write_tensors

RESAMPLED = "resampled"
_MAPS, _MADE_OF = "maps", "made_of"


class Resampling:
    """R bootstrap resamples of the test images, the same ones for every run of the sweep in `out`."""

    def __init__(self, out: Path, labels: np.ndarray, resamples: int, seed: int = 0) -> None:
        self.folder = out / RESAMPLED
        self.labels, self.resamples, self.seed = labels, resamples, seed

    def maps(self, key: str, scores: np.ndarray) -> np.ndarray:
        """(R,) mAP of the run with this key, whose test scores are (N, C), in each resample.

        Taken from its file when that is whole and made of these scores, labels and resamples; else computed and stored.
        """
        path, made_of = self.folder / f"{key}{SUFFIX}", self._made_of(scores)
        try:
            stored = read_tensors(path)
            if stored.metadata.get(_MADE_OF) == made_of:
                return stored.tensors[_MAPS].numpy()
        except (ValueError, KeyError):
            pass  # missing, damaged or of another kind: made again
        make_folder(self.folder)
        maps = resampled_maps(scores, self.labels, self._weights)
        write_tensors(path, {_MAPS: torch.from_numpy(maps)}, {_MADE_OF: made_of})
        return maps

    @cached_property
    def _weights(self) -> np.ndarray:
        return resample_weights(len(self.labels), self.resamples, self.seed)

    def _made_of(self, scores: np.ndarray) -> str:
        digest = hashlib.sha256(f"{self.resamples} {self.seed} {scores.shape}".encode())
        for values in (scores, self.labels):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()
