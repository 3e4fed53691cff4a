"""The worked example of docs/extending.md, taken from the page as it stands, installed, trained and swept."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from mlrpl_cli.commands.options import _chosen_from
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.heads import losses
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.labels.formats import registry as formats
from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint
from mlrpl_cli.core.training.train import train
from tests import small
from tests.plugins import install

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
SET = [f"--set={name}={value}" for name, value in small.OPTIONS.items()] + ["--set=backbone=clip.safetensors"]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with small data, and the example as pip would leave it."""
    (name, reference), *more = re.findall(r'^(\w+) = "(\w+:\w+)"$', BLOCKS["toml"], re.MULTILINE)
    assert not more, "one line is the entry point"
    module = reference.partition(":")[0]
    install(tmp_path / "site", monkeypatch, {"mlrpl.methods": {name: reference}}, **{module: BLOCKS["python"]})
    monkeypatch.chdir(tmp_path)
    small.write_prepared(Path("prepared/small"))
    small.write_backbone(Path("clip.safetensors"))
    return tmp_path


def random_features() -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 4, 64), (4, 4, 8), (4, 8), (4, 4))
    return ImageFeatures(*(torch.randn(shape, generator=generator) for shape in shapes))


def trained(method: str) -> dict[str, torch.Tensor]:
    flags = {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 2, "method": method}
    return load_checkpoint(train(make_config(flags=flags)).run, "last").tensors


def test_a_temperature_of_one_is_sarl_to_the_bit_and_another_one_is_not(place):
    ours, one, half = map(trained, ("sarl", "tempered", "tempered:attention_temperature=0.5"))
    assert ours.keys() == one.keys() == half.keys()
    assert all(torch.equal(ours[name], one[name]) for name in ours)
    assert not all(torch.equal(ours[name], half[name]) for name in ours)


def test_the_commands_of_the_page_train_and_sweep_two_variants(place, mlrpl, sweep_here):
    training, sweeping = (shlex.split(line)[1:] for line in BLOCKS["sh"].splitlines())
    done = mlrpl(*training, *SET, "--set=epochs=1")
    assert done.code == 0, done.err
    assert Path("runs/small-tempered-attention_temperature=0.5-seed0").is_dir()
    checkpoint = load_checkpoint(Path("runs/small-tempered-attention_temperature=0.5-seed0"), "last")
    assert checkpoint.info.method_options == {"attention_temperature": 0.5}
    rebuilt, features = TrainedHead(checkpoint), random_features()
    head = rebuilt.recognizer.visual_head
    with torch.no_grad():
        expected = (head.decoupling.scores(features.grid, head.semantics) / 0.5).softmax(dim=1).transpose(1, 2)
        torch.testing.assert_close(rebuilt(features).attention, expected)
        assert not torch.allclose(rebuilt(features).attention, head.decoupling(features.grid, head.semantics))

    done = mlrpl(*sweeping, *SET, "--set=epochs=1", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    assert [(row["variant"], row["method"], row["method_options"]["attention_temperature"]) for row in rows] == [
        ("tempered:attention_temperature=0.5", "tempered", 0.5),
        ("warm", "tempered", 2.0),
    ]
    page = Path("sweeps/small/report/comparison.md").read_text()
    assert all(f"| `{row['variant']}` | {100 * row['map']:.1f} |" in page for row in rows)


def test_an_option_that_the_method_lacks_or_a_value_out_of_range_is_told_before_anything_is_trained(place, mlrpl):
    for method, told in {
        "tempered:temperature=2": "unknown option 'temperature'; did you mean 'attention_temperature'?",
        "tempered:attention_temperature=0": "attention_temperature: expected a number from 0.01 to 100, got 0",
        "sarl:attention_temperature=2": "method sarl has no options, got attention_temperature; leave them out",
        "tempered:": "method: expected NAME or NAME:option=value,option=value, got '' in 'tempered:'",
    }.items():
        done = mlrpl("train", "--method", method, *SET)
        assert (done.code, told in done.err) == (1, True), done.err
    assert not Path("runs").exists()


def test_help_lists_the_methods_of_packages_without_importing_them(place):
    """In this process the command was imported before the package came; the registry is what it asks."""
    assert "tempered" in _chosen_from({"type": "string"}, METHODS)["anyOf"][0]["enum"]
    assert "tempered" not in sys.modules


OTHERS = '''
import torch.nn.functional as F
from safetensors.torch import load_file
from mlrpl_cli.core.labels.formats.tabular.table import Table

class TheirTable(Table):
    """A table whose file is called so."""
    @classmethod
    def recognise(cls, root):
        return "it ends in .theirs" if str(root).endswith(".theirs") else None

def absent_everywhere(logits, labels, cells, entropy_weight):
    return entropy_weight * F.softplus(logits).sum() / cells

def a_clip():
    return load_file("clip.safetensors")

def broken():
    raise OSError("no network")
'''
GROUPS = {
    "mlrpl.losses": {"absent": "others:absent_everywhere", "odd": "others:a_clip"},
    "mlrpl.formats": {"theirs": "others:TheirTable"},
    "mlrpl.backbones": {"their-clip": "others:a_clip", "their-broken": "others:broken", "tiny": "others:a_clip"},
}


@pytest.fixture
def others(place, tmp_path, monkeypatch) -> None:
    install(tmp_path / "more", monkeypatch, GROUPS, "others", others=OTHERS)


def test_a_loss_and_a_backbone_of_another_package_train_a_run_that_evaluates(others, mlrpl):
    settings = [*SET[:-1], "--set=epochs=1", "--set=backbone=their-clip", "--loss=absent", "--method=sarl", "--run=run"]
    done = mlrpl("train", *settings, "--set=entropy_weight=0.5")
    assert done.code == 0, done.err
    assert load_checkpoint(Path("run"), "last").info.backbone == "their-clip"
    assert mlrpl("eval", "--run", "run", "--workers=0").code == 0


def test_a_loss_is_divided_by_the_cells_that_its_third_parameter_names(others):
    config = make_config(flags={"loss": "absent", "entropy_weight": 0.5})
    labels, logits = torch.tensor([[1, 0, -1]]), torch.zeros(1, 3)
    loss = losses.make_loss(config)(logits, labels, losses.make_count(config)(labels))
    assert float(loss) == pytest.approx(0.5 * math.log(2))
    assert losses.takes_unknown(config)


def test_a_format_of_another_package_is_recognised(others):
    assert formats.recognise(Path("labels.theirs")) == ("theirs", "it ends in .theirs")


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--loss=odd", "loss 'odd': expected a function of logits, labels and one of known, cells, got ()"),
        ("--backbone=their-broken", "backbone 'their-broken' of others 1.5 cannot be loaded: OSError: no network"),
        ("--backbone=tiny", "backbone 'tiny' is claimed by mlrpl, others 1.5; uninstall all but one"),
    ],
)
def test_what_is_wrong_with_another_package_is_one_line_that_names_it(others, mlrpl, flag, told):
    done = mlrpl("train", *SET[:-1], flag)
    assert (done.code, told in done.err) == (1, True), done.err
