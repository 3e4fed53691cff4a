"""Run folders: checkpoints in safetensors that rebuild their own model, and the log beside them.

A run folder holds config.yaml, last.safetensors (with the optimizer's state), best.safetensors, metrics.jsonl and
the TensorBoard events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig, make_config, read_yaml
from mlrpl_cli.core.errors import RunError
from mlrpl_cli.core.files import atomic_file, write_text
from mlrpl_cli.core.models.build import METHODS, rebuild_recognizer
from mlrpl_cli.core.models.recognizer import Recognizer

FORMAT = 4
LAST, BEST = "last", "best"
CONFIG_FILE, LOG_FILE = "config.yaml", "metrics.jsonl"
RUNS = Path("runs")

RECOGNIZER, TEXT_FEATURES, CONTEXTS, OPTIMIZER = "recognizer.", "text_features", "contexts.", "optimizer."


@dataclass(frozen=True)
class RunInfo:
    """What a checkpoint says of itself."""

    method: str
    classes: tuple[str, ...]
    dataset: str
    data: str
    """The prepared folder it was trained on."""
    mask_sha256: str
    data_sha256: str
    """Checksum of what was read of that folder; another one means other images or labels."""
    backbone: str
    fingerprint: str
    """SHA-256 of the backbone's image weights; features of other weights mean nothing to this recognizer."""
    image_size: int
    precision: str
    """What its frozen encoders computed in."""
    epoch: int
    """Epochs done; 0 for the calibrated start."""
    best_epoch: int
    best_map: float | None
    """Highest mAP on the split that selects, in [0, 1]; None before the first epoch or without positives."""
    format: int = FORMAT


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: what it says of itself, and its tensors by name."""

    info: RunInfo
    tensors: dict[str, Tensor]

    def recognizer(self) -> Recognizer:
        """The trained recognizer, in evaluation mode, its sizes read off the tensors."""
        return rebuild_recognizer(self.info.method, len(self.info.classes), self.group(RECOGNIZER))

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    @property
    def text_features(self) -> Tensor:
        """Text features (C, E), or (2C, E) for pairs, so that neither tokenizer nor text encoder is needed."""
        return self.tensors[TEXT_FEATURES]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically."""
    info = json.dumps(asdict(checkpoint.info))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"mlrpl": info})


def load_checkpoint(run: Path, which: str = BEST) -> Checkpoint:
    """Read `which` ("best" or "last") of a run folder.

    Raises RunError when the folder is not a run, or the file is missing, truncated or of another format.
    """
    path = run / f"{which}.safetensors"
    if not path.is_file():
        raise RunError(f"{run} has no {path.name}: expected a run folder that `mlrpl train` wrote; check --run")
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["mlrpl"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        return Checkpoint(_run_info(info, path), tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged or no checkpoint of mlrpl; train again or restore the file") from error


def load_config(run: Path) -> TrainConfig:
    """The configuration a run was started with."""
    if not (run / CONFIG_FILE).is_file():
        raise RunError(f"{run} has no {CONFIG_FILE}: expected a run folder that `mlrpl train` wrote; check --run")
    return replace(make_config(flags=read_yaml(run / CONFIG_FILE)), run=str(run))


def newest_run(parent: Path = RUNS) -> Path:
    """The run below `parent` whose last checkpoint is newest. Raises RunError when there is none."""
    found = sorted(parent.glob(f"*/{LAST}.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise RunError(f"no run below {parent}; run `mlrpl train`, or name one with --run")
    return found[-1].parent


def new_run_folder(name: str, parent: Path = RUNS) -> Path:
    """`parent`/`name`, or with -2, -3 … behind it: the first that does not exist."""
    candidates = (parent / (name if number == 1 else f"{name}-{number}") for number in range(1, 1_000_000))
    return next(candidate for candidate in candidates if not candidate.exists())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: optimizer.<parameter index>.<quantity>."""
    states: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{OPTIMIZER}{index}.{quantity}": torch.as_tensor(value)
        for index, state in states.items()
        for quantity, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Put back what `optimizer_tensors` gave."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.group(OPTIMIZER).items():
        index, quantity = name.split(".", 1)
        states.setdefault(int(index), {})[quantity] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def read_log(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, one an epoch; an unfinished last line of a killed process is left out."""
    path = run / LOG_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunError(f"{path} is damaged: expected a JSON object a line; resume or repeat the run") from error


def write_log(run: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace metrics.jsonl by `rows`, atomically."""
    write_text(run / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _run_info(values: dict[str, Any], path: Path) -> RunInfo:
    if values.get("format") != FORMAT:
        raise RunError(
            f"{path}: expected checkpoint format {FORMAT}, got {values.get('format')}; "
            "train again, or use the mlrpl that wrote it"
        )
    info = RunInfo(**{**values, "classes": tuple(values["classes"])})
    if info.method not in METHODS:
        raise RunError(f"{path} was trained with the method '{info.method}', which this mlrpl lacks; update mlrpl")
    return info
