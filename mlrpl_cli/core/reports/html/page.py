"""One HTML file: its template with our style and script inside, and how it is written.

A policy in its head lets it load nothing and run no script but ours, so that whatever a name holds can ask nothing of
the network.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from mlrpl_cli import __version__
from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.io.files import place_of_file, write_text
from mlrpl_cli.core.reports.pages import render_page

PAGE, STYLE, SCRIPT = "report.html", "report.css", "report.js"
SIGN = '<meta name="generator" content="mlrpl '
"""By which a file is known to be ours."""
HEAD = 4096
"""Bytes of a file in which the sign stands."""


def render_html(template: str, values: Mapping[str, object]) -> str:
    """A template of the package as a whole page. Text that is put in is on one line, control characters escaped."""
    style, script = (_asset(name) for name in (STYLE, SCRIPT))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"style": Markup(style), "script": Markup(script), "policy": policy, "version": __version__}
    return render_page(template, {**own, **values}, finalize=_shown)


def out_path(out: Path | None, folder: Path, overwrite: bool) -> Path:
    """Where the page of `folder` is written: `out`, or what it links to, by default PAGE in the folder.

    Raises DataError as `place_of_file`.
    """
    return place_of_file(out or folder / PAGE, is_ours, overwrite)


def is_ours(path: Path) -> bool:
    """Whether `render_html` made what stands at `path`."""
    try:
        with path.open("rb") as stream:
            return SIGN.encode() in stream.read(HEAD)
    except OSError:
        return False


def write_page(text: str, path: Path) -> int:
    """Write a page, whole or not at all; returns its bytes."""
    write_text(path, text)
    return path.stat().st_size


def image_uri(kind: str, content: bytes) -> Markup:
    """A picture, such as "jpeg" or "svg+xml", as an address that holds it."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def _shown(value: object) -> object:
    """What an expression of a template puts into the page; `Markup` is what templates and we made."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (files("mlrpl_cli") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
