"""What training may not see cannot reach it: labels hidden by the mask, and all labels of test images.

Those labels are replaced by others, the rest of the data stays, and every bit of what is learned and logged must stay.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlrpl_cli.core.config import BEST, LAST, TrainConfig
from mlrpl_cli.core.curation.asking.options import SuggestOptions
from mlrpl_cli.core.curation.asking.suggesting import suggest
from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.completing.complete import complete
from mlrpl_cli.core.curation.completing.options import CompleteOptions
from mlrpl_cli.core.curation.correcting import check_labels
from mlrpl_cli.core.decisions.after_training import train_and_decide
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from mlrpl_cli.core.review.beginning import desk_of, learned_from
from mlrpl_cli.core.review.learner import ground_from
from mlrpl_cli.core.review.learning import Task, learn
from mlrpl_cli.core.review.options import ReviewOptions
from mlrpl_cli.core.review.orders import Orders
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.decided.scores import read_held_out
from mlrpl_cli.core.runs.folder import DECISIONS, read_log
from mlrpl_cli.core.sweep import runner
from mlrpl_cli.core.sweep.encoding import encode_once
from mlrpl_cli.core.sweep.grid import Grid
from mlrpl_cli.core.sweep.plan import FOLD, RUN, TUNING, Cell, SweepOptions
from mlrpl_cli.core.sweep.results import RESULTS, read_results, read_scores
from mlrpl_cli.core.sweep.runner import sweep
from mlrpl_cli.core.sweep.variants import parse_variant
from mlrpl_cli.core.sweep.worker import Worker
from mlrpl_cli.core.training.train import train
from tests import small

KEEP, SEED = 0.6, 0
GRID = Grid(lr=(0.002, 0.02), epochs=(2,), loss=("asl",))
"""What the sweeps here tune: two learning rates."""
few = settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("leak")
    small.write_prepared(folder / "prepared", keep=KEEP, seed=SEED)
    small.write_backbone(folder / "clip.safetensors")
    return folder


@pytest.fixture
def config(base) -> TrainConfig:
    return TrainConfig(
        backbone=str(base / "clip.safetensors"),
        cache=str(base / "features"),
        **small.OPTIONS,
        epochs=3,
        lr=0.02,
    )


def learning(prepared: Prepared) -> np.ndarray:
    """(N,) whether the image is for training or validation."""
    return np.array(prepared.splits) != "test"


def out_of_sight(prepared: Prepared) -> np.ndarray:
    """(N, C) the cells that training may not see."""
    return (prepared.observed_labels == 0) | ~learning(prepared)[:, None]


def relabelled(prepared: Prepared, folder: Path, cells: np.ndarray, labels: np.ndarray) -> Prepared:
    """`prepared` in another folder with `labels` in the `cells`; what was observed of them is observed."""
    full, observed = prepared.full_labels.copy(), prepared.observed_labels.copy()
    full[cells] = labels
    seen = observed != 0
    observed[seen] = full[seen]
    folder.mkdir()
    other = replace(prepared, folder=folder, full_labels=full, observed_labels=observed)
    write_manifest(folder, other)
    return other


def drawn(kind: str, before: np.ndarray, seed: int) -> np.ndarray:
    """The labels `before` in another order, drawn anew, or each the opposite."""
    random = np.random.RandomState(seed)
    if kind == "permuted":
        return random.permutation(before)
    return random.choice(np.array([-1, 1], np.int8), len(before)) if kind == "drawn anew" else -before


replacements = st.tuples(st.sampled_from(["permuted", "drawn anew", "inverted"]), st.integers(0, 2**32 - 1))


def learned(config: TrainConfig, data: Path, run: Path) -> dict[str, object]:
    """Every tensor of both checkpoints as bytes, the log without its times, and the decisions."""
    train_and_decide(replace(config, data=str(data), run=str(run)))
    tensors = {
        f"{which} {name}": (tensor.dtype, tuple(tensor.shape), tensor.numpy().tobytes())
        for which in (LAST, BEST)
        for name, tensor in load_checkpoint(run, which).tensors.items()
    }
    rows = [{name: value for name, value in row.items() if "second" not in name} for row in read_log(run)]
    epochs = {which: load_checkpoint(run, which).info.epoch for which in (LAST, BEST)}
    return {**tensors, "log": rows, "epochs": epochs, **decided(run)}


def decided(run: Path) -> dict[str, object]:
    """The decisions of a run, and the scores and labels that they were chosen by, but for the checkpoints' digests."""
    stored = json.loads((run / DECISIONS).read_text()) if (run / DECISIONS).exists() else {}
    for which in (LAST, BEST):
        (stored.get(which) or {}).pop("checkpoint", None)
    held = {
        f"held out, {which}": [one.source, *(array.tobytes() for array in (one.rows, one.labels, one.logits))]
        for which, one in read_held_out(run).items()
    }
    return {**held, "decisions": stored}


@pytest.fixture
def differing(base, config) -> Callable[..., list[str]]:
    """`differing(method, cells, labels)` trains with those labels and without; the names of what came out otherwise."""

    known: dict[str, dict[str, object]] = {}

    def compare(method: str, cells: np.ndarray, labels: np.ndarray, **options: object) -> list[str]:
        asked = replace(config, method=method, **options)
        with tempfile.TemporaryDirectory(dir=base) as name:
            folder = Path(name)
            relabelled(read_prepared(base / "prepared"), folder / "other", cells, labels)
            if repr(asked) not in known:
                known[repr(asked)] = learned(asked, base / "prepared", folder / "run")
            before, after = known[repr(asked)], learned(asked, folder / "other", folder / "other-run")
        assert before.keys() == after.keys()
        return [name for name in before if before[name] != after[name]]

    return compare


DRAWN = ("zero-shot", "sarl", "sarl-anchored", "dualcoop")
INVERTED = ("baseline", "sd", "cspo", "sa", "sarl+", "sarl-warm", "anchored")
"""Methods whose hidden labels are drawn by hypothesis, and inverted once; `linear` is tried with other views."""


@pytest.mark.parametrize("method", DRAWN)
def test_labels_out_of_sight_change_no_bit_of_what_is_learned(base, differing, method):
    prepared = read_prepared(base / "prepared")
    cells = out_of_sight(prepared)

    @few
    @given(replacements)
    def no_bit_changes(replacement):
        assert differing(method, cells, drawn(replacement[0], prepared.full_labels[cells], replacement[1])) == []

    no_bit_changes()


@pytest.mark.parametrize("method", INVERTED)
def test_labels_out_of_sight_inverted_change_no_bit_of_other_methods(base, differing, method):
    prepared = read_prepared(base / "prepared")
    cells = out_of_sight(prepared)
    assert differing(method, cells, -prepared.full_labels[cells], epochs=2) == []


def test_every_method_was_tried():
    assert set(METHODS) == {*DRAWN, *INVERTED, "linear"}


@pytest.mark.parametrize("views", [0, 1])
def test_they_change_no_bit_with_new_views_every_epoch_or_with_a_single_one(base, differing, views):
    prepared = read_prepared(base / "prepared")
    cells = out_of_sight(prepared)
    assert differing("linear", cells, -prepared.full_labels[cells], views=views) == []


def test_they_change_no_score_of_a_sweeps_run(base, config):
    """A sweep draws the mask anew over the published labels; those that it hides, and the test labels, are inverted."""
    prepared = read_prepared(base / "prepared")
    cells = out_of_sight(prepared)
    other = relabelled(prepared, base / "inverted", cells, -prepared.full_labels[cells])
    cell = Cell(RUN, parse_variant("sarl"), KEEP, SEED, lr=0.02, epochs=2, loss="asl")
    rows, scores = zip(*(swept(config, data, cell, base) for data in (prepared, other)), strict=True)
    assert rows[0]["map"] != rows[1]["map"]
    assert rows[0]["validation_map"] == rows[1]["validation_map"]
    assert rows[0]["selected_epoch"] == rows[1]["selected_epoch"]
    assert scores[0].tobytes() == scores[1].tobytes()


@pytest.mark.slow
def test_test_labels_choose_no_setting_of_a_sweep_that_tunes(base, config):
    """Two learning rates are tried; all test labels are inverted, so that only what is measured on them may differ."""
    prepared = read_prepared(base / "prepared")
    cells = np.broadcast_to(~learning(prepared)[:, None], prepared.full_labels.shape)
    other = relabelled(prepared, base / "tests-inverted", cells, -prepared.full_labels[cells])
    found = []
    for data in (prepared, other):
        own = replace(config, lr=TrainConfig().lr, epochs=TrainConfig().epochs)
        out = base / f"tuned-{data.folder.name}"
        options = SweepOptions(data.folder, out, ("sarl",), (KEEP,), (SEED,), config=own, grid=GRID)
        chosen = sweep(options).rows
        tried = read_results(out / RESULTS)
        assert len({row["lr"] for row in tried}) == 2
        seen = ("kind", "keep", "lr", "epochs", "loss", "validation_map")
        rows = sorted([row.get(name) for name in seen] for row in (*tried, *chosen))
        found.append((rows, [read_scores(out, row["key"]).tobytes() for row in chosen]))
    assert found[0] == found[1]


FOLDS = 3


@pytest.fixture(scope="module")
def turns(base) -> Path:
    """A file of folds over all images."""
    rows = "".join(f"{row:03d},{row % FOLDS}\n" for row in range(len(read_prepared(base / "prepared").images)))
    (base / "folds.csv").write_text(f"image,fold\n{rows}")
    return base / "folds.csv"


def learned_of_fold(config: TrainConfig, data: Path, cell: Cell, folds: Path, out: Path) -> dict[str, object]:
    """Every bit of what a cell of a sweep over folds learns, its row without what is measured, and its scores."""
    options = SweepOptions(data, out, tune=False, config=config, folds=folds, least_positives=1)
    (out / "scores").mkdir(parents=True)
    worker = Worker(encode_once(*runner._resolve(options, Silent()), Silent()))
    trainer = worker._trainer(cell, worker.data.sides(cell.fold, tuning=cell.kind == TUNING))
    trainer.start()
    log = [{name: value for name, value in row.items() if "second" not in name} for row in trainer.epochs(Silent())]
    tensors = {name: tensor.numpy().tobytes() for name, tensor in trainer.checkpoint().tensors.items()}
    done = worker.run(cell)
    assert (done.scores is not None) == (cell.kind == FOLD)
    scores = b"" if done.scores is None else done.scores.tobytes()
    return {**tensors, "log": log, "validation": done.row["validation_map"], "scores": scores}


@pytest.mark.parametrize("kind", [FOLD, TUNING])
@pytest.mark.parametrize("method", ["sarl", "linear"])
def test_labels_of_a_fold_change_no_bit_of_what_scores_it_or_chooses_its_setting(base, config, turns, kind, method):
    """All labels of fold 1, and those of the others that the mask hides, are replaced or blanked."""
    prepared = read_prepared(base / "prepared")
    shape = prepared.full_labels.shape
    held = (np.arange(shape[0]) % FOLDS == 1)[:, None] & np.ones(shape, bool)
    cells = held | ~known_mask(*shape, KEEP, SEED)
    cell = Cell(kind, parse_variant(method), KEEP, SEED, lr=0.02, epochs=2, loss="asl", fold=1)

    def of(name: str, cells: np.ndarray, labels: np.ndarray) -> dict[str, object]:
        with tempfile.TemporaryDirectory(dir=base) as place:
            data = relabelled(prepared, Path(place) / name, cells, labels)
            return learned_of_fold(config, data.folder, cell, turns, Path(place) / "out")

    before = of("before", cells, prepared.full_labels[cells])

    @few
    @given(replacements)
    def no_bit_changes(replacement):
        labels = drawn(replacement[0], prepared.full_labels[cells], replacement[1])
        assert of("after", cells, labels) == before

    no_bit_changes()
    assert of("blank", held, np.zeros(held.sum(), np.int8)) == before
    control = np.zeros(shape, bool)
    control[0] = known_mask(*shape, KEEP, SEED)[0]  # of fold 0, which trains for fold 1 in a run and in tuning
    assert control.any()
    assert of("control", control, -prepared.full_labels[control]) != before


@pytest.mark.slow
def test_labels_of_a_fold_choose_no_setting_of_it(base, config, turns):
    """Two learning rates are tried, all labels of fold 1 inverted: those of other folds may be chosen otherwise."""
    prepared = read_prepared(base / "prepared")
    shape = prepared.full_labels.shape
    cells = (np.arange(shape[0]) % FOLDS == 1)[:, None] & np.ones(shape, bool)
    other = relabelled(prepared, base / "fold-inverted", cells, -prepared.full_labels[cells])
    found, others = [], []
    for data in (prepared, other):
        own = replace(config, lr=TrainConfig().lr, epochs=TrainConfig().epochs)
        out = base / f"tuned-folds-{data.folder.name}"
        options = SweepOptions(data.folder, out, ("sarl",), (KEEP,), (SEED,), config=own, grid=GRID)
        sweep(replace(options, folds=turns, least_positives=1))
        rows = read_results(out / RESULTS)
        (of_fold,) = (row for row in rows if (row["kind"], row.get("fold")) == (FOLD, 1))
        tried = [row["validation_map"] for row in rows if (row["kind"], row.get("fold")) == (TUNING, 1)]
        found.append((of_fold["lr"], tried, read_scores(out, of_fold["key"]).tobytes()))
        others.append([row["validation_map"] for row in rows if (row["kind"], row.get("fold")) == (TUNING, 0)])
    assert found[0] == found[1]
    assert others[0] != others[1]  # the control: fold 1 validates the settings of fold 0


def test_labels_that_prepare_hides_change_nothing_that_training_sees(tmp_path, mlrpl):
    """A table whose hidden training labels are inverted gives the same mask and the same observed labels."""
    small.write_prepared(tmp_path / "pictures")
    labels = np.random.RandomState(0).choice([0, 1], (36, 3))
    found = []
    for name in ("before", "after"):
        rows = [[f"images/{n:03d}.png", *row, "test" if n > 27 else "train"] for n, row in enumerate(labels.tolist())]
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["image", "a", "b", "c", "split"], *rows])
        table = (f"--root={tmp_path / name}.csv", f"--images={tmp_path / 'pictures'}")
        assert mlrpl("prepare", "--dataset=table", *table, "--keep=0.5", f"--out={tmp_path / name}").code == 0
        prepared = read_prepared(tmp_path / name)
        found.append(prepared)
        hidden = (prepared.observed_labels == 0) & learning(prepared)[:, None]
        labels = np.where(hidden, 1 - labels, labels)
    before, after = found
    assert (before.full_labels != after.full_labels).sum() == hidden.sum() > 20
    assert before.mask_sha256 == after.mask_sha256
    assert before.splits == after.splits
    assert before.observed_labels.tobytes() == after.observed_labels.tobytes()


def swept(config: TrainConfig, prepared: Prepared, cell: Cell, base: Path) -> tuple[dict, np.ndarray]:
    """The row of a cell of a sweep over `prepared`, in this process, and its test scores."""
    options = SweepOptions(prepared.folder, base / f"sweep-{prepared.folder.name}", tune=False, config=config)
    (options.out / "scores").mkdir(parents=True)
    done = Worker(encode_once(*runner._resolve(options, Silent()), Silent())).run(cell)
    assert done.scores is not None
    return done.row, done.scores


def test_a_known_training_label_does_change_what_is_learned(base, differing):
    """The control: this test can fail. One label of one image is enough."""
    prepared = read_prepared(base / "prepared")
    cells = np.zeros(prepared.full_labels.shape, bool)
    row = prepared.rows("train")[0]
    cells[row, np.flatnonzero(prepared.observed_labels[row])[0]] = True
    assert any(name.startswith("last recognizer.") for name in differing("sarl", cells, -prepared.full_labels[cells]))


def test_a_known_validation_label_does_change_the_decisions(base, differing):
    """The control of these: one label of one image that calibrates."""
    prepared = read_prepared(base / "prepared")
    cells = np.zeros(prepared.full_labels.shape, bool)
    rows = prepared.rows("validation")
    row, column = np.argwhere(prepared.observed_labels[rows])[0]
    cells[rows[row], column] = True
    changed = differing("linear", cells, -prepared.full_labels[cells])
    assert {"decisions", "held out, last"} <= set(changed)


def test_labels_that_a_cross_validated_run_may_not_see_change_no_decision(base, config):
    """Hidden labels of images in folds are inverted: the out-of-fold scores and what is chosen by them stay."""
    whole = read_prepared(base / "prepared")
    turns = np.where(np.array(whole.splits) == "train", np.arange(len(whole.images)) % 3, -1).astype(np.int16)
    cells, found = out_of_sight(whole), []
    for name, sign in (("as it is", 1), ("inverted", -1)):
        data = relabelled(replace(whole, folds=turns), base / f"folds {name}", cells, sign * whole.full_labels[cells])
        run = base / f"run of folds {name}"
        train_and_decide(replace(config, method="linear", epochs=1, data=str(data.folder), run=str(run)))
        found.append(decided(run))
    assert found[0] == found[1]
    assert found[0]["held out, last"][0] == "out-of-fold"


@pytest.fixture(scope="module")
def known_run(base) -> Path:
    made = {"data": str(base / "prepared"), "run": str(base / "known-run"), "cache": str(base / "features")}
    backbone = str(base / "clip.safetensors")
    return train(TrainConfig(**{**small.OPTIONS, **made, "backbone": backbone, "method": "linear", "epochs": 1})).run


def curated(data: Path, run: Path, out: Path) -> dict[str, bytes]:
    """What complete, suggest, check and review make of the labels of a prepared folder."""
    asked = {"data": data, "run": run, "device": "cpu", "workers": 0}
    promise = {"precision": 0.6, "confidence": 0.7, "fill_validation": True}
    complete(CompleteOptions(**asked, **promise, out=out / "completed.csv"))
    suggest(SuggestOptions(**asked, budget=20, out=out / "asked.csv"))
    check_labels(CheckOptions(**asked, csv=out / "ranked.csv", flip=True, out=out / "flipped.csv"))
    files = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    return {**files, "review": reviewed(read_prepared(data), run, out)}


def reviewed(prepared: Prepared, run: Path, out: Path) -> bytes:
    """What the page of review shows after a training, before anybody answered."""
    options = ReviewOptions(run=run, device="cpu", workers=0)
    with desk_of(out / "answers.sqlite", prepared, "ann", "unknown") as desk:
        material = learned_from(prepared, desk, options, run, Silent())
        task = Task(1, *desk.known(), None)
        desk.take(learn(ground_from(material), material.parts, material.given, task))
        queues = [desk.queue(by, "ann", 0 if by == "class" else None, 100) for by in Orders.NAMES]
        grids = [desk.grid(column, "all", "ann", 0, 100, None) for column in range(len(prepared.classes))]
        return json.dumps([desk.state() | {"title": None}, queues, grids]).encode()


def test_labels_out_of_sight_change_nothing_that_is_made_of_labels(base, known_run):
    prepared = read_prepared(base / "prepared")
    cells = out_of_sight(prepared)

    def of(cells: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(dir=base) as place:
            data = relabelled(prepared, Path(place) / "data", cells, labels).folder
            return {
                name: without_test(prepared, content) for name, content in curated(data, known_run, Path(place)).items()
            }

    before = of(cells, prepared.full_labels[cells])
    assert len(before) == 6

    @few
    @given(replacements)
    def nothing_changes(replacement):
        assert of(cells, drawn(replacement[0], prepared.full_labels[cells], replacement[1])) == before

    nothing_changes()
    row = prepared.rows("train")[0]
    control = np.zeros(cells.shape, bool)
    control[row, np.flatnonzero(prepared.observed_labels[row])[0]] = True
    after = of(control, -prepared.full_labels[control])
    assert all(after[name] != before[name] for name in before)


def without_test(prepared: Prepared, content: bytes) -> bytes:
    """A table without its rows of test images, which hold the labels that they have."""
    images = {prepared.images[row] for row in prepared.rows("test")}
    return b"".join(line for line in content.splitlines(keepends=True) if line.decode().split(",")[0] not in images)


def test_test_labels_do_choose_the_epoch_when_they_are_asked_to(base, differing):
    """The other control: selection "test" is the published methods' way, and it looks at test labels."""
    prepared = read_prepared(base / "prepared")
    cells = np.broadcast_to(~learning(prepared)[:, None], prepared.full_labels.shape)
    changed = differing("linear", cells, -prepared.full_labels[cells], selection="test")
    assert "log" in changed
    assert not any(name.startswith("last ") for name in changed)
    assert "decisions" not in changed  # no test label calibrates, even then
