"""open_clip's backbones by the names that it has for them.

MODEL:TAG, such as ViT-B-16-SigLIP2-384:webli, or MODEL alone where it has one tag; hf-hub:ORG/NAME[@REVISION];
local-dir:FOLDER; and random:MODEL, which is untrained, to try a pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, Family
from mlrpl_cli.core.backbones.files.reading import read_state
from mlrpl_cli.core.backbones.open_clip import assembly, hub
from mlrpl_cli.core.backbones.open_clip.building import random_state
from mlrpl_cli.core.backbones.open_clip.catalog import FOLDER, Entry, entry_of, is_known, models, tagged
from mlrpl_cli.core.backbones.open_clip.hub import Place
from mlrpl_cli.core.backbones.openai.architectures import VISUAL
from mlrpl_cli.core.io.progress import Progress

NAME, SEED = "open_clip", 0


class OpenClip(Family):
    """The family of everything that open_clip knows."""

    def claims(self, name: str) -> bool:
        return is_known(name)

    def names(self) -> list[str]:
        """Its architectures; which weights each has is said when it is asked for without."""
        return list(models())

    def listed(self, everything: bool) -> list[str]:
        """Its architectures with the names of their weights, all of them or those that are in the hub's cache."""
        if not everything and not hub.has_cache():
            return []
        return [name for name in tagged() if everything or entry_of(name).downloaded]

    def absolute(self, options: BackboneOptions) -> BackboneOptions:
        if not options.name.startswith(FOLDER):
            return options
        return replace(options, name=f"{FOLDER}{Path(options.name.removeprefix(FOLDER)).resolve()}")

    def describe(self, options: BackboneOptions) -> Description:
        entry = entry_of(options.name, options.recorded)
        architecture = _architecture(entry, options.recorded)
        told = {"pretraining": entry.pretraining, "licence": entry.licence, "downloaded": entry.downloaded}
        return assembly.describe(options, NAME, architecture, **told, address=entry.address)

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        entry = entry_of(options.name, options.recorded)
        architecture = _architecture(entry, options.recorded)
        if entry.weights is None:
            state = random_state(architecture.model, SEED, text)
            return assembly.assemble(options, NAME, architecture, state, text)
        path = _path(entry)
        record = {"revision": hub.revision_of(path)} if isinstance(entry.weights, Place) else {}
        state = read_state(path, "" if text else VISUAL)
        return assembly.assemble(options, NAME, architecture, state, text, record, entry.notes)

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        return assembly.reassemble(options, NAME, weights)


FAMILY = OpenClip()


def _architecture(entry: Entry, recorded: Mapping[str, Any] | None) -> assembly.Architecture:
    """As a run recorded it; a folder, which may have moved, has its own tokenizer."""
    if not recorded:
        return entry.architecture
    found = assembly.architecture_from(recorded)
    return replace(found, tokenizer=entry.architecture.tokenizer or found.tokenizer)


def _path(entry: Entry) -> Path:
    """The weights, from the hub's cache where they are of the revision that is asked for."""
    assert entry.weights is not None
    if isinstance(entry.weights, Path):
        return entry.weights
    return hub.kept_or_fetched(entry.weights)
