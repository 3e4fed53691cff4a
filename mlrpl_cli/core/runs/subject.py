"""What a command is about that looks at data with a trained run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo, data_of, load_checkpoint
from mlrpl_cli.core.runs.folder import newest_run
from mlrpl_cli.core.runs.provenance import Provenance, of_run
from mlrpl_cli.core.runs.selection import RunOnDataOptions


@dataclass(frozen=True)
class Subject:
    """A run, and a prepared folder to look at with it."""

    run: Path
    checkpoint: Checkpoint
    prepared: Prepared

    @property
    def info(self) -> RunInfo:
        """What the run's checkpoint says of itself."""
        return self.checkpoint.info

    @property
    def provenance(self) -> Provenance:
        """What everything that is said of it comes from."""
        return of_run(self.run, self.info, self.prepared)


def subject_of(options: RunOnDataOptions) -> Subject:
    """What `options` name. Raises RunError and DataError for what is missing or damaged."""
    run = options.run or newest_run()
    checkpoint = load_checkpoint(run, options.checkpoint)
    return Subject(run, checkpoint, read_prepared(options.data or data_of(run, checkpoint.info)))
