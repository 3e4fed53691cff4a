"""What stands beside mlcpl: the benchmark's judgements, its VOC folder, and the methods of benchmarks/mlcpl_rows.

What calls mlcpl's own code is skipped where mlcpl is not installed; a stand-in shows the rest.
"""

from __future__ import annotations

import importlib
import re
import sys
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer

from benchmarks import rival_mlcpl, rival_rows, rival_voc
from benchmarks.rival_rows import Row
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import TrainConfig, make_config
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.heads.losses import Cells
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.labels.formats.published.voc import CLASSES
from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint
from mlrpl_cli.core.training.train import train
from tests import small
from tests.plugins import install

ROWS = Path(__file__).parents[1] / "benchmarks" / "mlcpl_rows"
NAMES = dict(re.findall(r'^(mlcpl-\w+) = "(\w+:\w+)"$', (ROWS / "pyproject.toml").read_text(), re.MULTILINE))
needs_mlcpl = pytest.mark.skipif(find_spec("mlcpl") is None, reason="mlcpl is not installed")


def row(ours: object, theirs: object, same: bool = True) -> Row:
    return Row("something", np.atleast_1d(ours).astype(float), np.atleast_1d(theirs).astype(float), same)


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        ([4.0, 0.0], [3.0, 0.5], 0.25),
        ([1e-4, 2e-4], [1e-4, 3e-4], 0.5),
        (0.0, 0.5, 0.5),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        (17.0, np.inf, np.inf),
    ],
)
def test_a_difference_is_a_share_of_the_largest_of_ours(ours, theirs, difference):
    assert row(ours, theirs).difference == pytest.approx(difference)
    assert row(ours, theirs).equal == (difference == 0)


def test_what_is_equal_or_not_against_expectation_is_named():
    rows = {"all": [row(1, 1), row(1, 2, same=False)], "wrong": [row(1, 2), row(1, 1, same=False)]}
    assert rival_mlcpl.surprises({"all": rows["all"]}) == []
    assert len(rival_mlcpl.surprises(rows)) == 2


def test_the_tables_of_a_page_are_replaced_and_nothing_else():
    page = f"before\n{rival_mlcpl.START}\nold\n{rival_mlcpl.END}\nafter\n"
    once = rival_mlcpl.filled(page, "new")
    assert once == page.replace("old", "new")
    assert rival_mlcpl.filled(once, "new") == once


def test_label_states_in_the_coding_of_mlcpl():
    coded = rival_rows.to_mlcpl(torch.tensor([[1, -1, 0]]))
    assert coded[0, :2].tolist() == [1, 0]
    assert coded[0, 2].isnan()


def test_the_voc_folder_has_objects_that_are_difficult_alone(tmp_path):
    """The four cells are named in the folder's own description; a car beside a difficult one is present."""
    home, column = rival_voc.write_voc(tmp_path), CLASSES.index
    difficult = [(1, column("cat")), (2, column("person")), (4, column("chair")), (4, column("sofa"))]
    assert list(zip(*np.nonzero(rival_voc.difficult_cells()), strict=True)) == difficult
    for meaning, state in {"absent": -1, "unknown": 0}.items():
        labels = rival_voc.ours(home, difficult=meaning)
        assert labels.shape == (5, 20)
        assert [labels[cell] for cell in difficult] == [state] * 4
        assert labels[3, column("car")] == 1
        assert (labels == 1).sum() == 5


def test_without_mlcpl_the_benchmark_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlcpl", None)
    with pytest.raises(typer.Exit) as stopped:
        rival_mlcpl.main(page=None)
    assert stopped.value.exit_code == 1
    assert re.fullmatch(r"mlcpl cannot be imported \(.*\); run pip install mlcpl\n", capsys.readouterr().err)


@needs_mlcpl
def test_everything_is_equal_or_differs_as_the_benchmark_expects(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"{rival_mlcpl.START}{rival_mlcpl.END}")
    rival_mlcpl.main(page=page)
    assert capsys.readouterr().out.strip() in page.read_text()


@pytest.fixture
def rows(tmp_path, monkeypatch) -> ModuleType:
    """The module of benchmarks/mlcpl_rows, its package as pip would leave it."""
    if "mlcpl-bce" not in METHODS:
        source = (ROWS / "mlcpl_rows.py").read_text(encoding="utf-8")
        install(tmp_path / "site", monkeypatch, {"mlrpl.methods": NAMES}, "mlcpl-rows", mlcpl_rows=source)
    return importlib.import_module("mlcpl_rows")


@pytest.fixture
def stand_in(monkeypatch) -> SimpleNamespace:
    """What the methods call of mlcpl, as plain forms. CFT gives each class a weight that says its column."""

    def bce(*_: object):
        def loss(logits, labels):
            known = ~labels.isnan()
            return F.binary_cross_entropy_with_logits(logits[known], labels[known])

        return loss

    def cft(heads, training_data, validation_data, **_):
        made.seen = training_data, validation_data
        for column, head in enumerate(heads):
            torch.nn.init.constant_(head.weight, column)
            torch.nn.init.constant_(head.bias, -column)
        return heads, []

    names = ("PartialBCEWithLogitLoss", "PartialNegativeBCEWithLogitLoss", "PartialAsymmetricWithLogitLoss")
    made = SimpleNamespace(
        losses=SimpleNamespace(**dict.fromkeys(names, bce)),
        cft=SimpleNamespace(CFT=cft, BP=lambda *_, **__: None),
        metrics=SimpleNamespace(PartialMultilabelAveragePrecision=lambda: None),
    )
    monkeypatch.setitem(sys.modules, "mlcpl", made)
    return made


IMAGES, WIDTH, OF = 80, 6, 3


def features() -> ImageFeatures:
    """Of images whose pooled vector shows class c as a high number c."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((IMAGES, 4, 5), (IMAGES, 4, WIDTH), (IMAGES, WIDTH), (IMAGES, 4))
    return ImageFeatures(*(torch.randn(shape, generator=generator) for shape in shapes))


def cells(given: ImageFeatures, known: float = 1.0) -> Cells:
    drawn = torch.rand(IMAGES, OF, generator=torch.Generator().manual_seed(1))
    return Cells(torch.where(given.pooled[:, :OF] > 0, 1.0, -1.0), (drawn < known).float())


def fitted(rows: ModuleType, given: ImageFeatures, of: Cells, cft: object = None, lr: float = 0.03):
    config = TrainConfig(lr=lr, epochs=8, batch_size=16)
    classifier = rows.LinearClassifier(OF, WIDTH, rows.Recipe(config, "bce", cft=cft))
    classifier.fit(classifier.describe(given), of, torch.Generator().manual_seed(2))
    return classifier


def aps(classifier: torch.nn.Module, given: ImageFeatures, of: Cells) -> np.ndarray:
    logits = classifier(given, torch.empty(OF, 0)).logits
    return average_precisions(logits.numpy(), of.targets.numpy().astype(int))


def test_a_classifier_learns_from_known_cells_alone(rows, stand_in):
    given = features()
    half = cells(given, 0.5)
    other = Cells(half.targets * (2 * half.weights - 1), half.weights)
    first, second = fitted(rows, given, half), fitted(rows, given, other)
    assert torch.equal(first.weight, second.weight)
    assert (aps(first, given, cells(given)) > 0.85).all()


def test_a_rebuilt_classifier_gives_the_same_logits_without_mlcpl(rows, stand_in, monkeypatch):
    given = features()
    classifier = fitted(rows, given, cells(given))
    monkeypatch.setitem(sys.modules, "mlcpl", None)
    again = rows.rebuild(OF, classifier.state_dict(), None)
    again.load_state_dict(classifier.state_dict())
    one, two = (each(given, torch.empty(OF, 0)) for each in (classifier, again))
    assert torch.equal(one.logits, two.logits)
    assert one.attention.shape == (IMAGES, OF, 4)


def test_cft_is_given_other_images_to_train_than_to_choose_and_its_classes_are_kept(rows, stand_in):
    given = features()
    classifier = fitted(rows, given, cells(given, 0.5), cft=rows.CftOptions(start="bce", held_out=0.25))
    (trained, labels), (held, _) = stand_in.seen
    assert (len(trained), len(held), labels.shape[1]) == (60, 20, OF)
    assert labels.isnan().any()
    assert not (trained[:, None] == held).all(dim=-1).any()
    assert classifier.weight.tolist() == [[column] * WIDTH for column in range(OF)]
    assert classifier.offset.tolist() == [0, -1, -2]


def training(place: Path, method: str, **options: object) -> list[str]:
    given = {**small.write_training(place, epochs=1), **options}
    return ["train", "--method", method, *(f"--set={name}={value}" for name, value in given.items())]


def test_without_mlcpl_a_method_of_it_says_what_to_install(rows, tmp_path, mlrpl, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlcpl", None)
    done = mlrpl(*training(tmp_path, "mlcpl-asl"))
    assert (done.code, "run pip install mlcpl" in done.err) == (1, True), done.err


def test_a_loss_of_the_run_that_takes_unknown_cells_is_refused(rows, stand_in, tmp_path, mlrpl):
    done = mlrpl(*training(tmp_path, "mlcpl-bce", loss="an"))
    assert (done.code, "got loss 'an'; choose --loss asl or bce" in done.err) == (1, True), done.err


@needs_mlcpl
@pytest.mark.parametrize("method", [*NAMES, "mlcpl-cft:by=ga,steps=3,start=asl"])
def test_each_method_trains_a_run_that_its_checkpoint_rebuilds(rows, tmp_path, mlrpl, method):
    done = mlrpl(*training(tmp_path, method))
    assert done.code == 0, done.err
    head = TrainedHead(load_checkpoint(tmp_path / "run", "last"))
    assert head.recognizer.weight.abs().sum() > 0


@needs_mlcpl
def test_each_loss_trains_another_classifier(rows, tmp_path, mlrpl):
    methods = ("mlcpl-bce", "mlcpl-asl", "mlcpl-asl:gamma_negative=4,clip=0.05", "mlcpl-an")
    weights = []
    for number, method in enumerate(methods):
        assert mlrpl(*training(tmp_path / str(number), method)).code == 0
        weights.append(TrainedHead(load_checkpoint(tmp_path / str(number) / "run", "last")).recognizer.weight)
    assert not any(torch.equal(one, two) for one, two in combinations(weights, 2))


@needs_mlcpl
def test_its_bce_trains_what_the_stand_in_trains(rows, request):
    """The stand-in is PyTorch's own BCE over known cells."""
    given = features()
    theirs = fitted(rows, given, cells(given, 0.5))
    request.getfixturevalue("stand_in")
    torch.testing.assert_close(theirs.weight, fitted(rows, given, cells(given, 0.5)).weight)


@needs_mlcpl
@pytest.mark.parametrize("by", ["bp", "ga"])
def test_cft_is_better_on_its_held_out_images_and_draws_nothing_from_the_global_seed(rows, by):
    """Beside where it began: one step at a rate of 1e-12, or one generation, which evaluates the start alone."""
    given, all_known = features(), cells(features())
    before = torch.random.get_rng_state()
    first, second, start = (
        fitted(rows, given, all_known, cft=rows.CftOptions(start="bce", by=by, lr=lr, steps=steps), lr=1e-5)
        for lr, steps in ((0.01, 20), (0.01, 20), (1e-12, 1))
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.weight, second.weight)
    held = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(2))[: IMAGES // 4]
    of_held = Cells(all_known.targets[held], all_known.weights[held])
    better, worse = (aps(each, given.map(lambda part: part[held]), of_held) for each in (first, start))
    assert (better >= worse).all()
    assert (better > worse).any()


def test_train_fits_a_row_and_counts_what_it_learns(rows, stand_in, tmp_path):
    """A weight for each of 8 numbers of the pooled vector and an offset, of each class."""
    data, backbone = small.write_prepared(tmp_path / "data"), small.write_backbone(tmp_path / "clip.safetensors")
    places = {"data": str(data), "backbone": str(backbone), "run": str(tmp_path / "run")}
    summary = train(make_config(flags={**small.OPTIONS, **places, "method": "mlcpl-bce", "epochs": 1}))
    assert summary.learned_parameters == (8 + 1) * len(small.CLASSES)
