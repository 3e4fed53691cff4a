"""The decisions of one checkpoint, class by class, as tables and programs have them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.decisions.of_run import Decided
from mlrpl_cli.core.decisions.thresholds import expected
from mlrpl_cli.core.evaluation.metrics import or_none
from mlrpl_cli.core.io.errors import RunError


def as_dict(decided: Decided, which: str) -> dict[str, Any]:
    """Plain values for JSON; shares are in [0, 1], None where there is none.

    Raises RunError for a checkpoint that was not decided on.
    """
    if which not in decided.of:
        other = LAST if which == BEST else BEST
        raise RunError(f"{decided.run} has no held-out scores of its {which} checkpoint; take --checkpoint {other}")
    decision, held = decided.of[which], decided.held[which]
    calibration, p = decision.calibration, decision.calibration.apply(held.logits)
    learnable = decided.info.learnable or [None] * p.shape[1]
    classes, told = [], calibration.like & calibration.checked
    for c, name in enumerate(decided.info.classes):
        t = or_none(decision.thresholds[c])
        figures = (None, None, None) if t is None else (or_none(share) for share in expected(p[:, c], t))
        of = {
            "class": name,
            "threshold": t,
            "present": int(calibration.present[c]),
            "absent": int(calibration.absent[c]),
        }
        of |= {"shared": bool(calibration.shared[c]), "learnable": learnable[c], "calibrated": bool(told[c])}
        classes.append(of | dict(zip(("precision", "recall", "f1"), figures, strict=True)))
    return {
        "run": decided.run,
        "checkpoint": which,
        "objective": str(decision.objective),
        "source": decision.source,
        "images": decision.images,
        "calibrated": calibration.checked,
        "family": calibration.family,
        "shrinkage": None if np.isinf(calibration.shrinkage) else calibration.shrinkage,
        "before": asdict(decision.before),
        "after": asdict(decision.after),
        "classes": classes,
    }
