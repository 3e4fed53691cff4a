"""`mlrpl check`: which given labels look wrong, and labels without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.io.errors import first_few

if TYPE_CHECKING:
    from mlrpl_cli.core.curation.correcting import Check


@options.with_flags({"": CheckOptions})
def check(
    data: options.PreparedOfRun = None,
    overwrite: Annotated[bool, option(None, "Replace labels and a ranking of before.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """List the given labels that look wrong, and estimate how many are.

    Every known cell of the training and validation images is scored by classifiers that did not know it, on a run's
    backbone; p is the probability that its label is right. --csv writes all of them; --drop and --flip write labels in
    which those that look wrong are unknown, or the other way round. Test images are left as they are.
    """
    from mlrpl_cli.core.curation.correcting import check_labels

    chosen = CheckOptions(data=data, **given)
    found = check_labels(chosen, console.progress(), overwrite)
    pictures, errors = _pictures(found, chosen)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.curation.correcting import as_dict

        subject = found.subject
        settled = vars(chosen) | {"run": subject.run, "data": subject.prepared.folder}
        result = as_dict(found, chosen.most) | {"pictures": pictures, "errors": errors}
        print_result("check", result, settled, subject.provenance, flat=False)
    else:
        _print_tables(found, chosen.most)
        for picture in pictures:
            console.print_line(picture)
    if errors:
        raise typer.Exit(1)


def _pictures(found: Check, chosen: CheckOptions) -> tuple[list[str], list[dict[str, str]]]:
    """The files that were drawn, and the images that could not be."""
    files, errors = list[str](), list[dict[str, str]]()
    if chosen.attention is not None:
        from mlrpl_cli.core.prediction.images import Unreadable
        from mlrpl_cli.core.reports.suspects import draw_suspects

        for drawn in draw_suspects(found, replace(chosen, run=found.subject.run), chosen.attention, console.progress()):
            if isinstance(drawn, Unreadable):
                errors.append({"image": str(drawn.path), "error": drawn.reason})
                console.print_error(f"mlrpl: error: {drawn.reason}")
            else:
                files.append(str(drawn))
    return files, errors


def _print_tables(found: Check, most: int) -> None:
    from mlrpl_cli.core.curation.correcting import as_dict

    told = as_dict(found, most)
    rows = [
        (one["class"], one["present"], one["absent"], f"{one['expected_wrong']:.1f}", "*" * one["one_sided"])
        for one in told["classes"]
    ]
    subject = found.subject
    console.print_line(f"checked: {subject.prepared.folder}, by the backbone of {subject.run}")
    console.print_table("Known cells, and how many are expected to be wrong", CLASS_COLUMNS, rows)
    if told["first"]:
        names = ("rank", "image", "class", "given", "right", "rank_in_class")
        shown = [[f"{one[name]:.3f}" if name == "right" else one[name] for name in names] for one in told["first"]]
        console.print_table("Labels that look most wrong", CELL_COLUMNS, shown)
    if lone := found.checked.one_sided:
        console.print_line(
            f"* known cells of one kind only, judged by the scores of other classes: {first_few(lone, 10)}"
        )
    share, rates = told["expected_share"], (told["absent_given_as_present"], told["present_given_as_absent"])
    of_kinds = f"{rates[0]:.1%} of absent cells are given as present, {rates[1]:.1%} of present ones as absent"
    console.print_line(
        f"expected to be wrong: {told['expected_wrong']:.0f} of {told['cells']} cells ({share:.1%}); {of_kinds}"
    )
    if not told["errors_seen"]:
        few = "so few contradictions that they may as well be what is hard to see: p says little, and the order more"
        console.print_line(few)
    if found.exported is not None:
        console.print_exported(found.exported)


CLASS_COLUMNS = ("class", "present", "absent", "expected wrong", "")
CELL_COLUMNS = ("rank", "image", "class", "given", "p right", "rank in class")
