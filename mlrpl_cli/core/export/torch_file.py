"""The traced model as torch.export's archive, a zip that `torch.export.load` reads."""

from __future__ import annotations

import io
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


def archive_of(model: RunModel, info: ModelInfo) -> bytes:
    """The bytes of the archive. Raises as `tracing.converted`."""
    told, stream = json.dumps(asdict(info), ensure_ascii=False, indent=1), io.BytesIO()
    converted(model, lambda program: torch.export.save(program, stream, extra_files={INFO: told}))
    return stream.getvalue()


def is_archive(path: Path) -> bool:
    """Whether what stands at `path` is an archive of ours; False for what cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == INFO for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
