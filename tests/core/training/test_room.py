"""A run whose features do not fit: it keeps less of them, says so, and goes on with what it has begun with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlrpl_cli.core.config import FLOAT16, UINT8, make_config
from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.runs.checkpoint import load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.options import resume_config
from mlrpl_cli.core.training.train import train
from tests import small
from tests.core.features.test_fitting import gib

ROOM = gib(1, UINT8)
"""What one of two views in 8 bits needs, in GiB."""


@pytest.fixture
def flags(tmp_path) -> dict:
    """Three epochs of three steps on 24 training images of 4×4 positions."""
    flags = small.write_training(tmp_path, epochs=3)
    return {**flags, "image_size": 128, "method": "linear", "cache": str(tmp_path / "cache")}


def kept(run: Path | str) -> tuple[int, str | None]:
    config = load_config(Path(run))
    return config.views, config.cache_dtype


def weights(run: Path | str) -> dict[str, torch.Tensor]:
    return load_checkpoint(Path(run), "last").tensors


def assert_same_bits(left: Path | str, right: Path | str) -> None:
    one, other = weights(left), weights(right)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_run_that_fits_keeps_what_it_asks_for_and_says_nothing(flags):
    heard = small.Heard()
    train(make_config(flags=flags), heard)
    assert kept(flags["run"]) == (2, FLOAT16)
    assert load_checkpoint(Path(flags["run"])).info.views_asked is None
    assert not [text for text in heard.warnings if "cache_gib" in text]


def test_what_was_taken_is_said_once_recorded_and_the_same_as_if_it_had_been_asked_for(flags, tmp_path):
    heard = small.Heard()
    train(make_config(flags={**flags, "cache_gib": ROOM}), heard)
    (said,) = (text for text in heard.warnings if "cache_gib" in text)
    assert "keeping 1 view of each training image in uint8" in said
    assert kept(flags["run"]) == (1, UINT8)
    assert load_checkpoint(Path(flags["run"])).info.views_asked == 2
    asked = {**flags, "views": 1, "cache_dtype": UINT8, "run": str(tmp_path / "asked")}
    train(make_config(flags=asked))
    assert_same_bits(flags["run"], asked["run"])


def test_where_nothing_fits_images_are_encoded_anew(flags, tmp_path):
    heard = small.Heard()
    train(make_config(flags={**flags, "cache_gib": 0}), heard)
    assert [text for text in heard.warnings if ": encoding anew every epoch; " in text]
    assert kept(flags["run"]) == (0, FLOAT16)
    train(make_config(flags={**flags, "views": 0, "run": str(tmp_path / "asked")}))
    assert_same_bits(flags["run"], tmp_path / "asked")


def test_a_format_that_is_asked_for_stays(flags):
    train(make_config(flags={**flags, "cache_dtype": FLOAT16, "cache_gib": gib(2, UINT8)}))
    assert kept(flags["run"]) == (1, FLOAT16)


@pytest.mark.parametrize("again", ["--resume", "the same command", "the same command with more room"])
def test_a_run_goes_on_with_its_views_whatever_room_there_is_then(flags, tmp_path, monkeypatch, again):
    """It is stopped when the disk has room for one view in 8 bits, and goes on when there is plenty."""
    whole = {**flags, "views": 1, "cache_dtype": UINT8, "run": str(tmp_path / "whole")}
    with monkeypatch.context() as full:
        full.setattr(files, "free_bytes", lambda folder: round(ROOM * 2**30))
        assert train(make_config(flags=flags), small.StopAt(5)).epochs_done == 1
    assert kept(flags["run"]) == (1, UINT8)
    if again == "--resume":
        train(resume_config(Path(flags["run"]), None, {}), resume=True)
    else:
        room = {"cache_gib": 100.0} if again.endswith("room") else {}
        train(make_config(flags={**flags, **room}))
    train(make_config(flags=whole))
    assert_same_bits(flags["run"], whole["run"])


def test_the_views_of_a_run_are_asked_for_by_either_number_and_by_no_other(flags):
    train(make_config(flags={**flags, "cache_gib": ROOM}))
    for views in (1, 2):
        assert train(make_config(flags={**flags, "cache_gib": ROOM, "views": views})).epochs_done == 3
    with pytest.raises(RunError, match="holds another run: views was 1, not 3; --fresh"):
        train(make_config(flags={**flags, "views": 3}))
    with pytest.raises(RunError, match="holds another run: cache_dtype was 'uint8', not 'float16'; --fresh"):
        train(make_config(flags={**flags, "cache_dtype": FLOAT16}))


def test_a_run_of_before_this_that_kept_none_goes_on_without(flags, tmp_path):
    """Its configuration names two views, which need more than its cache_gib: images were encoded anew."""
    train(make_config(flags={**flags, "cache_gib": 0}), small.StopAt(5))
    path = Path(flags["run"]) / "config.yaml"
    path.write_text(path.read_text().replace("views: 0", "views: 2"))
    last = load_checkpoint(Path(flags["run"]), "last")
    old = {"views_asked": None, "format": 8}
    save_checkpoint(replace(last, info=replace(last.info, **old)), Path(flags["run"]) / "last.safetensors")
    heard = small.Heard()
    train(resume_config(Path(flags["run"]), None, {}), heard, resume=True)
    assert [text for text in heard.warnings if ": encoding anew every epoch; " in text]
    assert kept(flags["run"])[0] == 0
    train(make_config(flags={**flags, "views": 0, "run": str(tmp_path / "whole")}))
    assert_same_bits(flags["run"], tmp_path / "whole")


def test_views_that_each_of_two_machines_had_room_for_stay_on_one(flags, tmp_path):
    """cache_gib is a machine's, and is not judged again: here one alone would need more than it allows."""
    train(make_config(flags=flags), small.StopAt(5))
    path = Path(flags["run"]) / "config.yaml"
    path.write_text(path.read_text().replace("cache_gib: 64.0", f"cache_gib: {ROOM}"))
    train(resume_config(Path(flags["run"]), None, {}), resume=True)
    assert kept(flags["run"]) == (2, FLOAT16)
    train(make_config(flags={**flags, "run": str(tmp_path / "whole")}))
    assert_same_bits(flags["run"], tmp_path / "whole")


def test_the_first_command_holds_after_a_resume_of_a_run_that_was_stopped_while_it_encoded(flags):
    tight = {**flags, "cache_gib": ROOM}
    with pytest.raises(KeyboardInterrupt):
        train(make_config(flags=tight), small.StopAt(0, "encoding"))
    assert kept(flags["run"]) == (1, UINT8)
    train(resume_config(Path(flags["run"]), None, {}), resume=True)
    assert kept(flags["run"]) == (1, UINT8)
    assert load_checkpoint(Path(flags["run"])).info.views_asked == 2
    assert train(make_config(flags=tight)).epochs_done == 3
    assert not (Path(flags["run"]) / "asked.json").exists()
