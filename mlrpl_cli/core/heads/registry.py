"""The methods and the losses that there are, by name: read by help, docs and tests without importing PyTorch.

To add one: a module with its `methods.Method` or its function, and its line here; or, from a package of one's own, an
entry point of the same form (docs/extending.md).
"""

from mlrpl_cli.core.io.registry import Registry

_METHODS, _LOSSES = "mlrpl_cli.core.heads.published_methods", "mlrpl_cli.core.heads.losses"
METHODS = Registry(
    "method",
    "mlrpl.methods",
    {
        "zero-shot": f"{_METHODS}:ZERO_SHOT",
        "baseline": f"{_METHODS}:BASELINE",
        "sd": f"{_METHODS}:SD",
        "cspo": f"{_METHODS}:CSPO",
        "sarl": f"{_METHODS}:SARL",
        "sarl+": f"{_METHODS}:SARL_PLUS",
        "sarl-warm": f"{_METHODS}:SARL_WARM",
        "anchored": f"{_METHODS}:ANCHORED",
        "sarl-anchored": f"{_METHODS}:SARL_ANCHORED",
        "sa": f"{_METHODS}:SA",
        "dualcoop": f"{_METHODS}:DUALCOOP",
        "linear": f"{_METHODS}:LINEAR",
    },
)
"""Name → a `methods.Method`."""
LOSSES = Registry(
    "loss",
    "mlrpl.losses",
    {
        "asl": f"{_LOSSES}:partial_asl",
        "bce": f"{_LOSSES}:partial_bce",
        "an": f"{_LOSSES}:assume_negative",
        "em": f"{_LOSSES}:entropy_maximization",
    },
)
"""Name → a function of logits, labels and the count to divide by."""
