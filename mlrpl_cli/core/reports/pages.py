"""Pages from Jinja templates, and how names and figures stand in them.

What stands in a template is markup; what is put into it is text, escaped for HTML. Markdown lets HTML through, so its
pages are escaped too; a name that someone else chose goes through `text` besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.io.errors import printable

NOTHING = "–"
"""What stands for a figure that there is not."""
_STEERS = re.compile(r"[^\w\s.,+-]|_|(?<=www)\.", re.IGNORECASE)
"""What may mean something in Markdown: any sign but a few, and the point that makes a link of `www.`."""


def render_page(
    template: str,
    values: Mapping[str, object],
    folder: Path | None = None,
    finalize: Callable[[object], object] | None = None,
) -> str:
    """A template of `folder`, or of those that ship with the package, filled in with `values`.

    `finalize` is what becomes of the value of each expression before it is escaped.
    Raises jinja2.UndefinedError for a value that the template needs and `values` lack.
    """
    folders = [jinja2.FileSystemLoader(folder)] if folder else []
    page = jinja2.Environment(
        loader=jinja2.ChoiceLoader([*folders, jinja2.PackageLoader("mlrpl_cli", "assets")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters |= {"text": text, "points": points, "spread": spread, "percent": percent, "number": number}
    return page.get_template(template).render(values)


def text(name: object) -> Markup:
    """A name as Markdown that shows it, on one line: it begins no tag, link, code, emphasis or cell of a table."""
    return Markup(_STEERS.sub(lambda found: f"&#{ord(found[0])};", printable(name)))


def points(difference: Interval | None) -> str:
    """A difference of mAP in points with its interval; a dash for none."""
    if difference is None:
        return NOTHING
    value, low, high = (f"{100 * figure:+.2f}" for figure in (difference.value, difference.low, difference.high))
    return f"{value} ({low} to {high})"


def spread(shares: np.ndarray) -> str:
    """Mean ± standard deviation (n - 1), in percent, of the shares that are known; a dash for none."""
    known = 100 * shares[np.isfinite(shares)]
    deviation = f" ± {known.std(ddof=1):.1f}" if len(known) > 1 else ""
    return f"{known.mean():.1f}{deviation}" if len(known) else NOTHING


def percent(share: float | None) -> str:
    """A share in percent; a dash for none and NaN."""
    return NOTHING if share is None or np.isnan(share) else f"{100 * share:.1f}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many digits after the point; a dash for none and NaN."""
    return NOTHING if value is None or np.isnan(value) else f"{value:.{digits}f}"
