"""The pipeline script of docs/ci.md, as it stands, twice on a table that grows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.prepared.folder import read_prepared
from tests import small

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The script, images with a table of them, one new image and a broken one, and a command called mlrpl."""
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "pipeline.sh").write_text(script)
    (tmp_path / "bin").mkdir()
    for name, arguments in (("mlrpl", ["-m", "mlrpl_cli"]), ("python", [])):
        shim = tmp_path / "bin" / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(arguments)} "$@"\n')
        shim.chmod(0o755)
    small.write_backbone(tmp_path / "clip.safetensors")
    (tmp_path / "new").mkdir()
    paint(tmp_path / "new" / "whole.png", 1)
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    grow(tmp_path, 60)
    return tmp_path


def paint(path: Path, seed: int) -> None:
    pixels = np.random.RandomState(seed).randint(0, 255, (small.SIZE, small.SIZE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def grow(place: Path, images: int) -> None:
    """A table of so many images, the newest first."""
    rows = [f"{n}.png,{n % 2},{n // 2 % 2}" for n in reversed(range(images))]
    for n in range(images):
        if not (place / f"{n}.png").exists():
            paint(place / f"{n}.png", n)
    (place / "labels.csv").write_text("\n".join(["image,dog,cat", *rows]))


def run(place: Path, gate: str) -> subprocess.CompletedProcess[str]:
    options = {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 2}
    environment = {
        **os.environ,
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(PAGE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "GATE": gate,
        "TRAIN_OPTIONS": " ".join(f"--set {key}={value}" for key, value in options.items()),
    }
    command = ["bash", "pipeline.sh", "labels.csv", "new"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def out(place: Path, name: str) -> dict:
    return json.loads((place / "out" / f"{name}.json").read_text())


def test_the_pipeline_can_be_run_again_and_again(place: Path) -> None:
    """With a gate that holds: the same run the second time; a new one, on the same sides, once the table has grown."""
    assert run(place, "map>=0").returncode == 0
    first, before = out(place, "train"), read_prepared(place / "prepared" / "ours")
    predicted = {Path(entry["image"]).name: entry for entry in out(place, "predictions")["result"]}
    assert "error" in predicted["broken.png"]
    assert len(predicted["whole.png"]["classes"]) == 2
    written = (place / first["run"] / "last.safetensors").stat().st_mtime_ns
    assert run(place, "map>=0").returncode == 0
    assert out(place, "train")["run"] == first["run"]
    assert (place / first["run"] / "last.safetensors").stat().st_mtime_ns == written
    grow(place, 80)
    failed = run(place, "map>=0.999")
    assert failed.returncode == 3
    assert sorted(path.name for path in (place / "out").iterdir()) == ["eval.json", "prepare.json", "train.json"]
    assert "mlrpl: required map>=0.999, got 0." in failed.stderr
    second, after = out(place, "train"), read_prepared(place / "prepared" / "ours")
    assert second["run"] != first["run"]
    sides = dict(zip(after.images, after.splits, strict=True))
    assert all(sides[image] == split for image, split in zip(before.images, before.splits, strict=True))
    assert len(after.images) == 80
    assert out(place, "eval")["images"] == after.splits.count("test")


def test_the_old_run_on_the_grown_table_is_measured_on_images_that_it_has_not_seen(place: Path) -> None:
    """Next month's table: every old test image is a test image, and none of training is among them."""
    assert run(place, "map>=0").returncode == 0
    first = out(place, "train")["run"]
    grow(place, 110)
    assert run(place, "map>=0").returncode == 0
    shim = place / "bin" / "mlrpl"
    command = [shim, "eval", "--run", first, "--data", "prepared/ours", "--workers=0", "--device=cpu", "--json"]
    done = subprocess.run(
        command, cwd=place, env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])}, capture_output=True, check=True
    )
    told, prepared = json.loads(done.stdout), read_prepared(place / "prepared" / "ours")
    assert (told["trained_on"], told["selected_on"]) == (0, 0)
    assert told["images"] == prepared.splits.count("test")
