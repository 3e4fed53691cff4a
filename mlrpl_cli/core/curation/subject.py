"""What a command of this room is about: a prepared folder, and a run that knows such images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.curation.completing.provenance import beside
from mlrpl_cli.core.curation.options import CurationOptions
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.runs.checkpoint import RunInfo, data_of, load_checkpoint
from mlrpl_cli.core.runs.folder import newest_run
from mlrpl_cli.core.runs.provenance import Provenance, of_run


@dataclass(frozen=True)
class Subject:
    """A prepared folder, and the run whose backbone describes its images."""

    run: Path
    info: RunInfo
    """What the run's checkpoint says of itself."""
    prepared: Prepared

    @property
    def filled_by(self) -> Path | None:
        """The table of `complete` beside the labels that the folder was prepared from, if it is there."""
        root = (self.prepared.options.get("reading") or {}).get("root")
        if root is None:
            return None
        labels = self.prepared.folder / root
        return next((place for is_file in (True, False) if (place := beside(labels, is_file)).is_file()), None)

    @property
    def provenance(self) -> Provenance:
        """What everything that is said of it comes from."""
        return of_run(self.run, self.info, self.prepared)


def subject_of(options: CurationOptions, progress: Progress | None = None) -> Subject:
    """What `options` name; `progress` is told where cells of it were filled.

    Raises RunError and DataError for what is missing or damaged.
    """
    run = options.run or newest_run()
    info = load_checkpoint(run, options.checkpoint).info
    found = Subject(run, info, read_prepared(options.data or data_of(run, info)))
    if progress and found.filled_by:
        progress.warn(f"cells of {found.prepared.folder} were filled ({found.filled_by}), and count as given ones")
    return found
