"""The family of docs/extending-backbones.md as it stands on the page: installed, trained and predicted with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.registry import load_backbone
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from tests import small
from tests.plugins import install

PAGE = Path(__file__).parents[1] / "docs" / "extending-backbones.md"
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with small data, and the family as pip would leave it."""
    (group,) = re.findall(r'^\[project.entry-points."([\w.]+)"\]$', BLOCKS["toml"], re.MULTILINE)
    (name, reference) = re.findall(r'^(\w+) = "(\w+:\w+)"$', BLOCKS["toml"], re.MULTILINE)[0]
    module = reference.partition(":")[0]
    install(tmp_path / "site", monkeypatch, {group: {name: reference}}, **{module: BLOCKS["python"]})
    monkeypatch.chdir(tmp_path)
    small.write_prepared(Path("prepared/small"))
    return tmp_path


def test_the_commands_of_the_page_train_and_predict_with_the_family(place, mlrpl):
    training, predicting = (shlex.split(line)[1:] for line in BLOCKS["sh"].splitlines())
    done = mlrpl(*training, "--workers", "0", "--device", "cpu")
    assert done.code == 0, done.err
    (run,) = Path("runs").iterdir()
    info, backbone = load_checkpoint(run, "last").info, load_backbone(BackboneOptions("colours"))
    assert (info.backbone, info.image_size, info.fingerprint) == ("colours", 64, backbone.fingerprint)
    done = mlrpl("eval", "--run", str(run))
    assert done.code == 0, done.err
    done = mlrpl(*predicting, "--format", "jsonl")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 36


def test_a_prompt_learns_through_its_text_tower_up_to_its_end(place):
    backbone = load_backbone(BackboneOptions("colours"))
    tower = backbone.text_tower()
    ids, end = pad_tokens(backbone.tokenizer(["dog", "horse"]))
    embeddings = tower.embed(ids).requires_grad_()
    tower(embeddings, end).sum().backward()
    reached = (embeddings.grad != 0).all(dim=2)
    assert reached.tolist() == [[True] * 5 + [False] * 2, [True] * 7]


def test_an_image_size_that_the_rule_has_not_is_refused_before_anything_is_loaded(place, mlrpl):
    done = mlrpl("train", "--backbone", "colours", "--image-size", "70")
    assert (done.code, "expected a multiple of this backbone's stride 32, got 70; take 64 or 96" in done.err) == (
        1,
        True,
    )
