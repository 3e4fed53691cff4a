"""`mlrpl complete`: unknown labels filled so that they keep a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.curation.completing.options import ALONE, TOGETHER, CompleteOptions
from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.labels.writers.registry import FORMATS

if TYPE_CHECKING:
    from mlrpl_cli.core.curation.completing.complete import Completed, Side


@options.with_flags({"": CompleteOptions}, {"format": FORMATS})
def complete(
    data: options.PreparedOfRun = None,
    overwrite: Annotated[bool, option(None, "Replace what an earlier call wrote.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Fill unknown cells of training images with yes or no, and leave those that cannot be promised.

    Of the cells that are filled as present, at least the share --precision is right, and of those filled as absent the
    share --no-precision, for each class, or for the classes together that can promise nothing alone; of such promises
    the share --confidence is kept. Known cells vouch for it, by scores of classifiers that did not know them; it
    supposes that chance decided which cells are known. Given labels stay as they are, and so do test images.

    It writes all labels, and beside them NAME.provenance.csv: image, class, label, given or completed, p, bound, group.
    """
    from mlrpl_cli.core.curation.completing.complete import as_dict
    from mlrpl_cli.core.curation.completing.complete import complete as complete_labels

    result = complete_labels(CompleteOptions(data=data, **given), console.progress(), overwrite)
    if as_json:
        from mlrpl_cli.commands.results import print_result

        subject = result.subject
        settled = vars(result.options) | {"data": subject.prepared.folder, "run": subject.run}
        print_result("complete", as_dict(result), settled, subject.provenance, flat=False)
        return
    _print_tables(result)
    console.print_exported(result.labels, result.provenance)


def _print_tables(result: Completed) -> None:
    columns = ("class", "unknown", "yes", "p from", "right (%)", "no", "p to", "right (%)")
    rows = [(each.name, each.unknown, *_cells(each.yes), *_cells(each.no)) for each in result.classes]
    console.print_table(f"Unknown cells of {result.subject.prepared.folder} that were filled", columns, rows)
    for side, told in (("yes", "present"), ("no", "absent")):
        sides = [(each.name, getattr(each, side)) for each in result.classes]
        joined = [(name, one) for name, one in sides if one.group == TOGETHER]
        if joined:
            names, bound = ", ".join(name for name, _ in joined), joined[0][1].bound
            right = f"at least {console.percent(bound)}% of their filled cells, taken as one, are right"
            console.print_line(f"together, {told}: {right}; no promise of each of {len(joined)} classes: {names}")
        for why, without in _by_reason(sides).items():
            console.print_line(f"{told}: nothing is promised of {first_few(without, 10)}: {why}")
    yes, no = (result.filled(side) for side in ("yes", "no"))
    shares = ", ".join(console.percent(count / result.unknown) for count in (yes, no))
    console.print_line(f"filled of {result.unknown} unknown cells: {yes} as present, {no} as absent ({shares} %)")


def _by_reason(sides: list[tuple[str, Side]]) -> dict[str, list[str]]:
    """Why nothing is promised → of which classes."""
    found = dict[str, list[str]]()
    for name, one in sides:
        if one.why is not None:
            found.setdefault(one.why, []).append(name)
    return found


def _cells(side: Side) -> tuple[object, ...]:
    if side.threshold is None or side.bound is None:
        return side.filled, None, None
    right = f"≥ {console.percent(side.bound)}" if side.group == ALONE else TOGETHER
    return side.filled, f"{side.threshold:.3f}", right if side.filled else None
