"""Whether cells of a prepared folder were filled by `complete`, and are known for that alone."""

from __future__ import annotations

from pathlib import Path

from mlrpl_cli.core.curation.completing.provenance import beside
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import Prepared


def filled_by(prepared: Prepared) -> Path | None:
    """The table of `complete` beside the labels that the folder was prepared from, if it is there."""
    root = (prepared.options.get("reading") or {}).get("root")
    if root is None:
        return None
    places = (beside(prepared.folder / root, is_file) for is_file in (True, False))
    return next((place for place in places if place.is_file()), None)


def warn_of_filled(prepared: Prepared, progress: Progress) -> None:
    """Tell that filled cells count as given ones, where there are some."""
    if table := filled_by(prepared):
        progress.warn(f"cells of {prepared.folder} were filled ({table}), and count as given ones")
