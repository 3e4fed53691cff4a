"""Which stored rows of a sweep are shown: those of the present code and data, one a variant, proportion and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlrpl_cli.core.io.errors import ConfigError, first_few
from mlrpl_cli.core.sweep.code import code_sha256
from mlrpl_cli.core.sweep.plan import RUN
from mlrpl_cli.core.sweep.results import Row, name_of

CURRENT, STALE, UNKNOWN = "current", "stale", "unknown"


@dataclass(frozen=True)
class Shown:
    """The rows of a report, and what has to be said of them."""

    rows: list[Row]
    notes: list[str]
    """A sentence on the rows that are kept and not shown, and on those whose code is not known."""


def code_of(row: Row) -> str:
    """Whether a row is of the code as it is: CURRENT, STALE, or UNKNOWN where either is not known."""
    if row.get("code") is None:
        return UNKNOWN
    try:
        return CURRENT if row["code"] == code_sha256(row["method"], row["loss"]) else STALE
    except ConfigError:  # of a package that is not installed here
        return UNKNOWN


def shown_rows(
    rows: Sequence[Row], data: str, asked: Sequence[Row] = (), chosen: Collection[str] | None = None
) -> Shown:
    """The tested rows to report of a folder over the data whose SHA-256 is `data`.

    Those `asked` for, and every other one that is of the code and data as they are, and of the same backbone: of each
    variant those of one setting, that of `asked` or else the latest. Rows that do not say their data, as of an older
    mlrpl, are compared with no other. `chosen` are the names of the only variants shown. Raises ConfigError for a
    chosen one without a row.
    """
    tested = [row for row in rows if row["kind"] == RUN]
    if chosen is not None and (absent := [name for name in chosen if name not in set(map(name_of, tested))]):
        has = f"the stored rows are of {first_few(dict.fromkeys(map(name_of, tested)), 30)}"
        raise ConfigError(f"no stored row is of {first_few(absent)}; {has if tested else 'there is no stored row'}")
    wanted = [row for row in tested if chosen is None or name_of(row) in chosen]
    asked_keys = {row["key"] for row in asked}
    stored = [row for row in wanted if row["key"] not in asked_keys]
    unsaid = [row for row in stored if row.get("data_sha256") is None]
    stale = [row for row in stored if row not in unsaid and code_of(row) == STALE]
    usable = [row for row in stored if row not in unsaid and row not in stale]
    fitting = _fitting(usable, data, asked)
    kept = [*asked, *fitting]
    notes = [
        _note(unsaid, "kept and not shown, since they do not say which data they are of"),
        _note(stale, "kept and not shown, since the code was changed"),
        _note(
            [row for row in usable if row not in fitting],
            "kept and not shown, since they are of other data or settings",
        ),
        _note([row for row in kept if code_of(row) == UNKNOWN], "of unknown code"),
    ]
    return Shown(kept, [note for note in notes if note])


def _fitting(rows: Sequence[Row], data: str, asked: Sequence[Row]) -> list[Row]:
    """Those that can stand beside the rows `asked` for: the latest of each cell, of one setting a variant."""
    same_data = [row for row in rows if row["data_sha256"] == data]
    backbone = [*same_data, *asked][-1].get("fingerprint") if same_data or asked else None
    comparable = [row for row in same_data if row.get("fingerprint") == backbone]
    # Rows of the present code before those of which nobody knows it, and later rows before earlier ones.
    ordered = sorted(comparable, key=lambda row: code_of(row) == CURRENT)
    settings = {name_of(row): _setting(row) for row in [*ordered, *asked]}
    taken = {_cell(row) for row in asked}
    cells = {_cell(row): row for row in ordered if _setting(row) == settings[name_of(row)]}
    return [row for cell, row in cells.items() if cell not in taken]


def _setting(row: Row) -> tuple[object, ...]:
    return row.get("setting"), row["lr"], row["epochs"], row["loss"]


def _cell(row: Row) -> tuple[str, float, int]:
    return name_of(row), row["keep"], row["seed"]


def _note(rows: Sequence[Row], what: str) -> str | None:
    names = Counter(map(name_of, rows))
    told = first_few([f"{name} ({count})" for name, count in names.items()], 10)
    return f"rows {what}: {told}" if rows else None
