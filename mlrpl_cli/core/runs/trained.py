"""A trained run as predictions need it: out of its folder, or out of the file that `mlrpl pack` made of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.backbones.registry import absolute, describe, load_backbone, portable_name, rebuild
from mlrpl_cli.core.config import AUTO, BEST, LAST, Which
from mlrpl_cli.core.io.errors import MlrplError, RunError, WeightsError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo, TrainedHead, data_of, load_checkpoint
from mlrpl_cli.core.runs.decided.decisions import Decision, decision_of
from mlrpl_cli.core.runs.decided.scores import checkpoint_sha256
from mlrpl_cli.core.runs.folder import newest_run
from mlrpl_cli.core.runs.packed.file import Pack, read_pack
from mlrpl_cli.core.runs.provenance import Provenance, of_run


@dataclass(frozen=True)
class TrainedRun:
    """A checkpoint of a run, with all that is known of it."""

    place: Path
    """Its folder, or its file."""
    which: Which
    """Which checkpoint it is: "best" or "last"."""
    checkpoint: Checkpoint
    sha256: str
    """Of the checkpoint's content in the run folder."""
    provenance: Provenance
    decision: Decision | None
    """How its scores become decisions; None for a run without held-out images."""
    notice: str | None = None
    """Why the run's decisions are not of its checkpoint, where that is so."""
    pack: Pack | None = None
    """What the file holds, where it is one."""

    @property
    def info(self) -> RunInfo:
        """What the checkpoint says of itself."""
        return self.checkpoint.info

    @property
    def name(self) -> str:
        """What its folder or its file is called, also when it is "."."""
        place = self.place.absolute()
        return place.name if self.pack is None else place.stem

    @property
    def backbone_name(self) -> str:
        """The backbone's name, or that of its file."""
        return portable_name(self.info.backbone)

    @cached_property
    def described(self) -> Description | None:
        """What is known of the backbone without its weights; None where its file is gone, or a library is."""
        with suppress(MlrplError):
            return describe(self._backbone())
        return None

    @property
    def licence(self) -> str | None:
        """Of the backbone's weights; None where nobody says."""
        if self.pack is not None:
            return self.pack.info.licence
        return self.described.licence if self.described else None

    def check_which(self, asked: str | None) -> None:
        """Raise RunError where another checkpoint was asked for than the one that a file holds; None asks for none."""
        if self.pack is not None and asked not in (None, self.which):
            raise RunError(f"{self.place} holds the {self.which} checkpoint alone; leave --checkpoint {asked} out")

    def data(self) -> Path:
        """The prepared folder that it was trained on. Raises RunError for a file, which has none."""
        if self.pack is not None:
            raise RunError(f"{self.place} is a file of mlrpl pack, which holds no data; name its folder with --data")
        return data_of(self.place, self.info)

    def load_backbone(self, progress: Progress | None = None, backbone: str | None = None) -> Backbone:
        """The backbone that the run was trained with, without its text tower.

        `backbone` names it where it is not where the run says: a file, a folder, or whatever --backbone takes. Raises
        RunError for other weights, and WeightsError where none can be had.
        """
        if backbone is None and self.pack is not None and self.pack.info.family is not None:
            # Copied, as from any other file: see `reading.Weights.read`.
            weights = {name: tensor.clone() for name, tensor in self.pack.weights.items()}
            return rebuild(self.pack.info.family, self._backbone(), weights)
        try:
            return load_backbone(self._backbone(backbone), progress, text=False)
        except WeightsError as error:
            if backbone is not None or self.pack is None or self.pack.info.file is None:
                raise
            told = f"{self.place} does not hold the weights of its backbone"
            raise WeightsError(f"{told}; give {self._original} with --backbone") from error

    def load_encoder(
        self,
        head: TrainedHead,
        device: torch.device,
        precision: str = AUTO,
        progress: Progress | None = None,
        backbone: str | None = None,
    ) -> tuple[FrozenEncoder, Backbone]:
        """The image encoder for its `head`, and what it is of. Raises as `load_backbone`."""
        found = self.load_backbone(progress, backbone)
        try:
            return head.encoder_of(found, device, precision), found
        except RunError as error:
            if self.pack is None:
                raise
            raise RunError(f"{str(error).rpartition(';')[0]}; give {self._original} with --backbone") from error

    @property
    def _original(self) -> str:
        """The backbone as whoever uses the file has to have it."""
        assert self.pack is not None
        name, sha256 = self.pack.info.file or self.backbone_name, self.pack.info.file_sha256
        return f"the original {name}" + (f" (SHA-256 {sha256})" if sha256 else "")

    def _backbone(self, name: str | None = None) -> BackboneOptions:
        options = BackboneOptions(name or self.info.backbone, recorded=self.info.backbone_record)
        return options if name is None else absolute(options)


def read_run(place: str | Path | None = None, which: str = BEST) -> TrainedRun:
    """A run by its folder (None: the newest below ./runs), or by the file that `mlrpl pack` made of one.

    Such a file holds one checkpoint, and `which` is not asked for: `check_which` says whether it is the one. Raises
    RunError for what is neither, and for what is damaged.
    """
    place = newest_run() if place is None else Path(place)
    if place.is_dir() or not place.exists():
        return _of_folder(place, which)
    pack = read_pack(place)
    told, info = pack.info, pack.checkpoint.info
    seeds = {} if told.seed is None else {"train": told.seed}
    provenance = Provenance(info.data_sha256, info.mask_sha256, info.fingerprint, seeds)
    found = TrainedRun(place, told.checkpoint, pack.checkpoint, told.run_sha256, provenance, pack.decision, pack=pack)
    found.check_which(None if which == BEST else which)  # "best" is what nobody asked for, too
    return found


def _of_folder(run: Path, which: str) -> TrainedRun:
    checkpoint = load_checkpoint(run, which)
    decision, notice = decision_of(run, which, len(checkpoint.info.classes))
    sha256 = checkpoint_sha256(run, which) or ""
    return TrainedRun(
        run, LAST if which == LAST else BEST, checkpoint, sha256, of_run(run, checkpoint.info), decision, notice
    )
