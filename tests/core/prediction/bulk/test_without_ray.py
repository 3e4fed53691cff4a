"""What the plain install does of `--engine ray`, and that it does without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.training.train import train
from tests import small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(make_config(flags=small.write_training(tmp_path_factory.mktemp("trained"), epochs=1))).run


def test_without_ray_one_line_says_what_to_install_and_nothing_is_predicted(mlrpl, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    images = run.parent / "prepared" / "images"
    done = mlrpl("predict", "--engine", "ray", images, "--run", run, "--out", tmp_path / "out")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "mlrpl: error: --engine ray needs Ray; pip install 'mlrpl[ray]'"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--device", "cpu"], "there is no file or folder nowhere; give images"),
        (["nowhere", "--device", "cuda"], "device cuda: this PyTorch sees no CUDA device; use --device cpu"),
        (["nowhere", "--ray-address", "127.0.0.1:1"], "cannot connect to Ray at 127.0.0.1:1: "),
        (["nowhere", "--out", "file"], "cannot write file"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_listed_and_leaves_no_folder(
    mlrpl, run, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    done = mlrpl("predict", "--engine", "ray", "--run", run, "--out", "a/out", *arguments)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"mlrpl: error: {sentence}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_plain_predict_imports_neither_ray_nor_what_reads_parquet(run):
    """A process of its own."""
    image = run.parent / "prepared" / "images" / "000.png"
    code = f"""
import sys
from mlrpl_cli.app import main
try:
    main(["predict", {str(image)!r}, "--run", {str(run)!r}, "--device", "cpu", "--format", "csv"])
except SystemExit as ended:
    assert not ended.code
print([name for name in ("ray", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


ENGINE = ("--engine", "ray", "--out", "x")
ALONE = "is for --engine ray, which is not given; add that, or leave this out"
ALL = "--engine ray writes the probabilities of all classes"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x"], f"--out {ALONE}"),
        (["--maps"], f"--maps {ALONE}"),
        (["--ray-workers", 2], f"--ray-workers {ALONE}"),
        (["--engine", "ray"], "--engine ray writes Parquet files, and --out does not say where; add --out FOLDER"),
        ([*ENGINE, "--json"], "--engine ray writes Parquet files to --out; leave --format and --json out"),
        ([*ENGINE, "--top-k", 2], f"{ALL}; leave --top-k out"),
        ([*ENGINE, "--classes", "a"], f"{ALL}; leave --classes out"),
        (["--engine", "dask"], "engine: expected one of ray, got 'dask'"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(mlrpl, arguments, sentence):
    done = mlrpl("predict", "images", *arguments)
    assert done.code == 1
    assert done.err == f"mlrpl: error: {sentence}\n"
