"""Which licences let whoever has a backbone's weights pass them on, to anyone and for any use."""

from __future__ import annotations

SHAREABLE = {
    "apache-2.0": "Apache-2.0",
    "bsd": "BSD",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-3-clause-clear": "BSD-3-Clause-Clear",
    "cc-by-2.0": "CC-BY-2.0",
    "cc-by-3.0": "CC-BY-3.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "isc": "ISC",
    "mit": "MIT",
    "pddl": "PDDL-1.0",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
}
"""What families and model cards call a licence, in small letters → its SPDX identifier. One for non-commercial use, one
that restricts uses (OpenRAIL), and one of a maker's own is none of them."""


def shareable(licence: str | None) -> str | None:
    """The SPDX identifier of a licence that lets weights be passed on; None for another, and where none is known.

    >>> shareable("MIT"), shareable("cc-by-nc-4.0"), shareable(None)
    ('MIT', None, None)
    """
    return SHAREABLE.get((licence or "").strip().lower())
