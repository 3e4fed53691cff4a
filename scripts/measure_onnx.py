"""Compare a model file in onnxruntime with its run in PyTorch: how far apart they are, how fast and how large.

    python -m scripts.measure_onnx FOLDER

In FOLDER scenes are prepared, a run is trained on them with tiny and exported in float32 and in 8 bits, unless they are
there. Probabilities, decisions and maps are compared over the test scenes, as `predict` has them of the run and of each
file. Each time and each peak of memory is of a process of its own, which imports what a deployment would and nothing
else; of ROUNDS such processes, which take turns, the fastest counts and the largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SCENES, TRAINING, EPOCHS = 1000, 400, 5
BATCHES, ROUNDS, SECONDS = (1, 32), 3, 5.0
TIE = 1e-4
"""How near to changing its decision a cell is that counts as a tie, in logits."""
FILES = {"float32": "model.onnx", "int8": "int8.onnx"}
ENGINES = {"PyTorch": "run", "onnxruntime, float32": FILES["float32"], "onnxruntime, 8 bits": FILES["int8"]}


class Measured(NamedTuple):
    seconds: float
    """Of a batch, the median."""
    megabytes: float
    """The most that the process had in memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="of each engine")
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "BATCH"), help="measure one in this process")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.folder, asked.one[0], int(asked.one[1]), asked.threads)))
        return
    make(asked.folder)
    print_parity(asked.folder)
    print_table(asked.folder, asked.threads)


def make(folder: Path) -> None:
    """Prepare, train and export what is not there yet."""
    data, run = folder / "prepared", folder / "run"
    if not data.exists():
        images = [f"--train-images={TRAINING}", f"--test-images={SCENES}", "--validation-fraction=0.3"]
        _mlrpl("prepare", "--dataset=scenes", "--keep=0.5", *images, f"--out={data}")
    if not (run / "best.safetensors").exists():
        _mlrpl("train", f"--data={data}", f"--run={run}", f"--set=epochs={EPOCHS}", "--set=device=cpu")
    for precision, name in FILES.items():
        if not (folder / name).exists():
            _mlrpl("export", str(run), f"--out={folder / name}", *(["--int8"] if precision == "int8" else []))


def _mlrpl(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "mlrpl_cli", *arguments, "--quiet"], check=True, stdout=sys.stderr)


def print_parity(folder: Path) -> None:
    """How far the outputs of the files are from those of the run, over the test scenes."""
    from mlrpl_cli.core.prediction.model_file import ModelPredictor
    from mlrpl_cli.core.prediction.predictor import Predictor
    from mlrpl_cli.core.prepared.folder import read_prepared

    prepared, by_run = read_prepared(folder / "prepared"), Predictor.from_run(folder / "run", device="cpu")
    paths = prepared.paths(prepared.rows("test"))
    expected: list[Any] = list(by_run.predict_files(paths))
    print(f"{len(paths)} scenes, {len(by_run.classes)} classes\n")
    print("| file | probabilities apart, at most | attention | decisions that differ | of these no ties |")
    print("|---|---|---|---|---|")
    for precision, name in FILES.items():
        found: list[Any] = list(ModelPredictor.from_file(folder / name).predict_files(paths))
        apart = {
            field: max(
                np.abs(getattr(a, field) - getattr(b, field)).max() for a, b in zip(found, expected, strict=True)
            )
            for field in ("probabilities", "attention")
        }
        other = np.array([a.decisions for a in found]) != np.array([b.decisions for b in expected])
        ties = _margins(by_run, np.stack([one.raw for one in expected])) < TIE
        figures = f"{apart['probabilities']:.1e} | {apart['attention']:.1e} | {other.sum()} of {other.size}"
        print(f"| {precision} | {figures} | {(other & ~ties).sum()} |")


def _margins(predictor: Any, raw: np.ndarray) -> np.ndarray:
    """(N, C) how far a cell's calibrated logit is from where its decision changes."""
    from mlrpl_cli.core.runs.decided.calibration import finite_logit, logit
    from mlrpl_cli.core.runs.decided.verdicts import CONFIDENCE_90

    decision, logits = predictor.decision, finite_logit(raw)
    away = decision.calibration.calibrated_logits(logits) - logit(decision.thresholds)
    half = CONFIDENCE_90 * decision.calibration.standard_error(logits)
    return np.minimum(np.abs(away), np.abs(np.abs(away) - half))


def print_table(folder: Path, threads: int) -> None:
    """Time and memory of each engine and batch."""
    found: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(ROUNDS):
        for batch in BATCHES:
            for engine in ENGINES:
                found.setdefault((engine, batch), []).append(_in_a_process(folder, engine, batch, threads))
    print(f"\n{processor()}, threads: {threads}\n")
    heads = " | ".join(f"batch {batch}: ms an image | MB at most" for batch in BATCHES)
    print(f"| engine | {heads} |\n|---|{'---|---|' * len(BATCHES)}")
    for engine in ENGINES:
        cells = [
            f"{1000 * min(one.seconds for one in found[engine, batch]) / batch:.2f} | "
            f"{max(one.megabytes for one in found[engine, batch]):.0f}"
            for batch in BATCHES
        ]
        print(f"| {engine} | {' | '.join(cells)} |")


def _in_a_process(folder: Path, engine: str, batch: int, threads: int) -> Measured:
    command = [sys.executable, "-m", "scripts.measure_onnx", str(folder), "--threads", str(threads)]
    done = subprocess.run([*command, "--one", engine, str(batch)], check=True, capture_output=True, text=True)
    return Measured(*json.loads(done.stdout))


def measured(folder: Path, engine: str, batch: int, threads: int) -> Measured:
    """Of predicting the same pixels again and again for SECONDS, in this process."""
    compute, size = (_pytorch if engine == "PyTorch" else _onnxruntime)(folder / ENGINES[engine], threads)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    compute(pixels)
    times, begun = list[float](), time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        started = time.perf_counter()
        compute(pixels)
        times.append(time.perf_counter() - started)
    return Measured(statistics.median(times), _peak())


def _pytorch(run: Path, threads: int) -> tuple[Callable[[np.ndarray], Any], int]:
    import torch

    from mlrpl_cli.core.prediction.predictor import Predictor

    torch.set_num_threads(threads)
    predictor = Predictor.from_run(run, device="cpu")
    return predictor.predict, predictor.input[0]


def _onnxruntime(path: Path, threads: int) -> tuple[Callable[[np.ndarray], Any], int]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"images": pixels}), session.get_inputs()[0].shape[1]


def _peak() -> float:
    """The most memory that this process had, in MB: Linux counts it anew for each program that is started."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1000


def processor() -> str:
    """What the machine calls its processor, and how many cores there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores"


if __name__ == "__main__":
    main()
