"""The traced model as torch.export's archive, a zip that `torch.export.load` reads."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch

from mlrpl_cli.core.export.model import RunModel
from mlrpl_cli.core.export.tracing import converted
from mlrpl_cli.core.prediction.model_info import ModelInfo

INFO = "mlrpl.json"
"""The extra file of the archive that holds what the model says of itself."""


def write_archive(path: Path, model: RunModel, info: ModelInfo) -> None:
    """Write the archive. Raises as `tracing.converted`."""
    told = json.dumps(asdict(info), ensure_ascii=False, indent=1)
    converted(model, lambda program: torch.export.save(program, path, extra_files={INFO: told}))


def is_archive(path: Path) -> bool:
    """Whether `write_archive` wrote what stands at `path`; False for what cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == INFO for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
