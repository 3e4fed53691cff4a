"""Answer 1,000 cells of scenes through the page of `mlrpl review`, as its queue asks them and at random; measure both.

    python -m scripts.review_demo FOLDER [SEED ...]

Scenes of seed 1 with 5% of their cells known; the seeds are those of which cells. Hidden labels answer, by HTTP and
nothing else, as a browser would. The model is `anchored` with tiny; mAP is that of `mlrpl eval` on the test images,
of which nothing is asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared

ANSWERS, AT_ONCE, KEEP = 1000, 50, 0.05
QUEUE, RANDOM = "queue", "random"
MLRPL = (sys.executable, "-m", "mlrpl_cli")
METHOD = ("--set", "method=anchored", "--set", "backbone=tiny", "--set", "epochs=1")


def main(folder: Path, seeds: list[int]) -> None:
    columns = ("seed", "known before", "mAP before", "asked by", "known after", "mAP after", "gain")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    gains: dict[str, list[float]] = {QUEUE: [], RANDOM: []}
    for seed in seeds:
        place = folder / f"seed{seed}"
        told("prepare", "--scenes-seed", 1, "--keep", KEEP, "--seed", seed, "--out", place / "prepared", "--replace")
        prepared = read_prepared(place / "prepared")
        before = measured(place / "prepared", place / "before")
        for by, gained in gains.items():
            answers = place / f"{by}.sqlite"
            answers.unlink(missing_ok=True)
            with served(prepared.folder, answers, "--backbone", "tiny", "--quiet") as told_by:
                answer(told_by["url"], prepared, by, seed)
            labelled = place / f"prepared-{by}"
            told("prepare", "--root", answers, "--out", labelled, "--replace")
            after = measured(labelled, place / f"after-{by}")
            gained.append(after - before)
            known = [share(each) for each in (prepared, read_prepared(labelled))]
            figures = (f"{known[0]:,}", f"{before:.2f}", by, f"{known[1]:,}", f"{after:.2f}", f"{after - before:+.2f}")
            print(f"| {seed} | {' | '.join(figures)} |", flush=True)
    for by, gained in gains.items():
        print(f"{by}: {np.mean(gained):+.2f} ± {np.std(gained):.2f} points of mAP by {ANSWERS} answers")


def answer(url: str, prepared: Prepared, by: str, seed: int) -> None:
    """Give ANSWERS answers, AT_ONCE after each training: a person would take minutes for so many."""
    shuffled = random_cells(prepared, seed)
    given = 0
    while given < ANSWERS:
        wait_until_learned(url, given)
        cells = shuffled[given:] if by == RANDOM else queue(url)
        cells = cells[: min(AT_ONCE, ANSWERS - given)]
        if not cells:
            raise SystemExit(f"nothing is left to ask after {given} answers")
        sent = [
            {"token": f"{row}-{column}", "row": row, "column": column, "state": truth(prepared, row, column)}
            for row, column in cells
        ]
        given = asked(url, "answers", {"person": "hidden labels", "answers": sent})["answers"]


def queue(url: str) -> list[tuple[int, int]]:
    """The cells that are suggested, image by image, as the page shows them."""
    items = asked(url, "queue?by=suggested&most=50&person=hidden%20labels")["items"]
    return [(item["row"], cell["column"]) for item in items for cell in item["cells"]]


def random_cells(prepared: Prepared, seed: int) -> list[tuple[int, int]]:
    """The unknown cells of the images that are reviewed, in any order."""
    unknown = prepared.observed_labels == UNKNOWN
    unknown[prepared.rows(TEST)] = False
    cells = np.random.default_rng(seed).permutation(np.argwhere(unknown))
    return [(row, column) for row, column in cells.tolist()]


def truth(prepared: Prepared, row: int, column: int) -> str:
    return "present" if prepared.full_labels[row, column] == PRESENT else "absent"


def share(prepared: Prepared) -> int:
    """Known cells of the images that are reviewed."""
    learning = np.array(prepared.splits) != TEST
    return int((prepared.observed_labels[learning] != UNKNOWN).sum())


def wait_until_learned(url: str, answers: int) -> None:
    while (learning := asked(url, "state")["learning"])["answers"] < answers or not learning["version"]:
        if learning["state"] == "failed":
            raise SystemExit(learning["told"])
        time.sleep(0.2)


def measured(data: Path, run: Path) -> float:
    """mAP in percent."""
    told("train", "--data", data, "--run", run, *METHOD, "--fresh")
    return 100 * told("eval", "--run", run)["result"]["map"]


@contextmanager
def served(data: Path, answers: Path, *more: str, errors: int | None = None) -> Iterator[dict[str, Any]]:
    """A page that is open, as its server tells of itself; `errors` is where that writes its lines."""
    command = [*MLRPL, "review", str(data), "--answers", str(answers), *more, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server:
        try:
            if server.stdout is None or not (line := server.stdout.readline()):
                raise SystemExit("the page did not open")
            yield json.loads(line)["result"]
        finally:
            server.terminate()


def asked(url: str, what: str, body: object = None) -> Any:
    """What the server says; a `body` is posted."""
    content = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + what, content, {"Content-Type": "application/json"})) as reply:
        return json.load(reply)


def told(command: str, *options: object) -> Any:
    """What a command prints with --json."""
    arguments = [*MLRPL, command, *map(str, options), "--json", "--quiet"]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), list(map(int, sys.argv[2:])) or [0])
