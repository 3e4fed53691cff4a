"""Files from strangers: none of them runs code, and none of their names steers a terminal, a page or a spreadsheet."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from mlrpl_cli.app import main
from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.features.cache import CACHE
from mlrpl_cli.core.prepared.folder import FULL, MANIFEST
from mlrpl_cli.core.runs.folder import checkpoint_path
from mlrpl_cli.core.sweep.results import RESULTS, SCORES, Results
from tests import small

PACKAGE = Path(__file__).parents[2] / "mlrpl_cli"
TRAIN = (
    "train", "--data=data", "--backbone=clip.safetensors", f"--image-size={small.SIZE}", "--batch-size=8",
    "--epochs=1", "--workers=0", "--device=cpu", "--set=attention_width=8",
)  # fmt: skip
SWEEP = (
    "sweep", "--methods=linear", "--keep=0.7", "--seeds=0", "--no-tune", "--out=out", "--data=data",
    "--set=backbone=clip.safetensors", f"--set=image_size={small.SIZE}", "--set=epochs=1", "--set=workers=0",
)  # fmt: skip


class Payload:
    """What unpickling it would do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that any payload of this page would make."""
    return tmp_path / "it-ran"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, a backbone, a trained run and a sweep."""
    folder = tmp_path_factory.mktemp("original")
    small.write_prepared(folder / "data")
    small.write_backbone(folder / "clip.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in ((*TRAIN, "--run=run"), SWEEP):
            with pytest.raises(SystemExit) as ended:
                main(list(command))
            assert not ended.value.code
    return folder


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a copy of the original."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pickles(marker: Path) -> dict[str, bytes]:
    """One payload in every file format that can carry it."""
    saved, legacy, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"visual.conv1.weight": Payload(marker)}, saved)
    torch.save({"weight": Payload(marker)}, legacy, _use_new_zipfile_serialization=False)
    np.save(array, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    plain = pickle.dumps(Payload(marker))
    return {"pickle": plain, "torch": saved.getvalue(), "old torch": legacy.getvalue(), "numpy": array.getvalue()}


KINDS = ("pickle", "torch", "old torch", "numpy")
CLOSED = ("a pickle that needs", "not a readable checkpoint")
"""What is said of a pickle with code, and of a file that is none for its reader."""


def refused(outcome, *parts: str) -> bool:
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("mlrpl:")]
    return outcome.code == 1 and line.startswith("mlrpl: error: ") and all(part in line for part in parts)


def test_the_payload_runs_where_it_is_let(marker: Path) -> None:
    """Otherwise this page would show nothing."""
    pickle.loads(pickles(marker)["pickle"])
    assert marker.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors", "pkl"])
def test_a_backbone_that_would_run_code_is_refused(kind, suffix, place, marker, mlrpl) -> None:
    (place / f"evil.{suffix}").write_bytes(pickles(marker)[kind])
    train = [argument.replace("clip.safetensors", f"evil.{suffix}") for argument in TRAIN]
    outcome = mlrpl(*train)
    closed, broken = (refused(outcome, f"evil.{suffix} is {told}") for told in CLOSED)
    assert closed or broken
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_a_cache_and_scores_that_would_run_code_are_refused_or_made_again(kind, place, marker, mlrpl) -> None:
    evil = pickles(marker)[kind]
    for shard in (place / CACHE).rglob("*.safetensors"):
        shard.write_bytes(evil)
    outcome = mlrpl(*TRAIN, "--run=again")
    assert outcome.code == 0
    assert "damaged" in outcome.err
    for which, command in ((BEST, "predict data/images/000.png"), (BEST, "eval"), (LAST, "train --resume")):
        checkpoint_path(place / "run", which).write_bytes(evil)
        assert refused(mlrpl(*command.split(), "--run=run"), "is damaged")
    key = json.loads((place / "out" / RESULTS).read_text())["key"]
    (place / "out" / SCORES / f"{key}.safetensors").write_bytes(evil)
    assert Results(place / "out" / RESULTS).without_scores == [key]
    (place / "run" / "config.yaml").write_text(f"data: !!python/object/apply:os.system ['touch {marker}']\n")
    assert refused(mlrpl("train", "--resume", "--run=run"), "cannot read the configuration")
    assert not marker.exists()


def test_labels_that_would_run_code_are_refused_even_with_the_right_checksum(place, marker, mlrpl) -> None:
    evil = pickles(marker)["numpy"]
    (place / "data" / FULL).write_bytes(evil)
    content = json.loads((place / "data" / MANIFEST).read_text())
    content["sha256"][FULL] = hashlib.sha256(evil).hexdigest()
    (place / "data" / MANIFEST).write_text(json.dumps(content))
    assert refused(mlrpl(*TRAIN, "--run=again"), "data is damaged")
    assert not marker.exists()


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_nothing_in_the_package_can_run_what_it_reads() -> None:
    """No unpickling, no eval, no shell; the loaders that could are called in the form that cannot."""
    unsafe = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
    needed = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & {"pickle", "marshal", "shelve", "dill", "subprocess"}, path
        for name, call in calls(tree):
            given = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
            assert name not in unsafe, path
            assert not given.get("shell"), path
            if name in needed:
                assert given.get(needed[name][0]) is needed[name][1], path


# Names that a data set's publisher chose

NAMES = (
    "=cmd|' /C calc'!A0", "@SUM(1+1)", "\x1b[2J\x1b]0;owned\x07red",
    "<script>alert(1)</script>", "$x^{2$ | `a`", "é中\u202e",
)  # fmt: skip


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table whose classes and images are called what would do harm somewhere."""
    monkeypatch.chdir(tmp_path)
    small.write_backbone(tmp_path / "clip.safetensors")
    pixels = np.random.RandomState(0).randint(0, 256, (30, small.SIZE, small.SIZE, 3), dtype=np.uint8)
    images = [f"{name.replace('/', '_')[:40]}-{number}.png" for number, name in enumerate(NAMES * 5)]
    for image, picture in zip(images, pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / image)
    cells = [["yes" if (number + column) % 2 else "no" for column in range(6)] for number in range(30)]
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [["image", *NAMES], *([image, *row] for image, row in zip(images, cells, strict=True))]
        )
    return tmp_path


def test_names_that_would_steer_a_terminal_or_a_spreadsheet_come_out_as_text(strange, mlrpl) -> None:
    backbone = ("--backbone=clip.safetensors", f"--image-size={small.SIZE}", "--batch-size=8", "--epochs=1")
    told = [
        mlrpl("prepare", "--dataset=table", "--root=labels.csv", "--keep=0.8", "--out=data"),
        mlrpl("train", "--data=data", *backbone, "--workers=0", "--set=attention_width=8", "--run=run"),
        mlrpl("eval", "--run=run", "--workers=0", "--csv=figures.csv"),
        mlrpl("eval", "--run=run", "--workers=0", "--json"),
        mlrpl("visualize", "--run=run", "--workers=0"),
        *(mlrpl("predict", ".", "--run=run", f"--format={form}") for form in ("table", "json", "jsonl", "csv")),
        mlrpl("predict", ".", "--run=run", "--classes=nothing\x1b[31m"),
        mlrpl("prepare", "--dataset=table", "--root=labels.csv", "--classes=@SUM", "--out=other"),
    ]
    assert [outcome.code for outcome in told] == [0] * 9 + [1, 1]
    for outcome in told:
        assert all(character.isprintable() or character == "\n" for character in outcome.out + outcome.err)
        assert "Traceback" not in outcome.err
    for text in ((strange / "figures.csv").read_text(encoding="utf-8"), told[8].out):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [entry["class"] for entry in json.loads(told[3].out)["classes"]] == list(NAMES)


def test_a_sweeps_report_shows_such_names_as_text(strange, mlrpl, sweep_here) -> None:
    assert mlrpl("prepare", "--dataset=table", "--root=labels.csv", "--keep=1", "--out=data").code == 0
    settings = {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 1}
    options = [*(f"--set={key}={value}" for key, value in settings.items()), "--no-tune", "--seeds=0", "--keep=0.8"]
    outcome = mlrpl("sweep", "--data=data", "--methods=baseline,sarl", *options, "--out=out")
    assert (outcome.code, "Traceback" in outcome.err) == (0, False)
    report = strange / "out/report"
    texts = [path.read_text(encoding="utf-8") for path in report.iterdir() if path.suffix in (".md", ".csv")]
    assert len(texts) == 2
    for text in (*texts, outcome.out, outcome.err):
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "<script" not in text
    drawn = {path.stem: ElementTree.parse(path).getroot() for path in report.glob("*.svg")}
    assert drawn.keys() == {"map-against-proportion", "per-class-ap"}
    for root in drawn.values():
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "text" in kinds or "path" in kinds
        assert not kinds & {"script", "foreignObject", "a", "image"}
        assert not [name for element in root.iter() for name in element.attrib if name.lower().startswith("on")]


def test_commands_that_are_offered_to_be_typed_quote_what_they_name(place, mlrpl) -> None:
    name = "a b; touch it-ran"
    train = mlrpl(*TRAIN, f"--run={name}")
    assert f"next: mlrpl eval --run '{name}'" in train.err
    prepare = mlrpl("prepare", "--train-images=4", "--test-images=2", f"--out={name}-data")
    assert f"next: mlrpl train --data '{name}-data'" in prepare.out
