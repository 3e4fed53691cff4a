"""The wheel that `make wheel` builds holds all that the commands need: it runs without the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mlrpl_cli import __version__

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")


def pip(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the clone, with the setuptools that is installed."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "mlrpl_cli", folder / "mlrpl_cli", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    pip("wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder / "dist", folder)
    (built,) = (folder / "dist").iterdir()
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("mlrpl_cli/")}
    files = (path for path in (ROOT / "mlrpl_cli").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert held == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"mlrpl_cli/py.typed", "mlrpl_cli/assets/tiny.safetensors"} <= held


def test_the_installed_wheel_runs_without_the_clone(wheel: Path, tmp_path: Path) -> None:
    """The command itself, as pip writes it."""
    pip("install", *OFFLINE, "--target", tmp_path / "site", wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    outputs = []
    for arguments in (["--version"], ["prepare", "--help"]):
        command = [sys.executable, tmp_path / "site" / "bin" / "mlrpl", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert __version__ in outputs[0]
    assert "--dataset" in outputs[1]
    where = "import mlrpl_cli; print(mlrpl_cli.__file__)"
    done = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
