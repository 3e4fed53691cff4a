"""The same seed on the same machine: the same bits, whatever decodes the images, in however many sittings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.config import BEST, LAST, TrainConfig, make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.prediction.images import Prediction
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.folder import read_log
from mlrpl_cli.core.runs.options import resume_config
from mlrpl_cli.core.sweep.plan import SweepOptions
from mlrpl_cli.core.sweep.results import read_scores
from mlrpl_cli.core.sweep.runner import sweep
from mlrpl_cli.core.training.train import train
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("determinism")
    small.write_prepared(folder / "prepared")
    small.write_backbone(folder / "clip.safetensors")
    return folder


@pytest.fixture(scope="module")
def config(base) -> TrainConfig:
    """Three epochs of three steps, in float32."""
    return make_config(
        flags={
            "data": str(base / "prepared"),
            "backbone": str(base / "clip.safetensors"),
            **small.OPTIONS,
            "epochs": 3,
            "precision": "float32",
        }
    )


@pytest.fixture(scope="module")
def fit(base, config) -> Callable[..., Path]:
    """`fit(name, workers=…, views=…)` trains the run `name`, once, with a feature cache of its own; the folder."""

    def run(name: str, **options: object) -> Path:
        folder = base / name
        if not folder.exists():
            train(replace(config, run=str(folder), cache=str(base / f"features-{name}"), **options))
        return folder

    return run


def bits(run: Path) -> dict[str, bytes]:
    """Every tensor of both checkpoints."""
    checkpoints = {which: load_checkpoint(run, which).tensors for which in (LAST, BEST)}
    return {f"{which} {name}": t.numpy().tobytes() for which, found in checkpoints.items() for name, t in found.items()}


def timeless(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def assert_same(run: Path, other: Path) -> None:
    """Weights, optimizer, log, and what eval makes of them."""
    left, right = bits(run), bits(other)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
    assert timeless(read_log(run)) == timeless(read_log(other))
    one, two = (evaluate(EvaluationOptions(folder, workers=0, device="cpu")) for folder in (run, other))
    assert one.probabilities.tobytes() == two.probabilities.tobytes()
    assert str(one.metrics) == str(two.metrics)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_bit(fit, views, workers):
    """With features encoded anew every epoch, and with those of a cache that each run fills for itself."""
    plain = fit(f"plain-{views}", views=views)
    assert_same(fit(f"workers-{views}-{workers}", views=views, workers=workers), plain)


@pytest.mark.parametrize("views", [0, 2])
def test_a_run_in_two_sittings_with_other_workers_is_the_run_in_one(fit, base, config, views):
    """Stopped in the second of three epochs, by Ctrl-C; resumed with two workers."""
    folder = base / f"resumed-{views}"
    train(replace(config, run=str(folder), views=views, cache=str(base / "features-resumed")), small.StopAt(5))
    assert load_checkpoint(folder, LAST).info.epoch == 1
    train(resume_config(folder, None, {"workers": 2}), resume=True)
    assert_same(folder, fit(f"plain-{views}", views=views))


def predictions(run: Path, paths: list[Path], **options: int) -> list[Prediction]:
    found = list(Predictor.from_run(run, LAST, device="cpu").predict_files(paths, **options))
    assert all(isinstance(prediction, Prediction) for prediction in found)
    return found  # type: ignore[return-value]


@pytest.fixture
def paths(base) -> list[Path]:
    prepared = read_prepared(base / "prepared")
    return prepared.paths(np.arange(len(prepared.images)))


def test_the_number_of_decoding_threads_and_the_order_of_batches_change_no_bit_of_a_prediction(fit, paths):
    """36 images in batches of 4, first to last and the batches last to first."""
    run = fit("plain-2", views=2)
    batches = [paths[start : start + 4] for start in range(0, 36, 4)]
    backwards = [path for batch in reversed(batches) for path in batch]
    expected = {p.path: p for p in predictions(run, paths, batch_size=4, workers=1)}
    for order, workers in ((paths, 3), (backwards, 2)):
        for prediction in predictions(run, order, batch_size=4, workers=workers):
            assert prediction.probabilities.tobytes() == expected[prediction.path].probabilities.tobytes()
            assert prediction.attention.tobytes() == expected[prediction.path].attention.tobytes()


def test_the_batch_size_changes_a_prediction_by_rounding_alone(fit, paths):
    """Matrix products of another size add up in another order: a few units in the last place of float32."""
    run = fit("plain-2", views=2)
    alone = [p.probabilities for p in predictions(run, paths, batch_size=1)]
    for size in (5, 36):
        together = [p.probabilities for p in predictions(run, paths, batch_size=size)]
        np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.slow
def test_the_number_of_jobs_changes_no_bit_of_a_sweep_but_through_the_number_of_threads(base, config):
    """Jobs divide the processor's threads among them, and sums over two threads round otherwise than over one."""
    own = replace(config, data=None, cache=str(base / "features-sweep"))
    found, scores = [], []
    for jobs in (1, 2):
        asked = SweepOptions(base / "prepared", base / f"jobs-{jobs}", ("sarl", "linear"), (0.7,), (0, 1), jobs=jobs)
        options = replace(asked, tune=False, config=own)
        summary = sweep(options)
        assert summary.failures == []
        found.append(timeless(summary.rows))
        scores.append([read_scores(options.out, row["key"]) for row in summary.rows])
    assert found[0] == found[1]
    assert [float(np.abs(one - two).max()) for one, two in zip(*scores, strict=True)] == [0.0] * 4
