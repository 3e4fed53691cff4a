"""The envelope of `--json`: what a program gets from every command (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pkgutil import resolve_name
from types import GenericAlias
from typing import Any

from mlrpl_cli import __version__
from mlrpl_cli.commands import console
from mlrpl_cli.core.runs.provenance import Provenance

RESULTS = {
    "prepare": "mlrpl_cli.core.prepared.summary:PrepareSummary",
    "train": "mlrpl_cli.core.training.train:TrainingSummary",
    "eval": "mlrpl_cli.commands.result_types:EvalResult",
    "decide": "mlrpl_cli.commands.result_types:DecideResult",
    "sweep": "mlrpl_cli.commands.result_types:SweepResult",
    "predict": "mlrpl_cli.commands.result_types:PredictedImage",
    "suggest": "mlrpl_cli.commands.result_types:SuggestResult",
    "export": "mlrpl_cli.core.export.models:ExportedModel",
    "export-labels": "mlrpl_cli.core.export.writing:Exported",
    "complete": "mlrpl_cli.commands.result_types:CompleteResult",
    "check": "mlrpl_cli.commands.result_types:CheckResult",
    "runs": "mlrpl_cli.core.runs.listing:Listing",
    "backbones": "mlrpl_cli.core.backbones.listing:BackboneListing",
    "visualize": "mlrpl_cli.commands.result_types:VisualizeResult",
    "report": "mlrpl_cli.commands.result_types:ReportResult",
    "review": "mlrpl_cli.core.review.review:Opened",
}
"""The type of each command's result; of `predict` that of an image, of which its result is a list."""
LISTS = frozenset({"predict"})
SCHEMA = 1
"""Goes up when a field changes its meaning or goes; new fields may come at any time."""


@dataclass(frozen=True)
class Envelope:
    """What stands around the result of a command."""

    schema: int
    """The version of this envelope and of the results."""
    mlrpl: str
    """The version of mlrpl."""
    command: str
    """The command, such as "eval"."""
    options: Mapping[str, Any]
    """Its options with no value left open."""
    data_sha256: str | None
    """Checksum of classes, image names, splits and labels; null where no data had a part in it."""
    mask_sha256: str | None
    """Checksum of which labels stay known."""
    backbone_sha256: str | None
    """Checksum of the backbone's image weights."""
    seeds: Mapping[str, int]
    """Seeds by what they decide: "mask", "split", "train"."""
    seconds: float
    """How long the command took."""
    warnings: list[str]
    """What the result has to be read with."""
    result: Any
    """What the command came to."""


def type_of(command: str) -> Any:
    """The type of a command's result, for pydantic."""
    kind: Any = resolve_name(RESULTS[command])
    return GenericAlias(list, (kind,)) if command in LISTS else kind


def print_result(
    command: str,
    result: Any,
    options: Mapping[str, Any],
    provenance: Provenance | None = None,
    flat: bool = True,
    one_line: bool = False,
) -> None:
    """Print the envelope of a `result`. With `flat` the result's fields stand beside the envelope's, too.

    They stood there before there was an envelope, and programs read them there. `one_line` is for what a program reads
    while the command runs on.
    """
    values = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
    came_from = vars(provenance or Provenance())
    seconds = round(console.clock() - console.voice.begun, 3)
    envelope = Envelope(
        SCHEMA, __version__, command, options, **came_from, seconds=seconds, warnings=console.voice.warnings,
        result=values,
    )  # fmt: skip
    console.print_json(vars(envelope) | (values if flat else {}), indent=None if one_line else 2)
