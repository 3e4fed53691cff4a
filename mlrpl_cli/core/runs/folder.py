"""Run folders: checkpoints in safetensors that rebuild their own model, and the log beside them.

A run folder holds config.yaml, last.safetensors (with the optimizer's state), best.safetensors, metrics.jsonl and
the TensorBoard events.
"""

from __future__ import annotations

import itertools
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlrpl_cli.core.config import BOUNDS, PRECISIONS, TrainConfig, make_config, read_yaml
from mlrpl_cli.core.heads.methods import METHODS, rebuild_recognizer
from mlrpl_cli.core.heads.recognizers import Recognizer
from mlrpl_cli.core.io.errors import RunError, one_line
from mlrpl_cli.core.io.files import make_folder, write_text
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors

FORMAT = 6
LAST, BEST = "last", "best"
CONFIG_FILE, LOG_FILE = "config.yaml", "metrics.jsonl"
RUNS = Path("runs")

LOGGED = frozenset({"epoch", "loss", "map", "split"})
"""What every row of the log has."""

RECOGNIZER, TEXT_FEATURES, CONTEXTS, OPTIMIZER = "recognizer.", "text_features", "contexts.", "optimizer."
_METADATA = "run"
_DTYPES = (torch.float32, torch.bfloat16)


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
    """Epochs done; 0 for the start at the class priors."""
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
        """The trained recognizer, in evaluation mode, its sizes read off the tensors.

        Raises RunError for tensors that no recognizer of this method and these classes has.
        """
        with fitting(self.info):
            return rebuild_recognizer(self.info.method, len(self.info.classes), self.group(RECOGNIZER))

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}

    @property
    def text_features(self) -> Tensor:
        """Text features (C, E), or (2C, E) for pairs, so that neither tokenizer nor text encoder is needed."""
        return self.tensors[TEXT_FEATURES]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically. Raises DataError when that is not possible."""
    write_tensors(path, checkpoint.tensors, {_METADATA: json.dumps(asdict(checkpoint.info))})


def load_checkpoint(run: Path, which: str = BEST) -> Checkpoint:
    """Read `which` ("best" or "last") of a run folder.

    Raises RunError when the folder is not a run, or the file is missing, of another format, or not whole to the bit.
    """
    path = checkpoint_path(run, which)
    if not path.is_file():
        raise RunError(f"{run} has no {path.name}: expected a run folder that `mlrpl train` wrote; check --run")
    try:
        file = open_tensors(path)
        info = _run_info(json.loads(file.metadata[_METADATA]), path)
        file.check()
        _check_tensors(info, file.tensors)
    except KeyError as error:
        raise RunError(f"{path} is no checkpoint of mlrpl: it lacks {error}; check --run") from error
    except (TypeError, ValueError, RecursionError) as error:
        other = LAST if which == BEST else BEST
        raise RunError(
            f"{path} is damaged: {one_line(error)}; restore it, take --checkpoint {other}, or train again"
        ) from error
    return Checkpoint(info, file.tensors)


def checkpoint_path(run: Path, which: str) -> Path:
    """Where a run folder keeps its "best" or "last" checkpoint."""
    return run / f"{which}{SUFFIX}"


def load_config(run: Path) -> TrainConfig:
    """The configuration a run was started with."""
    if not (run / CONFIG_FILE).is_file():
        raise RunError(f"{run} has no {CONFIG_FILE}: expected a run folder that `mlrpl train` wrote; check --run")
    return replace(make_config(flags=read_yaml(run / CONFIG_FILE)), run=str(run))


def newest_run(parent: Path = RUNS) -> Path:
    """The run below `parent` whose last checkpoint is newest. Raises RunError when there is none."""
    found = sorted(parent.glob(f"*/{LAST}{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise RunError(f"no run below {parent}; run `mlrpl train`, or name one with --run")
    return found[-1].parent


def new_run_folder(name: str, parent: Path = RUNS) -> Path:
    """Make `parent`/`name`, or with -2, -3 … behind it: the first that is not there, also for two who ask at once."""
    make_folder(parent)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("numbers do not end")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: optimizer.<parameter index>.<quantity>."""
    states: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{OPTIMIZER}{index}.{quantity}": torch.as_tensor(value)
        for index, state in states.items()
        for quantity, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Put back what `optimizer_tensors` gave. Raises RunError for the state of other parameters."""
    states: dict[int, dict[str, Tensor]] = {}
    with fitting(checkpoint.info):
        for name, tensor in checkpoint.group(OPTIMIZER).items():
            index, quantity = name.split(".", 1)
            states.setdefault(int(index), {})[quantity] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


@contextmanager
def fitting(info: RunInfo) -> Iterator[None]:
    """Raise RunError for tensors that do not fit what they are loaded into."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        what = f"those of {info.method} with {len(info.classes)} classes"
        raise RunError(f"the checkpoint's tensors are not {what}: {one_line(error)}; train again") from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, one an epoch; an unfinished last line of a killed process is left out."""
    path = run / LOG_FILE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        rows = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise _damaged_log(path) from error
    if not all(isinstance(row, dict) and row.keys() >= LOGGED for row in rows):
        raise _damaged_log(path)
    return rows


def write_log(run: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace metrics.jsonl by `rows`, atomically."""
    write_text(run / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _damaged_log(path: Path) -> RunError:
    return RunError(
        f"{path} is damaged: expected a JSON object with {', '.join(sorted(LOGGED))} a line; move it away, "
        "and --resume goes on without the epochs before"
    )


def _run_info(values: Any, path: Path) -> RunInfo:
    """Raises TypeError or ValueError for what is not what a checkpoint says of itself."""
    if not isinstance(values, dict):
        raise TypeError(f"it says {type(values).__name__} of itself")
    if values.get("format") != FORMAT:
        raise RunError(
            f"{path}: expected checkpoint format {FORMAT}, got {values.get('format')}; "
            "train again, or use the mlrpl that wrote it"
        )
    info = RunInfo(**{**values, "classes": tuple(values["classes"])})
    for name, kind in typing.get_type_hints(RunInfo).items():
        value = getattr(info, name)
        wanted = kind if isinstance(kind, type) else typing.get_args(kind)
        if name != "classes" and not isinstance(value, wanted):
            raise TypeError(f"{name} is a {type(value).__name__}")
    if not info.classes or not all(isinstance(name, str) for name in info.classes):
        raise TypeError("classes are not names")
    if info.precision not in PRECISIONS or not BOUNDS["image_size"][0] <= info.image_size <= BOUNDS["image_size"][1]:
        raise ValueError("precision or image_size cannot be")
    if info.method not in METHODS:
        raise RunError(f"{path} was trained with the method '{info.method}', which this mlrpl lacks; update mlrpl")
    return info


def _check_tensors(info: RunInfo, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError for text features of other classes, and for learned tensors that are no floats."""
    text = tensors[TEXT_FEATURES]
    if text.ndim != 2 or len(text) not in (len(info.classes), 2 * len(info.classes)):
        raise ValueError(f"text features {tuple(text.shape)} for {len(info.classes)} classes")
    strange = [name for name, tensor in tensors.items() if tensor.dtype not in _DTYPES]
    if strange:
        raise ValueError(f"{strange[0]} is {tensors[strange[0]].dtype}")
