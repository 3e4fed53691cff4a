"""Checkpoints in safetensors, and the head that a checkpoint rebuilds by itself."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic.dataclasses
import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.registry import load_backbone
from mlrpl_cli.core.config import AUTO, BEST, LAST, ImageSize, Precision
from mlrpl_cli.core.heads.methods import rebuild_recognizer
from mlrpl_cli.core.heads.recognizers import Recognition, TrainableRecognizer
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io import reading, schema, tensorfiles
from mlrpl_cli.core.io.errors import ConfigError, RunError, one_line
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import is_prepared
from mlrpl_cli.core.runs import trained_on
from mlrpl_cli.core.runs.folder import Epoch, checkpoint_path, existing

FORMAT, METADATA = 9, "run"
READABLE = (6, 7, 8, FORMAT)
"""Formats that are read. One of format 6 does not say what it was trained on, and its method had no options; one of
format 7 records nothing of its backbone but the name, one of format 8 no views that were asked for."""
RECOGNIZER, TEXT_FEATURES, CONTEXTS, OPTIMIZER = "recognizer.", "text_features", "contexts.", "optimizer."

Classes = Annotated[tuple[str, ...], Field(min_length=1, strict=False, fail_fast=True)]
Count = Annotated[int, Field(ge=0)]
Counts = Annotated[tuple[Count, ...], Field(strict=False, fail_fast=True)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class RunInfo:
    """What a checkpoint says of itself."""

    method: str
    classes: Classes
    """C class names, in the order of the logits' columns."""
    dataset: str
    data: schema.Text
    """The prepared folder it was trained on."""
    mask_sha256: str
    data_sha256: str
    """Checksum of what was read of that folder; another one means other images or labels."""
    backbone: schema.Text
    fingerprint: str
    """SHA-256 over all that decides the backbone's features; others mean nothing to this recognizer."""
    image_size: ImageSize
    precision: Precision
    """What its frozen encoders computed in."""
    epoch: Epoch
    """Epochs done; 0 for the start at the class priors."""
    best_epoch: Epoch
    best_map: float | None
    """Highest mAP on the split that selects, in [0, 1]; None before the first epoch or when no class has an AP."""
    data_from_run: schema.Text | None = None
    """The prepared folder as seen from the run folder, with forward slashes; None where no path leads there."""
    allow_truncated: bool = False
    """Whether JPEGs of the prepared folder may lack their last bytes, and so those that are predicted."""
    selection: Literal["validation", "test"] | None = None
    """The split that selects the best epoch; None where it is not known."""
    training_images: Count = 0
    known_present: Counts | None = None
    """(C,) how many training images are known to show each class; None where it is not known."""
    known_absent: Counts | None = None
    """(C,) how many are known not to."""
    learns_from_unknown: bool = False
    """Whether the loss takes unknown cells for something."""
    method_options: dict[str, Any] = Field(default_factory=dict)
    """Those of the method itself, each with its value."""
    backbone_record: dict[str, Any] = Field(default_factory=dict)
    """What rebuilds the backbone besides its name (`Backbone.record`)."""
    views_asked: Count | None = None
    """Stored views that were asked for, where the cache had room for fewer; those are in the run's configuration."""
    format: int = FORMAT

    @property
    def learnable(self) -> tuple[bool, ...] | None:
        """(C,) whether each class could be learned (`trained_on.learnable`); None where it is not known."""
        if self.known_present is None or self.known_absent is None:
            return None
        cells = self.known_present, self.known_absent
        return trained_on.learnable(*cells, self.training_images, self.learns_from_unknown)

    @property
    def not_learnable(self) -> tuple[str, ...]:
        """Names of the classes that could not be learned, as far as it is known."""
        could = self.learnable or (True,) * len(self.classes)
        return tuple(name for name, learned in zip(self.classes, could, strict=True) if not learned)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: what it says of itself, and its tensors by name."""

    info: RunInfo
    tensors: dict[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write atomically. Raises DataError when that is not possible."""
    tensorfiles.write_tensors(path, checkpoint.tensors, {METADATA: json.dumps(asdict(checkpoint.info))})


def load_checkpoint(run: Path, which: str = BEST) -> Checkpoint:
    """Read `which` ("best" or "last") of a run folder.

    Raises RunError when the folder is not a run, or the file is missing, of another format, or not whole to the bit.
    """
    if which not in (LAST, BEST):
        raise ConfigError(f"checkpoint: expected one of {BEST}, {LAST}, got '{reading.short(which)}'")
    path = existing(checkpoint_path(run, which))
    try:
        return checkpoint_in(tensorfiles.open_tensors(path).checked(), path)
    except KeyError as error:
        raise RunError(f"{path} is no checkpoint of mlrpl: it lacks {error}; check --run") from error
    except (ValueError, RecursionError) as error:
        advice = f"restore it, take --checkpoint {LAST if which == BEST else BEST}, or train again"
        raise RunError(f"{path} is damaged: {one_line(error)}; {advice}") from error


def checkpoint_in(file: tensorfiles.TensorFile, path: Path) -> Checkpoint:
    """The checkpoint that a file of tensors holds, `path` for messages.

    Raises KeyError and ValueError for one that holds none, and RunError for that of another mlrpl.
    """
    info = _run_info(json.loads(file.metadata[METADATA]), path)
    _check_tensors(info, file.tensors)
    return Checkpoint(info, file.tensors)


def data_of(run: Path, info: RunInfo) -> Path:
    """The prepared folder that a run was trained on: where it was, or as seen from the run when both were moved."""
    there, moved = Path(info.data), run.resolve() / (info.data_from_run or "")
    return moved if info.data_from_run and not is_prepared(there) and is_prepared(moved) else there


def tensors_of(trainable: TrainableRecognizer, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Tensor]:
    """What a checkpoint holds: everything learned and its text features, and the state of the `optimizer`, if any."""
    tensors = {RECOGNIZER + name: tensor for name, tensor in trainable.recognizer.state_dict().items()}
    tensors[TEXT_FEATURES] = trainable.text_head()
    tensors |= {CONTEXTS + name: tensor for name, tensor in trainable.text_head.contexts().items()}
    return tensors | (optimizer_tensors(optimizer) if optimizer else {})


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: optimizer.<parameter index>.<quantity>."""
    states: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    named = ((f"{OPTIMIZER}{index}.{name}", value) for index, state in states.items() for name, value in state.items())
    return {name: torch.as_tensor(value) for name, value in named}


def restore(checkpoint: Checkpoint, trainable: TrainableRecognizer, optimizer: torch.optim.Optimizer) -> None:
    """Put back what `tensors_of` gave, but for text features. Raises RunError for tensors of something else."""
    contexts, states = checkpoint.group(CONTEXTS), defaultdict[int, dict[str, Tensor]](dict)
    with fitting(checkpoint.info):
        trainable.recognizer.load_state_dict(checkpoint.group(RECOGNIZER))
        for name, context in trainable.text_head.contexts().items():
            context.data.copy_(contexts[name])
        for name, tensor in checkpoint.group(OPTIMIZER).items():
            index, quantity = name.split(".", 1)
            states[int(index)][quantity] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(states)})


@contextmanager
def fitting(info: RunInfo) -> Iterator[None]:
    """Raise RunError for tensors that do not fit what they are loaded into."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        what = f"those of {info.method} with {len(info.classes)} classes"
        raise RunError(f"the checkpoint's tensors are not {what}: {one_line(error)}; train again") from error


class TrainedHead(nn.Module):
    """The recognizer of a checkpoint with its stored text features: no text encoder, no tokenizer, frozen."""

    text: Tensor
    """Text features (C, E), or (2C, E) for pairs."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for tensors that no recognizer of the checkpoint's method and classes has."""
        super().__init__()
        self.info = info = checkpoint.info
        with fitting(info):  # its sizes are read off the tensors
            # Copied: where a tensor lies in its file, and so the last bit of a product, depends on the names in it.
            state = {name: tensor.clone() for name, tensor in checkpoint.group(RECOGNIZER).items()}
            self.recognizer = rebuild_recognizer(info.method, len(info.classes), state, info.method_options)
        self.register_buffer("text", checkpoint.tensors[TEXT_FEATURES].clone())

    def forward(self, features: ImageFeatures) -> Recognition:
        """Frozen features of B images → logits (B, C), class features and attention."""
        return self.recognizer(features, self.text)

    def load_encoder(
        self, device: torch.device, precision: str = AUTO, progress: Progress | None = None
    ) -> FrozenEncoder:
        """The image encoder that the run was trained with, in `precision`; "auto" is the run's own.

        Raises RunError when its weights are no longer the same, and WeightsError when they cannot be loaded.
        """
        return self.load_backbone(device, precision, progress, text=False)[0]

    def load_backbone(
        self, device: torch.device, precision: str = AUTO, progress: Progress | None = None, text: bool = True
    ) -> tuple[FrozenEncoder, Backbone]:
        """`load_encoder`, and the backbone that it is of, with its `text` tower or without."""
        options = BackboneOptions(self.info.backbone, recorded=self.info.backbone_record)
        backbone = load_backbone(options, progress, text=text)
        return self.encoder_of(backbone, device, precision), backbone

    def encoder_of(self, backbone: Backbone, device: torch.device, precision: str = AUTO) -> FrozenEncoder:
        """The image encoder of a backbone that is loaded. Raises RunError unless the run was trained with it."""
        info = self.info
        check_fingerprint(info, backbone)
        return make_encoder(backbone, info.image_size, device, info.precision if precision == AUTO else precision)


def check_fingerprint(info: RunInfo, backbone: Backbone) -> None:
    """Raise RunError for other weights than a run was trained with."""
    if backbone.fingerprint != info.fingerprint:
        found = f"expected fingerprint {info.fingerprint[:16]}…, got {backbone.fingerprint[:16]}…"
        advice = "put the original checkpoint back"
        raise RunError(f"this run was trained with other weights of {info.backbone}: {found}; {advice}")


def _run_info(values: Any, path: Path) -> RunInfo:
    """Raises ValueError for what is not what a checkpoint says of itself, RunError for what another mlrpl wrote."""
    if isinstance(values, dict) and values.get("format") not in READABLE:
        known = f"{', '.join(map(str, READABLE[:-1]))} or {FORMAT}"
        found = f"expected checkpoint format {known}, got {reading.shown(values.get('format'))}"
        raise RunError(f"{path}: {found}; train again, or use the mlrpl that wrote it")
    info = schema.validated(RunInfo, values)
    if info.method not in METHODS:
        lacks = f"the method '{info.method}', which this mlrpl lacks; update mlrpl"
        raise RunError(f"{path} was trained with {lacks}, or install the package that adds it")
    return info


def _check_tensors(info: RunInfo, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError for tensors and counts of other classes, learned tensors that are no floats, no digests."""
    text, classes = tensors[TEXT_FEATURES], len(info.classes)
    if text.ndim != 2 or len(text) not in (classes, 2 * classes):
        raise ValueError(f"text features {tuple(text.shape)} for {classes} classes")
    for cells in (info.known_present, info.known_absent):
        if cells is not None and len(cells) != classes:
            raise ValueError(f"known cells of {len(cells)} classes for {classes}")
    for name, tensor in tensors.items():
        if name in trained_on.IMAGE_TENSORS:
            if not trained_on.is_image_tensor(tensor):
                raise ValueError(f"{name} are {tensor.dtype} of {tuple(tensor.shape)}")
        elif tensor.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"{name} is {tensor.dtype}")
