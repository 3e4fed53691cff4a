"""The file of a run: safetensors with one entry of metadata, and a checksum over all of it.

It holds the checkpoint's recognizer and text features under their names, and what the image tower is made of under
"backbone.". The entry has "pack" (`PackInfo`), "run" (`RunInfo`) and, for a run that decides, "decisions", as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mlrpl_cli.core.backbones.registry import portable_name
from mlrpl_cli.core.io.errors import RunError, one_line
from mlrpl_cli.core.io.reading import open_file
from mlrpl_cli.core.io.tensorfiles import metadata_of, open_tensors, write_tensors
from mlrpl_cli.core.runs.checkpoint import METADATA, RECOGNIZER, TEXT_FEATURES, Checkpoint, checkpoint_in
from mlrpl_cli.core.runs.decided.decisions import Decision, decisions_in, decisions_text
from mlrpl_cli.core.runs.packed.info import PackInfo, info_in

SUFFIX = ".mlrpl"
PACK, DECIDED, BACKBONE = "pack", "decisions", "backbone."
AGAIN = "`mlrpl pack RUN` writes one"


@dataclass(frozen=True)
class Pack:
    """What the file of a run holds."""

    info: PackInfo
    checkpoint: Checkpoint
    """Of it the recognizer and the text features."""
    decision: Decision | None
    weights: Mapping[str, Tensor]
    """`Backbone.weights`; empty where they are not in the file."""


def write_pack(pack: Pack, path: Path) -> None:
    """Write atomically, the same bytes for the same content. Raises DataError when that is not possible."""
    head = {
        name: tensor
        for name, tensor in pack.checkpoint.tensors.items()
        if name == TEXT_FEATURES or name.startswith(RECOGNIZER)
    }
    # Copied: safetensors takes no memory that two tensors share.
    weights = {BACKBONE + name: tensor.detach().clone() for name, tensor in pack.weights.items()}
    told = {PACK: json.dumps(asdict(pack.info)), METADATA: json.dumps(asdict(pack.checkpoint.info))}
    if pack.decision is not None:
        told[DECIDED] = decisions_text(pack.checkpoint.info.classes, {pack.info.checkpoint: pack.decision})
    write_tensors(path, {**head, **weights}, told)


def is_pack(path: Path) -> bool:
    """Whether `path` is a file of ours by what it says of itself; False for what cannot be read."""
    try:
        return PACK in metadata_of(path)
    except (ValueError, RecursionError):
        return False


def read_pack(path: Path) -> Pack:
    """The content of a file, whole to the bit. Raises RunError, in one line, for anything else."""
    try:
        open_file(path).close()  # a regular file, and not a pipe that would keep its reader waiting
        file = open_tensors(path)
        info = info_in(file.metadata[PACK])
        weights = {n.removeprefix(BACKBONE): t for n, t in file.checked().tensors.items() if n.startswith(BACKBONE)}
        head = {name: tensor for name, tensor in file.tensors.items() if not name.startswith(BACKBONE)}
        checkpoint = checkpoint_in(file._replace(tensors=head), path)
        if (info.family is None) != (not weights):
            raise ValueError("it does not say what its backbone's weights are")
        return Pack(info, checkpoint, _decision(file.metadata.get(DECIDED), info, checkpoint), weights)
    except KeyError as error:
        raise RunError(f"{path} is no file of `mlrpl pack`: it lacks {error}; {AGAIN}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; check --run") from error
    except (ValueError, RecursionError) as error:
        told = f"{path} is damaged, cut off, or no file of `mlrpl pack`"
        raise RunError(f"{told}: {one_line(error)}; {AGAIN}") from error


def without_places(pack: Pack, backbone: str) -> Pack:
    """The same, of data and a `backbone` that are named without the folders of this machine."""
    info, record = pack.checkpoint.info, dict(pack.checkpoint.info.backbone_record)
    if isinstance(architecture := record.get("architecture"), dict):
        # A tokenizer is of texts, which are features already.
        record["architecture"] = _without_folders({**architecture, "tokenizer": None})
    named = replace(info, data=Path(info.data).name, data_from_run=None, backbone=backbone, backbone_record=record)
    return replace(pack, checkpoint=replace(pack.checkpoint, info=named))


def _without_folders(value: Any) -> Any:
    """JSON whose absolute paths are their last parts."""
    match value:
        case dict():
            return {name: _without_folders(part) for name, part in value.items()}
        case list() | tuple():
            return [_without_folders(part) for part in value]
        case str():
            return portable_name(value)
    return value


def _decision(text: str | None, info: PackInfo, checkpoint: Checkpoint) -> Decision | None:
    """Raises ValueError for a decision of another checkpoint, or of other classes."""
    if text is None:
        return None
    found = decisions_in(text).get(info.checkpoint)
    if found is None or found.checkpoint != info.run_sha256 or len(found.thresholds) != len(checkpoint.info.classes):
        raise ValueError("its decisions are not of its checkpoint")
    return found
