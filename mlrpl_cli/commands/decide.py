"""`mlrpl decide`: calibration and thresholds of a run, chosen again for another objective."""

from __future__ import annotations

from typing import Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.decisions.options import DecideOptions


@options.with_flags({"": DecideOptions})
def decide(as_json: options.Json = False, **given: Any) -> None:
    """Choose when a trained run says yes, no or unsure.

    The scores of held-out images that training kept in the run folder say how far probabilities are to be believed
    (calibration), and which threshold each class needs for the objective. No image is read and nothing is trained.
    predict and eval use what is chosen. Precision, recall and F1 are those to expect by the calibrated probabilities.
    """
    from mlrpl_cli.core.decisions.of_run import decide, notice_of
    from mlrpl_cli.core.decisions.shown import as_dict
    from mlrpl_cli.core.runs.decided.objective import parse_objective

    chosen = DecideOptions(**given)
    objective = None if chosen.objective is None else parse_objective(chosen.objective)
    decided = decide(chosen.run, objective, console.progress())
    shown = as_dict(decided, chosen.checkpoint)
    if notice := notice_of(decided.of[chosen.checkpoint], decided.info.classes):
        console.progress().warn(notice)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.runs.provenance import of_run

        settled = vars(chosen) | {"run": decided.run, "objective": shown["objective"]}
        print_result("decide", shown, settled, of_run(decided.run, decided.info), flat=False)
    else:
        _print_tables(shown)


def _print_tables(shown: dict[str, Any]) -> None:
    columns = ("class", "threshold", "precision", "recall", "F1", "present", "absent")
    title = f"Thresholds for {shown['objective']} · {shown['checkpoint']} checkpoint of {shown['run']}"
    rows = [
        (
            console.marked(of["class"], of["learnable"]) + (" (shared)" if of["shared"] and of["calibrated"] else ""),
            "none" if of["threshold"] is None else f"{of['threshold']:.3f}",
            *(console.percent(of[name]) for name in ("precision", "recall", "f1")),
            of["present"],
            of["absent"],
        )
        for of in shown["classes"]
    ]
    console.print_table(title, columns, rows)
    before, after = shown["before"], shown["after"]
    names = {"ece": "calibration error", "brier": "Brier score", "log_loss": "log loss"}
    if shown["calibrated"]:
        figures = [(told, *map(console.figure, (before[name], after[name]))) for name, told in names.items()]
        behind = f"{shown['images']} {shown['source']} images, cross-validated"
        console.print_table(f"Calibration: {shown['family']} · {behind}", ("", "before", "after"), figures)
    if any(of["shared"] and of["calibrated"] for of in shown["classes"]):
        console.print_line("(shared) few known cells: the rule and the threshold of all classes together")
    if any(of["threshold"] is None and of["calibrated"] for of in shown["classes"]):
        console.print_line(f"none: no threshold reaches {shown['objective']}, so the class is unsure")
    if any(of["learnable"] is False for of in shown["classes"]):
        console.print_line(console.NOT_LEARNABLE)
