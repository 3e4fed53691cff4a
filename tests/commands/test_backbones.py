"""`mlrpl backbones` as a user types it."""

from __future__ import annotations

import json

import pytest

from mlrpl_cli.core.backbones.listing import list_backbones
from mlrpl_cli.core.backbones.open_clip import hub
from mlrpl_cli.core.backbones.open_clip.library import open_clip


@pytest.fixture(autouse=True)
def _nothing_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_what_is_there_is_listed_with_its_sizes(mlrpl):
    told = json.loads(mlrpl("backbones", "--json").out)["result"]
    tiny, *others = told["backbones"]
    assert (tiny["name"], tiny["grid"], tiny["channels"], tiny["embed_dim"], tiny["downloaded"]) == (
        "tiny",
        8,
        512,
        256,
        True,
    )
    assert "RN101" in [entry["name"] for entry in others]
    assert told["more"]
    assert told["problems"] == []


def test_a_part_of_a_name_finds_what_open_clip_knows(mlrpl):
    """Described without weights and without the network."""
    outcome = mlrpl("backbones", "--find", "b-16-siglip2-384")
    assert "ViT-B-16-SigLIP2-384:webli" in outcome.out
    (entry,) = json.loads(mlrpl("backbones", "--find", "B-16-SigLIP2-384", "--json").out)["result"]["backbones"]
    assert (entry["grid"], entry["image_size"], entry["channels"], entry["embed_dim"]) == (24, 384, 768, 768)
    assert (entry["pretraining"], entry["downloaded"], entry["licence"]) == ("webli", False, None)


def test_a_name_that_nothing_has_says_so(mlrpl):
    assert "no backbone's name holds 'swin9'" in mlrpl("backbones", "--find", "swin9").out


def test_what_was_fetched_is_listed_by_default(tmp_path):
    """A folder as the hub's client leaves it; the licence is that of the model card."""
    commit, kept = "0" * 40, tmp_path / "models--timm--ViT-B-16-SigLIP2"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    snapshot = kept / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / open_clip().constants.HF_SAFE_WEIGHTS_NAME).write_bytes(b"")
    (snapshot / hub.CARD).write_text("---\nlicense: apache-2.0\n---\n")
    (found,) = [entry for entry in list_backbones().backbones if entry.family == "open_clip"]
    assert (found.name, found.downloaded, found.licence) == ("ViT-B-16-SigLIP2:webli", True, "apache-2.0")
