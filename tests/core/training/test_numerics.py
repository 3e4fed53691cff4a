"""Edge cases end to end: whatever the labels, training ends in finite weights or in one line that says why not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones import frozen
from mlrpl_cli.core.backbones.openai.architectures import build_text_encoder, random_state
from mlrpl_cli.core.config import BEST, LAST, TrainConfig, make_config
from mlrpl_cli.core.evaluation.evaluate import as_dict, evaluate
from mlrpl_cli.core.evaluation.metrics import compute_metrics
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.heads import losses
from mlrpl_cli.core.heads.losses import count_known, partial_asl
from mlrpl_cli.core.heads.methods import build_trainable
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.folder import load_config, read_log
from mlrpl_cli.core.training import loop as trainer
from mlrpl_cli.core.training.train import TrainingSummary, train
from tests import small
from tests.core.heads.test_category_prompts import by_letter
from tests.core.heads.test_recognizers import random_features

Edit = Callable[[np.ndarray, np.ndarray], None]
pytestmark = [pytest.mark.filterwarnings("error::RuntimeWarning"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A folder with prepared data, a backbone, and the features that every run of this file shares."""
    folder = tmp_path_factory.mktemp("numerics")
    small.write_prepared(folder / "prepared")
    small.write_backbone(folder / "clip.safetensors")
    return folder


@pytest.fixture
def fit(base, tmp_path):
    """`fit(method, rows, classes, edit)` trains two epochs on those rows and columns; a float32 run below tmp_path.

    `edit` changes published and observed labels in place.
    """

    def run(method="sarl", rows=None, classes=3, edit: Edit | None = None, folder="run", **flags) -> TrainingSummary:
        prepared = read_prepared(base / "prepared")
        rows = np.arange(len(prepared.images)) if rows is None else rows
        full, observed = (labels[rows, :classes] for labels in (prepared.full_labels, prepared.observed_labels))
        images, splits = ([given[row] for row in rows] for given in (prepared.images, prepared.splits))
        learning = np.array(splits) != "test"
        if edit is not None:
            edit(full[learning], part := observed[learning])
            observed[learning] = part
        place = tmp_path / "prepared"
        place.mkdir(exist_ok=True)
        edited = replace(
            prepared,
            folder=place,
            classes=prepared.classes[:classes],
            images=tuple(images),
            splits=tuple(splits),
            full_labels=full,
            observed_labels=observed,
        )
        write_manifest(place, edited)
        options = {
            "data": str(place),
            "backbone": str(base / "clip.safetensors"),
            "cache": str(base / "features"),
            "run": str(tmp_path / folder),
            "method": method,
            **small.OPTIONS,
            "epochs": 2,
            "precision": "float32",
        }
        return train(make_config(flags={**options, **flags}))

    return run


def hide_all(full: np.ndarray, observed: np.ndarray) -> None:
    observed[:] = 0


def one_of_each_split(base: Path) -> list[int]:
    prepared = read_prepared(base / "prepared")
    return [int(prepared.rows(split)[0]) for split in ("train", "validation", "test")]


def assert_sound(summary: TrainingSummary) -> None:
    """Both checkpoints are finite, every loss is, and the run can be evaluated."""
    for which in (LAST, BEST):
        tensors = load_checkpoint(summary.run, which).tensors
        assert [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()] == []
    assert all(np.isfinite(row["loss"]) and row["loss"] >= 0 for row in read_log(summary.run))
    figures = as_dict(evaluate(EvaluationOptions(summary.run, workers=0, device="cpu")))
    assert set(figures["at_threshold"]) == set(figures["at_top_k"])


@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_trained_and_evaluated(fit, method):
    assert_sound(fit(method, classes=1))


@pytest.mark.parametrize("method", METHODS)
def test_one_training_image_and_one_validation_image_are_enough(fit, base, method):
    assert_sound(fit(method, rows=one_of_each_split(base)))


@pytest.mark.parametrize("method", METHODS)
def test_without_a_known_label_the_loss_is_zero_and_the_latest_epoch_is_the_best(fit, method):
    summary = fit(method, edit=hide_all)
    assert_sound(summary)
    assert [(row["loss"], row["map"]) for row in read_log(summary.run)] == [(0.0, None)] * 2
    assert (summary.last_map, summary.best_map, summary.best_epoch) == (None, None, 2)


@pytest.mark.parametrize("views", [0, 2])
def test_one_image_of_one_class_without_a_label_is_no_error(fit, base, views):
    assert_sound(fit(rows=one_of_each_split(base), classes=1, edit=hide_all, views=views))


@pytest.mark.parametrize("state", [-1, 1])
@pytest.mark.parametrize("method", ["sarl-anchored", "dualcoop"])
def test_a_class_that_is_always_absent_or_always_present_is_trained(fit, method, state):
    def make_constant(full: np.ndarray, observed: np.ndarray) -> None:
        known = full[:, 0] == state
        observed[:, 0] = np.where(known, state, 0)

    assert_sound(fit(method, edit=make_constant))


def keep_positives(full: np.ndarray, observed: np.ndarray) -> None:
    observed[observed == -1] = 0


@pytest.mark.parametrize("method", METHODS)
def test_positives_alone_are_trained_on_with_a_loss_for_them_and_select_no_epoch(fit, method):
    summary = fit(method, edit=keep_positives)
    assert_sound(summary)
    assert load_config(summary.run).loss == "an"
    assert [row["map"] for row in read_log(summary.run)] == [None, None]
    assert (summary.best_map, summary.best_epoch) == (None, 2)


def test_training_on_positives_alone_does_not_end_at_everything_present(fit):
    """A partial loss is lowest where every class is present in every image; there are as many absent cells in truth."""
    means = {}
    for loss in ("bce", "an"):
        run = fit(edit=keep_positives, loss=loss, lr=0.05, epochs=6, folder=loss).run
        means[loss] = evaluate(EvaluationOptions(run, LAST, workers=0, device="cpu")).probabilities.mean()
    assert means["bce"] > 0.9
    assert means["an"] < means["bce"] - 0.1


def test_the_priors_are_shares_of_the_known_cells_or_of_all_images_where_none_is_absent():
    """Columns: two present of three known; two present of four images, none absent; nothing known; one absent."""
    columns = [[1, 1, -1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 0]]
    priors = trainer.class_priors(torch.tensor(columns, dtype=torch.int8).T)
    assert priors.tolist() == pytest.approx([3 / 5, 3 / 6, 1 / 6, 1 / 3])


def broken_at(step: int, value: Callable[[torch.Tensor], torch.Tensor]):
    """In the place of `make_loss`, a loss that is 0 until `step` and `value` of the logits from then on."""
    steps = iter(range(1, 1000))
    return lambda config: lambda logits, labels, known: value(logits) if next(steps) >= step else (0 * logits).sum()


def test_training_stops_at_the_first_step_whose_loss_is_no_number(fit, monkeypatch, tmp_path):
    """Three steps an epoch: the fifth is the second of epoch 2, and what is kept is epoch 1."""
    monkeypatch.setattr(losses, "make_loss", broken_at(5, lambda logits: (logits * torch.nan).sum()))
    expected = (
        r"^step 2 of epoch 2: the loss became nan on images/\d{3}\.png, images/\d{3}\.png, images/\d{3}\.png, …; "
        r"the last checkpoint holds epoch 1; "
        r"train again with a lower lr and context_lr \(now 0\.004 and 0\.002\) or with precision float32$"
    )
    with pytest.raises(RunError, match=expected):
        fit(lr=0.004, precision="bf16")
    last = load_checkpoint(tmp_path / "run", LAST)
    assert last.info.epoch == len(read_log(tmp_path / "run")) == 1
    assert all(torch.isfinite(tensor).all() for tensor in last.tensors.values())


def test_weights_that_are_no_numbers_are_seen_before_the_epoch_is_scored_or_saved(fit, monkeypatch, tmp_path):
    """√0 is 0 and its slope infinite: the loss of the epoch's last step is finite and its gradient is not."""
    monkeypatch.setattr(losses, "make_loss", broken_at(6, lambda logits: (0 * logits).sum().sqrt()))
    with pytest.raises(RunError, match=r"^step 3 of epoch 2: .* became NaN or infinite; the last checkpoint"):
        fit()
    assert load_checkpoint(tmp_path / "run", LAST).info.epoch == 1


def test_a_rate_that_overflows_stops_in_one_line(fit, tmp_path):
    """Nothing is doctored: a decay of 10 at a rate of 10 multiplies the weights by -99 a step."""
    with pytest.raises(RunError, match=r"^step \d of epoch \d+: .*; the last checkpoint holds epoch \d+; train again"):
        fit("linear", lr=10, weight_decay=10, epochs=20, warmup=0)
    tensors = load_checkpoint(tmp_path / "run", LAST).tensors
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.parametrize("batch", [0, 1])
def test_features_that_are_no_numbers_name_their_images(fit, monkeypatch, batch):
    """The first call of the encoder is the sample that the start is fitted to; image 0 of a call is broken."""
    encode, calls = frozen.FrozenEncoder.__call__, iter(range(1000))

    def spoil(self, pixels):
        features = encode(self, pixels)
        if next(calls) == 3 * batch:
            features.grid[0] = torch.nan
        return features

    monkeypatch.setattr(frozen.FrozenEncoder, "__call__", spoil)
    where = "" if batch == 0 else "step 1 of epoch 1: "
    with pytest.raises(
        RunError, match=rf"^{where}the backbone's features of 1 images are NaN or infinite \(images/\d+.png\)"
    ):
        fit(views=0, edit=hide_all)


def test_no_checkpoint_holds_what_is_no_number(fit, monkeypatch):
    """Text features are computed for the checkpoint itself; here they break between the last step and it."""

    def break_text(self: trainer.Trainer) -> None:
        self.trainable.text_head.features.fill_(torch.inf)

    monkeypatch.setattr(trainer.Trainer, "_selection_map", break_text)
    with pytest.raises(RunError, match=r"^no checkpoint of epoch 1: text_features hold NaN or infinite values"):
        fit("zero-shot")


@pytest.mark.parametrize("method", ["sarl+", "sarl-anchored", "sa", "dualcoop"])
def test_ten_thousand_classes_take_a_step(method):
    """Two images over 2×2 positions and a text encoder of one layer."""
    classes = 10_000
    config = TrainConfig(method=method, attention_width=4, context_tokens=1)
    encoder = build_text_encoder(random_state(small.ARCHITECTURE, seed=0))
    names, generator = [f"{number:04d}" for number in range(classes)], torch.Generator().manual_seed(1)
    model = build_trainable(TextInputs(config, names, encoder, by_letter, generator), 64, 8)
    labels = torch.tensor([[1, -1, 0, 1], [-1, 1, 1, 0]], dtype=torch.int8).repeat(1, classes // 4)
    optimizer = torch.optim.AdamW(model.learned().values())
    logits = model(random_features(2)).logits
    loss = partial_asl(logits, labels, count_known(labels))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter).all() for parameter in model.learned().values())


def test_ten_thousand_classes_are_measured():
    classes = 10_000
    labels = np.array([[1, -1, 0, 1], [-1, 1, 1, 0]], np.int8).repeat(classes // 4, axis=1)
    metrics = compute_metrics(np.random.RandomState(0).random_sample(labels.shape), labels)
    assert metrics.average_precision.shape == (classes,)
    assert 0 < metrics.mean_average_precision <= 1
