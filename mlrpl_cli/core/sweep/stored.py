"""Which stored rows of a sweep are shown: those of the present code and data, and of the same settings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io.errors import ConfigError, RunError, first_few
from mlrpl_cli.core.io.reading import difference
from mlrpl_cli.core.runs.again import WITHOUT_EFFECT
from mlrpl_cli.core.runs.options import unused_options
from mlrpl_cli.core.sweep.code import code_of_losses
from mlrpl_cli.core.sweep.grid import FLAGS, grid_of
from mlrpl_cli.core.sweep.plan import RUN
from mlrpl_cli.core.sweep.results import Row, name_of, settings_of

CURRENT, STALE, UNKNOWN = "current", "stale", "unknown"
_OF_VARIANT = ("method", "method_options", "lr", "epochs", "loss", "settings")
"""What a variant may have of its own; in a sweep without tuning, learning rate, epochs and loss are of all of them."""


@dataclass(frozen=True)
class Shown:
    """The rows of a report, and what has to be said of them."""

    rows: list[Row]
    notes: list[str]
    """A sentence on the rows that are kept and not shown, and on those whose code is not known."""
    settings: list[str] = field(default_factory=list)
    """The same of rows of other settings: what differs, and how many rows of which variant."""

    @property
    def told(self) -> list[str]:
        """All that has to be said."""
        return [*self.settings, *self.notes]


def code_of(row: Row) -> str:
    """Whether a row is of the code as it is: CURRENT, STALE, or UNKNOWN where either is not known."""
    if row.get("code") is None:
        return UNKNOWN
    try:
        return CURRENT if row["code"] == code_of_losses(row["method"], _losses_of(row)) else STALE
    except ConfigError:  # of a package that is not installed here
        return UNKNOWN


def reported_rows(path: Path, rows: Sequence[Row], data: str, chosen: Collection[str] | None = None) -> Shown:
    """`shown_rows` of the rows of the results file at `path`. Raises RunError where none of them can be shown."""
    shown = shown_rows(rows, data, chosen=chosen)
    if not shown.rows and shown.told:
        raise RunError(f"{path} has nothing to report: {'; '.join(shown.told)}; run `mlrpl sweep` again")
    return shown


def shown_rows(
    rows: Sequence[Row], data: str, asked: Sequence[Row] = (), chosen: Collection[str] | None = None
) -> Shown:
    """The tested rows to report of a folder over the data whose SHA-256 is `data`.

    Those `asked` for, and every other one that is of the code and data as they are, and of the settings that all have
    in common (`common_settings`): those of `asked`, or else of the newest row. Rows that do not say their data, as of
    an older mlrpl, are compared with no other. `chosen` are the names of the only variants shown. Raises ConfigError
    for a chosen one without a row.
    """
    asked_keys = {row["key"] for row in asked}
    left = [row for row in _wanted(rows, chosen) if row["key"] not in asked_keys]
    unsaid, left = _apart(left, lambda row: row.get("data_sha256") is None)
    stale, left = _apart(left, lambda row: code_of(row) == STALE)
    other, left = _apart(left, lambda row: row["data_sha256"] != data)
    # Rows of the present code before those of which nobody knows it, and later rows before earlier ones.
    newest_first = [*asked[::-1], *sorted(left, key=lambda row: code_of(row) == CURRENT)[::-1]]
    alike, differing = _alike(newest_first, asked_keys)
    latest = {_cell(row): row for row in [*(row for row in alike[::-1] if row["key"] not in asked_keys), *asked]}
    kept = [*asked, *(row for row in latest.values() if row["key"] not in asked_keys)]
    notes = [
        _note(unsaid, "kept and not shown, since they do not say which data they are of"),
        _note(stale, "kept and not shown, since the code was changed"),
        _note(other, "kept and not shown, since they are of other data"),
        _note([row for row in alike if row not in kept], "kept and not shown, since later ones are of the same runs"),
        _note([row for row in kept if code_of(row) == UNKNOWN], "of unknown code"),
    ]
    settings = [_note(group, f"kept and not shown, of other settings ({why})") for why, group in differing.items()]
    if differing and not asked:
        of = newest_first[0]
        settings.insert(0, f"shown are rows of the newest settings, as {name_of(of)} at {of['keep']:.0%} has them")
    return Shown(kept, [note for note in notes if note], [note for note in settings if note])


def common_settings(row: Row, tuned: bool) -> dict[str, Any]:
    """What rows must have alike to be compared, by name: the backbone, and options that method and loss of both use.

    In a sweep that is `tuned`, that a grid chose learning rate, epochs and loss, and which values it has, by the names
    of their flags; without tuning, which they are.
    """
    unused = {*WITHOUT_EFFECT, "seed", "context_lr", "backbone"}
    unused = unused.union(*(unused_options(row["method"], loss) for loss in _losses_of(row)))
    config = row.get("config") or {}
    options = {name: value for name, value in config.items() if name not in {*unused, *_OF_VARIANT}}
    measured = {"backbone": row.get("fingerprint"), "least_positives": row.get("least_positives", 1)}
    return measured | options | (_tuning(row) if tuned else _chosen(row))


def _alike(newest_first: Sequence[Row], asked: Collection[str]) -> tuple[list[Row], dict[str, list[Row]]]:
    """The rows whose settings agree with those of all before them, and the others by what differs.

    Those with the keys `asked` agree. Of a variant there is one setting of its own.
    """
    alike: list[Row] = []
    differing: dict[str, list[Row]] = defaultdict(list)
    common: dict[str, tuple[Row, Any]] = {}
    tuned = bool(newest_first and newest_first[0].get("tuned"))
    of_variant: dict[str, Row] = {}
    for row in newest_first:
        settings = common_settings(row, tuned)
        rivals = {name: common[name] for name in settings if name in common and common[name][1] != settings[name]}
        found = [_difference(name, row, rival) for name, (rival, _) in rivals.items()]
        found = found or _own_differences(row, of_variant.get(name_of(row), row))
        if found and row["key"] not in asked:
            differing["; ".join(found)].insert(0, row)
            continue
        alike.append(row)
        of_variant.setdefault(name_of(row), row)
        common = {name: (row, value) for name, value in settings.items()} | common
    return alike, differing


def _difference(name: str, row: Row, rival: Row) -> str:
    """How a setting of a row is another one than that of the row that is shown."""
    told, shown = (
        {**(each.get("config") or {}), **_chosen(each), "least_positives": each.get("least_positives", 1)}
        | _tuning(each)
        for each in (row, rival)
    )
    if name == "tuned":
        return "the grid did not choose learning rate, epochs and loss"
    if name in FLAGS.values():
        return difference(name, told[name], shown[name], str)
    if name == "backbone" and told.get(name) == shown.get(name):
        return "the backbone had other weights"
    return difference(name, told.get(name), shown.get(name))


def _own_differences(row: Row, rival: Row) -> list[str]:
    """How two rows of a variant are of different settings."""
    return [
        difference(name, row.get(name), rival.get(name)) for name in _OF_VARIANT if row.get(name) != rival.get(name)
    ]


def _tuning(row: Row) -> dict[str, Any]:
    """Whether a grid chose a row's setting, and the values of that grid as its flags take them."""
    if (grid := grid_of(row)) is None:
        return {"tuned": False}
    values = {flag: getattr(grid, name) for name, flag in FLAGS.items()}
    return {"tuned": True} | {flag: ",".join(map(_typed, of_flag)) for flag, of_flag in values.items()}


def _typed(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"


def _chosen(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("lr", "epochs", "loss")}


def _losses_of(row: Row) -> list[str]:
    return [loss for _, _, loss in settings_of(row).values()]


def _wanted(rows: Sequence[Row], chosen: Collection[str] | None) -> list[Row]:
    """The tested rows of the chosen variants. Raises ConfigError for one without a row."""
    tested = [row for row in rows if row["kind"] == RUN]
    if chosen is not None and (absent := [name for name in chosen if name not in set(map(name_of, tested))]):
        has = f"the stored rows are of {first_few(dict.fromkeys(map(name_of, tested)), 30)}"
        raise ConfigError(f"no stored row is of {first_few(absent)}; {has if tested else 'there is no stored row'}")
    return [row for row in tested if chosen is None or name_of(row) in chosen]


def _apart(rows: Sequence[Row], which: Callable[[Row], bool]) -> tuple[list[Row], list[Row]]:
    """Those for which it holds, and the others."""
    both: tuple[list[Row], list[Row]] = [], []
    for row in rows:
        both[not which(row)].append(row)
    return both


def _cell(row: Row) -> tuple[str, float, int]:
    return name_of(row), row["keep"], row["seed"]


def _note(rows: Sequence[Row], what: str) -> str | None:
    names = Counter(map(name_of, rows))
    told = first_few([f"{name} ({count})" for name, count in names.items()], 10)
    return f"rows {what}: {told}" if rows else None
