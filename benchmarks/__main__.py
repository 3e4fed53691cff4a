"""`python -m benchmarks`: measure parts side by side and print a table, or JSON."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import modules, networks, peers, program, scale
from benchmarks.measure import GIB, Ceilings, Needs, Row, describe_machine, measure_ceilings

PARTS = [*networks.NETWORKS, *modules.MODULES, *program.PROGRAM, *scale.SCALE]
COLUMNS = ("part", "against", "ours", "other", "ratio", "memory", "other", "needs", "limit", "error", "promised", "")


def main(
    only: Annotated[str, typer.Option(help=f"Parts, separated by commas: {', '.join(PARTS)}.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peer: Annotated[
        Path | None,
        typer.Option(help="Folder with clones of DualCoOp or HCP-MLR-PL: measure beside their code."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Time and memory of mlrpl beside plain forms of the same computation: medians of runs in turn."""
    target = torch.device(device)
    rivals = peers.parts_of(peer) if peer is not None else {}
    if peer is not None and not rivals:
        _refuse(f"{peer} holds no clone of a rival; clone one into it, as benchmarks/peers.py says")
    parts = {**networks.NETWORKS, **modules.MODULES, **rivals}
    names = only.split(",") if only else list(rivals or PARTS)
    known = [*parts, *program.PROGRAM, *scale.SCALE]
    if unknown := [name for name in names if name not in known]:
        _refuse(f"no part is called '{unknown[0]}'; there are {', '.join(known)}")
    ceilings = measure_ceilings(target) if any(name in parts for name in names) else None
    measured, failed = measure_parts(names, lambda name: _rows(name, parts, target, ceilings))
    if as_json:
        rows = [{**asdict(row), "ratio": row.ratio} for row in measured]
        machine = {"machine": describe_machine(target), "ceilings": asdict(ceilings) if ceilings else None}
        print(json.dumps({**machine, "rows": rows, "failed": failed}, indent=1))
    else:
        _print(measured, ceilings, target)
    if wrong := [*(sentence for row in measured for sentence in row.broken()), *failed]:
        print("\n".join(wrong), file=sys.stderr)
        raise typer.Exit(1)


def measure_parts(names: list[str], rows_of: Callable[[str], Iterator[Row]]) -> tuple[list[Row], list[str]]:
    """The rows of every part that could be measured, and a sentence for each that could not.

    Each row is told on stderr as it comes, since all of them take minutes. Ctrl-C keeps the rows before it.
    """
    measured: list[Row] = []
    failed: list[str] = []
    for name in names:
        try:
            for row in rows_of(name):
                print(_line(row), file=sys.stderr)
                measured.append(row)
        except KeyboardInterrupt:
            failed.append(f"{name}: stopped")
            break
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{name}: not measured: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    return measured, failed


def _refuse(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise typer.Exit(1)


def _rows(
    name: str, parts: dict[str, networks.Network], device: torch.device, ceilings: Ceilings | None
) -> Iterator[Row]:
    if name in parts and ceilings:
        yield networks.measure_network(name, parts[name], device, ceilings)
    elif name in program.PROGRAM:
        yield from program.PROGRAM[name](device)
    else:
        yield from scale.SCALE[name]()


def _line(row: Row) -> str:
    """One row in one line, without what was not measured."""
    line = f"{row.name}: {row.ratio:.2f}x ({row.seconds:.3f} s, {row.other_seconds:.3f} s)"
    if row.memory is not None:
        line += f", memory {_gib(row.memory)} and {_gib(row.other_memory)}"
    if row.limit is not None:
        line += f", limit {row.limit:.3f} s"
    return line + ("" if row.error is None else f", error {row.error:.1e}")


def _print(rows: list[Row], ceilings: Ceilings | None, device: torch.device) -> None:
    console = Console(width=None if sys.stdout.isatty() else 300)
    console.print(describe_machine(device))
    if ceilings:
        products = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in ceilings.matmul.items())
        console.print(
            f"ceilings: {products}, copy {ceilings.copy / 1e9:.0f} GB/s, "
            f"sigmoid {ceilings.sigmoid / 1e9:.1f} and tanh {ceilings.tanh / 1e9:.1f} G/s"
        )
    table = Table(*COLUMNS, box=None if sys.stdout.isatty() else box.MARKDOWN)
    for row in rows:
        table.add_row(
            row.name,
            row.against,
            f"{row.seconds:.3f} s",
            f"{row.other_seconds:.3f} s",
            f"{row.ratio:.2f}x",
            _gib(row.memory),
            _gib(row.other_memory),
            "" if row.needs is None else _needs(row.needs),
            "" if row.limit is None else f"{row.limit:.3f} s",
            "" if row.error is None else f"{row.error:.1e}",
            _promised(row),
            row.note,
        )
    console.print(table)


def _promised(row: Row) -> str:
    units = {"ratio": "{:.2g}x", "memory": "{:.2g}x less memory", "seconds": "< {:g} s", "error": "error < {:g}"}
    values = [text.format(value) for name, text in units.items() if (value := getattr(row.promise, name)) is not None]
    values += [f"< {row.promise.bytes / GIB:g} GiB"] if row.promise.bytes is not None else []
    return ", ".join(values) + (": BROKEN" if row.broken() else ": kept" if values else "")


def _needs(needs: Needs) -> str:
    products = f"{needs.flops / 1e9:.0f} GFLOP, {needs.bytes / 1e9:.1f} GB"
    return products + (f", {needs.sigmoids / 1e6:.0f} M sigmoids" if needs.sigmoids else "")


def _gib(size: float | None) -> str:
    return "" if size is None else f"{size / GIB:.2f} GiB"


if __name__ == "__main__":
    typer.run(main)
