"""train, eval, predict and visualize as a user types them."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.app import main
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.schema import expected, fields_of
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from tests import small


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with prepared data, a backbone and a trained run, made by the command line."""
    folder = tmp_path_factory.mktemp("place")
    small.write_prepared(folder / "prepared" / "small")
    small.write_backbone(folder / "clip.safetensors")
    command = [sys.executable, "-m", "mlrpl_cli", "train", *OPTIONS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (folder / "train.out").write_text(done.stdout)
    (folder / "train.err").write_text(done.stderr)
    return folder


OPTIONS = [
    "--backbone=clip.safetensors",
    f"--image-size={small.SIZE}",
    "--batch-size=8",
    "--epochs=2",
    "--workers=0",
    "--device=cpu",
    "--set=attention_width=8",
]
TEXTS = [name for name, field in fields_of(TrainConfig).items() if expected(field) == "text"]
RUN = Path("runs/small-sarl-anchored-seed0")


@pytest.fixture(autouse=True)
def _inside(place, monkeypatch) -> None:
    monkeypatch.chdir(place)


def test_train_without_data_takes_the_newest_and_says_which(place):
    assert "training sarl-anchored on prepared/small" in (place / "train.err").read_text().replace(str(place) + "/", "")
    assert "epoch 2/2: loss" in (place / "train.err").read_text()
    assert f"Trained: {RUN}" in (place / "train.out").read_text()
    assert sorted(path.name for path in (place / RUN).iterdir()) == [
        "best.safetensors",
        "config.yaml",
        "decisions.json",
        "held_out.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "tensorboard",
    ]


def test_train_offers_eval_only_where_there_is_a_test_image(place, mlrpl, tmp_path):
    assert f"next: mlrpl eval --run {RUN}" in (place / "train.err").read_text()
    prepared = read_prepared(small.write_prepared(tmp_path / "data"))
    splits = ["train" if split == "test" else split for split in prepared.splits]
    write_manifest(prepared.folder, replace(prepared, splits=tuple(splits)))
    run = tmp_path / "run"
    told = mlrpl("train", *OPTIONS, f"--data={prepared.folder}", f"--run={run}").err
    assert f"next: mlrpl predict IMAGES --run {run}" in told
    assert "mlrpl eval --run" not in told


def test_eval_prints_the_figures_of_the_protocol(mlrpl):
    done = mlrpl("eval", "--workers", 0)
    assert done.code == 0
    for figure in ("mAP (all-point): ", "OF1", "CF1 (of CP, CR)", "CF1 (mean of F1)", "p > 0.5", "top 3", "red thing"):
        assert figure in done.out


def test_eval_json_and_csv_agree(mlrpl, tmp_path):
    figures = json.loads(mlrpl("eval", "--workers", 0, "--json", "--csv", tmp_path / "ap.csv").out)
    rows = list(csv.DictReader((tmp_path / "ap.csv").open()))
    assert [row["class"] for row in rows] == [entry["class"] for entry in figures["classes"]]
    aps = [float(row["average_precision"]) for row in rows]
    assert np.mean(aps) == pytest.approx(figures["map"])
    for name in ("positives", "negatives"):
        assert [int(row[name]) for row in rows] == [entry[name] for entry in figures["classes"]]


def test_eval_names_the_classes_that_no_figure_counts_and_why(mlrpl, tmp_path):
    """Of the test images nothing is known to be absent of the first class, and nothing to be present of the last."""
    folder = shutil.copytree("prepared/small", tmp_path / "edited")
    prepared = read_prepared(folder)
    test = prepared.rows("test")
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[test[:, None], [[0, 2]]] = [1, -1]
        labels[test[:2], 1] = [1, -1]
    write_manifest(folder, replace(prepared, image_root=folder))
    figures = json.loads(mlrpl("eval", "--workers", 0, "--data", folder, "--json").out)
    assert figures["left_out"] == ["red thing", "blue thing"]
    assert (figures["without_absent"], figures["without_present"]) == (["red thing"], ["blue thing"])
    assert [entry["ap"] is None for entry in figures["classes"]] == [True, False, True]
    assert [entry["negatives"] for entry in figures["classes"]][::2] == [0, len(test)]
    assert figures["map"] == figures["classes"][1]["ap"]
    said = mlrpl("eval", "--workers", 0, "--data", folder).out
    cells = [line.split("│")[1:-1] for line in said.splitlines() if " thing" in line and "│" in line]
    assert [(int(present), int(absent)) for _, present, absent, _ in cells] == [
        (entry["positives"], entry["negatives"]) for entry in figures["classes"]
    ]
    assert "left out of every figure, without a positive: 1 of 3 classes: blue thing" in said
    assert "left out of every figure, without a known absent cell: 1 of 3 classes: red thing" in said


def test_eval_exits_with_3_after_all_its_output_when_a_requirement_fails(mlrpl, tmp_path):
    gates = ("--require", "map>=0", "--require", "ap[red thing]>1", "--require", "op<0")
    done = mlrpl("eval", "--workers", 0, "--csv", tmp_path / "ap.csv", *gates)
    assert done.code == 3
    assert "mAP (all-point): " in done.out
    assert (tmp_path / "ap.csv").is_file()
    failed = [line for line in done.err.splitlines() if line.startswith("mlrpl: required ")]
    assert [line.split(", got")[0] for line in failed] == ["mlrpl: required ap[red thing]>1", "mlrpl: required op<0"]
    done = mlrpl("eval", "--workers", 0, "--json", *gates)
    assert done.code == 3
    told = json.loads(done.out)["requirements"]
    assert [(judged["requirement"], judged["met"]) for judged in told] == [
        ("map>=0", True),
        ("ap[red thing]>1", False),
        ("op<0", False),
    ]
    assert mlrpl("eval", "--workers", 0, "--require", "map>=0").code == 0


def test_a_class_that_could_not_be_learned_is_marked_wherever_a_number_for_it_stands(mlrpl, tmp_path):
    """In the summary of train, the table, JSON and CSV of eval, all forms of predict, and what export-labels says."""
    data = small.write_prepared(tmp_path / "prepared")
    small.without_cells(data, blue_present=True)
    run = tmp_path / "run"
    done = mlrpl("train", *OPTIONS, "--data", data, "--run", run)
    assert re.search(r"cannot be learned: 1 of 3 classes +│ blue thing ", done.out)
    done = mlrpl("eval", "--run", run, "--workers", 0, "--csv", tmp_path / "ap.csv")
    told = "* could not be learned, for want of a known present or absent training cell"
    assert "│ blue thing * │" in done.out
    assert "│ red thing    │" in done.out
    assert f"{told}: 1 of 3 classes: blue thing" in done.out
    assert re.search(r"mAP \(all-point\): [\d.]+; of the classes that could be learned: [\d.]+", done.out)
    with (tmp_path / "ap.csv").open(newline="") as stream:
        assert [row["learnable"] for row in csv.DictReader(stream)] == ["true", "true", "false"]
    figures = json.loads(mlrpl("eval", "--run", run, "--workers", 0, "--json").out)
    assert [entry["learnable"] for entry in figures["classes"]] == [True, True, False]
    assert figures["not_learnable"] == ["blue thing"]
    image = data / "images/000.png"
    done = mlrpl("predict", image, "--run", run)
    assert "blue thing * 0." in done.out
    assert done.out.splitlines()[-1] == told
    for output in ("json", "jsonl"):
        done = mlrpl("predict", image, "--run", run, "--format", output)
        record = json.loads(done.out)[0] if output == "json" else json.loads(done.out)
        assert {entry["class"]: entry["learnable"] for entry in record["classes"]} == {
            "red thing": True,
            "green thing": True,
            "blue thing": False,
        }
    rows = csv.DictReader(io.StringIO(mlrpl("predict", image, "--run", run, "--format", "csv").out))
    assert {row["class"]: row["learnable"] for row in rows}["blue thing"] == "false"
    options = ("export-labels", "--run", run, "--format", "long", "--out")
    done = mlrpl(*options, tmp_path / "told.csv")
    assert (
        "cells say nothing of classes that the run could not learn, 1 of 3 classes: blue thing" in done.out.splitlines()
    )
    assert json.loads(mlrpl(*options, tmp_path / "json.csv", "--json").out)["not_learnable"] == ["blue thing"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--require", "map>=60"], "--require: expected a share from 0 to 1 (0.6, not 60) in 'map>=60', got '60'"),
        (["--require", "mpa>=0.6"], "--require: no figure is called 'mpa'; known: map, map_learnable, "),
        (["--split", "tests"], "split: expected one of train, validation, test, got 'tests'"),
        (["--ap", "12-point"], "ap: expected one of all-point, interpolated, 11-point, got '12-point'"),
        (["--run", "nowhere"], "nowhere has no best.safetensors: expected a run folder that `mlrpl train` wrote"),
    ],
)
def test_eval_answers_a_wrong_option_in_one_line(mlrpl, arguments, sentence):
    done = mlrpl("eval", *arguments)
    assert done.code == 1
    assert done.err.startswith(f"mlrpl: error: {sentence}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("output", ["json", "jsonl", "csv", "table"])
def test_predict_writes_every_format(mlrpl, output):
    done = mlrpl("predict", "prepared/small/images/000.png", "--format", output, "--top-k", 2)
    assert done.code == 0
    if output == "json":
        (record,) = json.loads(done.out)
    elif output == "jsonl":
        record = json.loads(done.out)
    elif output == "csv":
        rows = list(csv.DictReader(io.StringIO(done.out)))
        record = {"image": rows[0]["image"], "classes": rows}
    else:
        assert "000.png" in done.out
        return
    assert record["image"].endswith("000.png")
    assert len(record["classes"]) == 2


def test_predict_filters_by_threshold_and_class(mlrpl):
    done = mlrpl("predict", "prepared/small/images/000.png", "--format", "json", "--classes", "blue thing, red thing")
    assert {entry["class"] for entry in json.loads(done.out)[0]["classes"]} == {"blue thing", "red thing"}
    done = mlrpl("predict", "prepared/small/images/000.png", "--format", "json", "--threshold", "1.0")
    assert json.loads(done.out)[0]["classes"] == []


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two images and, between them, a file that is none."""
    for name in ("a.png", "c.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "b.jpg").write_text("hello")
    return tmp_path


@pytest.mark.parametrize("output", ["json", "jsonl", "csv", "table"])
def test_predict_puts_an_error_in_the_place_of_an_image_that_it_cannot_read(mlrpl, mixed, output):
    done = mlrpl("predict", mixed, "--format", output)
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("mlrpl: error: ")]
    reason = line.removeprefix("mlrpl: error: ")
    assert reason.startswith(f"cannot read {mixed / 'b.jpg'}")
    if output == "table":
        (line,) = [line for line in done.out.splitlines() if "error: cannot read" in line]
        assert line.startswith(f"│ {mixed / 'b.jpg'} ")
        return
    if output == "csv":
        rows = list(csv.DictReader(io.StringIO(done.out)))
        found = [(Path(row["image"]).name, row["error"]) for row in rows]
        assert found == [("a.png", "")] * 3 + [("b.jpg", reason)] + [("c.png", "")] * 3
        return
    records = json.loads(done.out) if output == "json" else [json.loads(line) for line in done.out.splitlines()]
    assert [Path(record["image"]).name for record in records] == ["a.png", "b.jpg", "c.png"]
    assert records[1] == {"image": str(mixed / "b.jpg"), "error": reason}
    assert [len(record["classes"]) for record in records[::2]] == [3, 3]


def test_the_exit_code_of_predict_says_whether_some_or_all_images_failed(mlrpl, mixed):
    good, bad = mixed / "a.png", mixed / "b.jpg"
    codes = {
        tuple(flags): [mlrpl("predict", *images, *flags).code for images in ([good], [good, bad], [bad])]
        for flags in ([], ["--skip-bad"])
    }
    assert codes == {(): [0, 1, 4], ("--skip-bad",): [0, 0, 4]}


def test_predict_tells_three_classes_in_a_table_and_all_elsewhere_unless_asked(mlrpl, monkeypatch):
    monkeypatch.setattr("mlrpl_cli.core.prediction.images.TOP_K", 1)  # there are three classes in all
    image = "prepared/small/images/000.png"
    assert mlrpl("predict", image).out.count("thing") == 1
    assert mlrpl("predict", image, "--top-k", 2).out.count("thing") == 2
    for output in ("json", "jsonl", "csv"):
        assert mlrpl("predict", image, "--format", output).out.count("thing") == 3
        assert mlrpl("predict", image, "--format", output, "--top-k", 2).out.count("thing") == 2


def test_predict_json_holds_the_format_json(mlrpl):
    image = "prepared/small/images/000.png"
    held = json.loads(mlrpl("predict", image, "--json").out)["result"]
    assert held == json.loads(mlrpl("predict", image, "--format", "json").out)
    done = mlrpl("predict", image, "--json", "--format", "csv")
    assert (done.code, done.err) == (
        1,
        "mlrpl: error: --json prints JSON, got --format csv too; give one of them\n",
    )


@pytest.mark.parametrize("command", ["predict", "visualize"])
def test_predict_and_visualize_say_how_far_they_are_on_stderr(mlrpl, mixed, command):
    done = mlrpl(command, mixed, "--run", RUN, *(["--out", mixed / "out"] if command == "visualize" else []))
    assert "ing: 3/3 images" in done.err
    assert "ing: 3/3 images" not in done.out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("output", ["jsonl", "csv", "table"])
def test_bars_and_lines_do_not_mix(monkeypatch, output):
    """stderr is a terminal: what is printed meanwhile stays on stdout; where that is one too, no bar is drawn."""
    command = ["predict", "prepared/small/images", "--format", output, "--run", str(RUN)]
    for out in (io.StringIO(), Terminal()):
        err = Terminal()
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        with pytest.raises(SystemExit):
            main(command)
        assert out.getvalue().count("000.png") >= 1
        assert "000.png" not in err.getvalue()
        drawn = "predicting" in err.getvalue()
        assert drawn == (output == "table" or not out.isatty())


def test_predict_reads_names_from_standard_input(mlrpl, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("prepared/small/images/001.png\n"))
    assert "001.png" in mlrpl("predict", "-", "--format", "csv").out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prepared/small/images/000.png", "--classes", "red thin"], "the run knows no class 'red thin'; did you mean"),
        (["prepared/small/images/000.png", "--format", "xml"], "--format: expected one of table, json, jsonl, csv"),
        (["prepared/small/images/000.png", "--device", "tpu"], "device: expected one of auto, cpu, cuda, got 'tpu'"),
        (["prepared/small/images/000.png", "--top-k", 0], "top_k: expected a whole number of at least 1, got 0"),
        (["prepared/small/images/000.png", "--threshold", 2], "threshold: expected a number from 0 to 1, got 2.0"),
        (["prepared/small/images/000.png", "--batch-size", 0], "batch_size: expected a whole number of at least 1"),
        (["nothing-here.jpg"], "there is no file or folder nothing-here.jpg; give files, "),
    ],
)
def test_predict_answers_a_wrong_argument_in_one_line(mlrpl, arguments, sentence):
    done = mlrpl("predict", *arguments)
    assert done.code == 1
    assert done.err.startswith(f"mlrpl: error: {sentence}")
    assert done.err.count("\n") == 1


def exported(place: Path, mlrpl, *options: object) -> tuple[dict, list[dict[str, str]]]:
    """What `export-labels --json` tells of a run's predictions, and the rows of the table."""
    done = mlrpl("export-labels", "--format", "long", "--run", RUN, "--out", place, "--overwrite", "--json", *options)
    with place.open(newline="") as stream:
        return json.loads(done.out)["result"], list(csv.DictReader(stream))


def test_export_labels_writes_what_predict_says(mlrpl, tmp_path):
    told = {
        (entry["image"], score["class"]): score
        for entry in json.loads(
            mlrpl("predict", "prepared/small/images", "--run", RUN, "--format", "json", "--top-k", 3).out
        )
        for score in entry["classes"]
    }
    result, rows = exported(tmp_path / "long.csv", mlrpl)
    found = {(f"prepared/small/{row['image']}", row["label"]): row for row in rows}
    assert {cell: float(row["probability"]) for cell, row in found.items()} == pytest.approx(
        {cell: score["probability"] for cell, score in told.items()}, abs=1e-5
    )
    words = {"yes": "present", "no": "absent", "unsure": "unknown"}
    assert {cell: row["state"] for cell, row in found.items()} == {
        cell: words[score["decision"]] for cell, score in told.items()
    }
    unsure = sum(score["decision"] == "unsure" for score in told.values())
    assert (result["images"], result["classes"], result["states"]["unknown"]) == (36, 3, unsure)
    assert result["notes"][0].startswith("cells are predictions of small-sarl-anchored-seed0 epoch ")
    assert result["notes"][0].endswith(", as the run decides (mlrpl decide), unknown where it is unsure")
    assert result["not_learnable"] == []
    result, rows = exported(tmp_path / "long.csv", mlrpl, "--threshold", 0.4)
    assert result["notes"][0].endswith(", present above 0.4")
    assert all((row["state"] == "present") == (float(row["probability"]) > 0.4) for row in rows)
    told = mlrpl("predict", "prepared/small/images", "--run", RUN, "--format", "jsonl", "--threshold", 0.4).out
    decided = {score["decision"] for line in told.splitlines() for score in json.loads(line)["classes"]}
    assert decided == {"yes"}  # what it shows is above the threshold, which decides


def test_export_labels_of_a_run_chooses_by_threshold_and_split(mlrpl, tmp_path):
    options = ("--run", RUN, "--threshold", 1, "--split", "test,validation", "--format", "labelstudio")
    done = mlrpl("export-labels", *options, "--out", tmp_path / "tasks.json")
    assert done.code == 0
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert {task["data"]["split"] for task in tasks} == {"test", "validation"}
    assert all(prediction["result"] == [] for task in tasks for prediction in task["predictions"])
    assert "they are pre-annotations: labels once somebody submits them" in done.out


def test_export_labels_of_a_run_of_other_classes_is_refused_in_one_line(mlrpl, tmp_path):
    other = small.write_prepared(tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "classes": ["red thing", "green thing", "dog"]}))
    done = mlrpl("export-labels", "--run", RUN, "--data", other, "--format", "table", "--out", tmp_path / "x.csv")
    assert done.code == 1
    assert f"the run knows 3 classes and {other} has 3, differing in blue thing, dog; give the data" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "x.csv").exists()


def test_export_labels_without_a_run_imports_no_pytorch(place, tmp_path):
    command = ["export-labels", "--data=prepared/small", "--format=table", f"--out={tmp_path / 'x.csv'}"]
    code = "import sys\nfrom mlrpl_cli.app import main\n"
    code += f"try:\n    main({command!r})\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_predict_and_eval_import_neither_tokenizer_nor_tensorboard(place):
    """A trained run stores its text features."""
    code = """
import sys
from mlrpl_cli.app import main
for command in (["predict", "prepared/small/images/000.png"], ["eval", "--workers=0"]):
    try:
        main(command)
    except SystemExit as ended:
        assert not ended.code
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], cwd=place, stdout=subprocess.PIPE, text=True, check=True)
    modules = set(loaded.stdout.splitlines()[-1].split())
    assert {"mlrpl_cli.core.prediction.predictor", "mlrpl_cli.core.evaluation.evaluate"} <= modules
    # The tokenizer imports the first four.
    assert not modules & {"open_clip", "clip", "torchvision", "ftfy", "tensorboard", "torch.utils.tensorboard"}


def test_visualize_draws_attention_curves_and_bars(mlrpl, tmp_path):
    done = mlrpl("visualize", "--out", tmp_path, "--workers", 0)
    assert done.code == 0
    assert sorted(os.listdir(tmp_path)) == [
        "attention-1.png",
        "average-precision.png",
        "curves.png",
        "reliability.png",
    ]
    for name in os.listdir(tmp_path):
        assert Image.open(tmp_path / name).size > (300, 100)


def test_visualize_draws_only_attention_for_given_images(mlrpl, tmp_path):
    done = mlrpl("visualize", "prepared/small/images/000.png", "--out", tmp_path, "--classes", "red thing")
    assert done.code == 0
    assert os.listdir(tmp_path) == ["attention-1.png"]


def test_visualize_each_draws_one_image_a_file(mlrpl, mixed):
    done = mlrpl("visualize", mixed, "--out", mixed / "out", "--each", "--classes", "red thing")
    assert done.code == 1
    drawn = [Path(line) for line in done.out.splitlines()]
    assert sorted(drawn) == sorted((mixed / "out").iterdir())
    assert [path.name.split("-")[1] for path in drawn] == ["a", "c"]


def test_train_answers_a_wrong_option_in_one_line(mlrpl):
    done = mlrpl("train", "--method", "sarll", "--epochs", 0)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "method: expected one of" in done.err
    assert "epochs: expected a whole number from 1" in done.err


def test_every_option_of_training_is_a_flag(mlrpl):
    """Below and beyond what any of them takes: all are told at once."""
    given_otherwise = (*TEXTS, "method_options")  # those are given behind the method's name
    taken = {name: expected(field) for name, field in fields_of(TrainConfig).items() if name not in given_otherwise}
    given = [f"--{name.replace('_', '-')}={'x' if takes.startswith('one of') else -1}" for name, takes in taken.items()]
    done = mlrpl("train", *given, *(f"--{name.replace('_', '-')}=x" for name in TEXTS))
    assert done.code == 1
    for name, takes in taken.items():
        assert f"{name}: expected {takes}, got" in done.err


def test_train_on_a_damaged_image_names_it_in_one_line(mlrpl, tmp_path):
    prepared = small.write_prepared(tmp_path / "prepared")
    (prepared / "images" / "003.png").write_text("no image")
    options = [option for option in OPTIONS if "workers" not in option]
    done = mlrpl("train", *options, "--workers", 1, "--data", prepared, "--run", tmp_path / "run")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert line.startswith("mlrpl: error: cannot read")
    assert "003.png" in line
    assert "Traceback" not in done.err
