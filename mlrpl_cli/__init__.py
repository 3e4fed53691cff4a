"""mlrpl: multi-label recognition when images carry only some of their labels.

The public API is what `__all__` names; each is imported when it is first used, so that `import mlrpl_cli` takes no time
and changes nothing. docs/library.md shows it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's: to import that takes longer than all else that runs before Ctrl-C is handled
if TYPE_CHECKING:
    from typing import Any

    from mlrpl_cli.api import (
        check,
        complete,
        decide,
        evaluate,
        export,
        export_labels,
        prepare,
        read_prepared,
        report,
        simulate,
        suggest,
        train,
        update_prepared,
    )
    from mlrpl_cli.core.io.errors import MlrplError
    from mlrpl_cli.core.prediction.predictor import Predictor
    from mlrpl_cli.core.prepared.folder import read_proposals

__version__ = "0.1.0"
__all__ = [
    "MlrplError",
    "Predictor",
    "check",
    "complete",
    "decide",
    "evaluate",
    "export",
    "export_labels",
    "prepare",
    "read_prepared",
    "read_proposals",
    "report",
    "simulate",
    "suggest",
    "train",
    "update_prepared",
]

_API = {
    "MlrplError": "mlrpl_cli.core.io.errors:MlrplError",
    "Predictor": "mlrpl_cli.core.prediction.predictor:Predictor",
    "check": "mlrpl_cli.api:check",
    "complete": "mlrpl_cli.api:complete",
    "decide": "mlrpl_cli.api:decide",
    "evaluate": "mlrpl_cli.api:evaluate",
    "export": "mlrpl_cli.api:export",
    "export_labels": "mlrpl_cli.api:export_labels",
    "prepare": "mlrpl_cli.api:prepare",
    "read_prepared": "mlrpl_cli.api:read_prepared",
    "read_proposals": "mlrpl_cli.core.prepared.folder:read_proposals",
    "report": "mlrpl_cli.api:report",
    "simulate": "mlrpl_cli.api:simulate",
    "suggest": "mlrpl_cli.api:suggest",
    "train": "mlrpl_cli.api:train",
    "update_prepared": "mlrpl_cli.api:update_prepared",
}


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pkgutil import resolve_name

    return resolve_name(_API[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
