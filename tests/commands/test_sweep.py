"""sweep as a user types it."""

import html
import inspect
import json
from pathlib import Path

import pytest
from PIL import Image

from mlrpl_cli.commands.sweep import sweep as sweep_command
from mlrpl_cli.core.prepared.folder import read_prepared
from tests import small

OPTIONS = [
    "--methods=sarl,zero-shot",
    "--keep=0.5,0.9",
    "--seeds=0",
    "--no-tune",
    "--device=cpu",
    "--set=backbone=clip.safetensors",
    f"--set=image_size={small.SIZE}",
    "--set=batch_size=8",
    "--set=epochs=1",
    "--set=workers=0",
    "--set=attention_width=8",
]
TUNE = ("tune_lr", "tune_epochs", "tune_loss", "tune_keep")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    small.write_prepared(folder / "prepared" / "small")
    small.write_backbone(folder / "clip.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _inside(place, monkeypatch) -> None:
    monkeypatch.chdir(place)


def test_a_sweep_prints_a_table_and_writes_its_report(mlrpl, place, sweep_here):
    done = mlrpl("sweep", *OPTIONS)
    assert done.code == 0, done.err
    assert "4 of 4 runs" in done.out
    assert "zero-shot" in done.out
    rows = [json.loads(line) for line in (place / "sweeps/small/results.jsonl").read_text().splitlines()]
    page = (place / "sweeps/small/report/comparison.md").read_text()
    for row in rows:
        assert f"{100 * row['map']:.2f}" in done.out
        assert f"{100 * row['map']:.1f}" in page
    again = json.loads(mlrpl("sweep", *OPTIONS, "--json").out)
    assert [row["key"] for row in again["rows"]] == [row["key"] for row in rows]


def test_an_option_may_be_set_by_its_flag_or_by_set(mlrpl):
    without_device = [option for option in OPTIONS if not option.startswith("--device")]
    for given in (["--precision=bf16"], ["--set=precision=bf16"]):
        plan = mlrpl("sweep", *without_device, *given, "--dry-run", "--json")
        assert json.loads(plan.out)["options"]["config"]["precision"] == "bf16", plan.err


def test_a_dry_run_says_the_plan_and_writes_nothing(mlrpl, place):
    done = mlrpl("sweep", *OPTIONS, "--out", "planned", "--dry-run")
    assert "4 (2 methods × 2 proportions × 1 seed), 0 done" in done.out
    planned = mlrpl("sweep", "--dataset", "scenes", "--out", "planned", "--dry-run", "--json")
    size = json.loads(planned.out)["size"]
    assert {name: size[name] for name in ("tuning_runs", "tuning_done", "runs", "runs_done")} == {
        **{"tuning_runs": 444, "tuning_done": 0, "runs": 324, "runs_done": 0}
    }
    assert (size["seconds"], len(size["untimed"]), size["stale"]) == (None, 12, {})
    missing = mlrpl("sweep", "--data", "planned/data", "--out", "planned", "--dry-run")
    assert (missing.code, "planned/data is not a prepared folder" in missing.err) == (1, True)
    refused = mlrpl("sweep", "--dataset", "scenes", "--out", "planned", "--methods", "sral")
    assert (refused.code, "did you mean 'sarl'?" in refused.err) == (1, True)
    assert not (place / "planned").exists()


def test_flags_of_the_grid_reach_the_plan(mlrpl):
    """2 methods × 2 rates × 1 number of epochs × 2 losses × 3 proportions; what is not given stays the default."""
    tuned = [option for option in OPTIONS if option not in ("--no-tune", "--set=epochs=1")]
    grid = ["--tune-lr=5e-4,2e-3", "--tune-epochs=10", "--tune-keep=0.2,0.5,0.8"]
    told = json.loads(mlrpl("sweep", *tuned, *grid, "--dry-run", "--json").out)
    assert told["size"]["tuning_runs"] == 2 * 2 * 1 * 2 * 3
    assert told["options"]["grid"] == {
        **{"lr": [5e-4, 2e-3], "epochs": [10], "loss": ["asl", "bce"], "keeps": [0.2, 0.5, 0.8]}
    }


def test_help_names_the_default_grid(mlrpl):
    """Each default as help has it, typed behind its flag, is the value of a sweep that is given none."""
    helps = {name: inspect.signature(sweep_command).parameters[name].annotation.__metadata__[0].help for name in TUNE}
    typed = [
        f"--{name.replace('_', '-')}={help.rpartition('Default: ')[2].rstrip('.')}" for name, help in helps.items()
    ]
    tuned = [option for option in OPTIONS if option not in ("--no-tune", "--set=epochs=1")]
    given, default = (json.loads(mlrpl("sweep", *tuned, *more, "--dry-run", "--json").out) for more in (typed, []))
    assert given["options"]["grid"] == default["options"]["grid"]


def test_rows_of_two_grids_are_not_mixed_in_a_report(mlrpl, place, sweep_here):
    """Those of the first are kept, and shown again when it is asked for; each grid has one setting to choose."""
    tuned = [option for option in OPTIONS if option not in ("--no-tune", "--set=epochs=1") and "--keep" not in option]
    tuned = [*(option for option in tuned if "--methods" not in option), "--keep=0.5", "--out=grids", "--tune-loss=bce"]
    tuned += ["--tune-lr=0.01", "--tune-keep=0.5"]
    assert mlrpl("sweep", *tuned, "--methods=zero-shot,linear", "--tune-epochs=1").code == 0
    done = mlrpl("sweep", *tuned, "--methods=linear", "--tune-epochs=2")
    assert done.code == 0, done.err
    assert "of other settings (--tune-epochs was 1, not 2): zero-shot (1), linear (1)" in " ".join(done.err.split())
    stored = ["sweep", "--data=prepared/small", "--out=grids", "--report-only"]
    rows = json.loads(mlrpl(*stored, "--json").out)["rows"]
    assert [(row["variant"], row["grid"]["epochs"]) for row in rows] == [("linear", [2])]
    assert "epochs 2; losses bce; at 50% of the labels." in (place / "grids/report/comparison.md").read_text()
    done = mlrpl("sweep", *tuned, "--methods=linear,zero-shot", "--tune-epochs=1", "--json")
    assert [row["grid"]["epochs"] for row in json.loads(done.out)["rows"]] == [[1], [1]]


def test_data_prepared_from_another_root_is_not_taken_over(mlrpl, tmp_path):
    for name, cells in (("a", ("1,0", "0,1")), ("b", ("0,1", "1,0"))):
        rows = "".join(f"{row}.jpg,{cells[row % 2]},{('test', 'train')[row < 4]}\n" for row in range(8))
        (tmp_path / f"{name}.csv").write_text(f"image,cat,dog,split\n{rows}")
    for row in range(8):
        (tmp_path / f"{row}.jpg").write_bytes(bytes([row]))
    out = tmp_path / "sweep"
    table = ["--dataset=table", f"--root={tmp_path / 'a.csv'}"]
    assert mlrpl("prepare", *table, "--no-check-images", "--keep=1", f"--out={out / 'data'}").code == 0
    sweep = ["sweep", *OPTIONS, f"--out={out}", "--dry-run"]
    assert mlrpl(*sweep, *table).code == 0
    done = mlrpl(*sweep, "--dataset=table", f"--root={tmp_path / 'b.csv'}")
    assert (done.code, done.out) == (1, "")
    assert f"prepared with other options: root was {tmp_path / 'a.csv'}, not {tmp_path / 'b.csv'}; name" in done.err


def test_a_data_set_takes_the_options_of_its_format(mlrpl, tmp_path, sweep_here):
    (tmp_path / "labels.csv").write_text(
        "image,cat,dog\n" + "".join(f"{row}.png,1,0\n{row + 1}.png,0,1\n" for row in range(0, 20, 2))
    )
    (tmp_path / "pictures").mkdir()
    for row in range(20):
        Image.new("RGB", (8, 8), (row, 0, 0)).save(tmp_path / "pictures" / f"{row}.png")
    table = ["--dataset=table", f"--root={tmp_path / 'labels.csv'}", f"--images={tmp_path / 'pictures'}"]
    done = mlrpl("sweep", *OPTIONS, f"--out={tmp_path / 'sweep'}", *table, "--split-seed=6", "--methods=zero-shot")
    assert done.code == 0, done.err
    prepared = read_prepared(tmp_path / "sweep" / "data")
    assert prepared.image_root == tmp_path / "pictures"
    assert prepared.options["reading"]["split_seed"] == 6
    done = mlrpl("sweep", *OPTIONS, "--dry-run", *table, "--year=2007")
    assert "--year is an option of voc, coco, not of table; leave it out" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--methods", "sral"], 1, "did you mean 'sarl'?"),
        (["--keep", "0.5,2"], 1, "the keep proportion must be above 0 and at most 1, not 2"),
        (["--keep", "half"], 2, "expected values as X,Y, got 'half'"),
        (["--data", "prepared/small", "--jobs", "0"], 1, "jobs: expected a whole number of at least 1, got 0"),
        (
            ["--tune-lr", "11", "--tune-epochs", "0"],
            1,
            "--tune-lr: expected a number from 0 to 10, got 11.0; --tune-epochs: expected a whole number from 1 to",
        ),
        (["--tune-loss", ""], 1, "--tune-loss: expected at least one value, got none"),
        (["--tune-keep", "half"], 2, "expected values as X,Y, got 'half'"),
        (["--no-tune", "--tune-keep", "0.5"], 1, "--tune-keep: --no-tune tries no grid; leave one or the other out"),
        (["--set", "lr=0.1"], 1, "lr: chosen by the grid; name its values with --tune-lr, or add --no-tune"),
        (["--data", "elsewhere"], 1, "elsewhere is not a prepared folder"),
        (["--data", "prepared/small", "--dataset", "scenes"], 1, "--data and --dataset were both given"),
        (
            ["--root", "VOCdevkit"],
            1,
            "--root says how to read the data set of --dataset, which was not given; name it too",
        ),
    ],
)
def test_a_wrong_option_is_one_line(mlrpl, arguments, code, sentence):
    done = mlrpl("sweep", *arguments)
    assert done.code == code
    assert sentence in done.err


def test_a_second_call_adds_to_the_report_and_report_only_shows_what_is_stored_or_chosen(mlrpl, place, sweep_here):
    """Neither a variant of another call nor its rows are lost, and reporting runs nothing."""
    few = [option for option in OPTIONS if not option.startswith(("--methods", "--keep"))]
    few += ["--keep=0.5", "--out=kept"]
    cold = "sa:attention_temperature=0.01"
    assert mlrpl("sweep", *few, "--methods=zero-shot").code == 0
    assert mlrpl("sweep", *few, f"--variant=cold={cold}", "--variant=sa").code == 0
    page, rows = place / "kept/report/comparison.md", (place / "kept/results.jsonl").read_text()
    assert all(f"| `{name}` |" in page.read_text() for name in ("zero-shot", "sa", "cold"))
    renamed = json.loads(mlrpl("sweep", *few, f"--variant={cold}", "--json").out)["rows"]
    assert [row["variant"] for row in renamed] == [cold]
    assert (place / "kept/results.jsonl").read_text() == rows, "a variant by another name is the same run"
    stored = ["sweep", "--data=prepared/small", "--out=kept", "--report-only"]
    done = mlrpl(*stored, "--variant=cold", "--methods=zero-shot")
    assert done.code == 0, done.err
    assert "2 stored runs" in " ".join(done.out.split())
    assert "`sa`" not in page.read_text()
    done = mlrpl(*stored, "--json")
    assert [row["variant"] for row in json.loads(done.out)["rows"]] == ["zero-shot", "cold", "sa"]
    done = mlrpl(*stored, "--variant=linear")
    assert done.code == 1
    assert "no stored row is of linear; the stored rows are of zero-shot, cold, sa" in done.err
    assert (place / "kept/results.jsonl").read_text() == rows


def test_a_dry_run_says_how_long_it_takes_and_a_trial_measures_it(mlrpl, place, sweep_here):
    few = [*(option for option in OPTIONS if not option.startswith("--keep")), "--keep=0.5,0.9", "--out=timed"]
    done = mlrpl("sweep", *few, "--dry-run")
    assert "--trial runs one of each" in " ".join(done.out.split())
    size = json.loads(mlrpl("sweep", *few, "--trial", "--json").out)["size"]
    rows = [json.loads(line) for line in (place / "timed/results.jsonl").read_text().splitlines()]
    assert sorted(row["method"] for row in rows) == ["sarl", "zero-shot"]
    assert (size["runs"], size["runs_done"], size["untimed"]) == (4, 2, [])
    assert size["seconds"] == pytest.approx(sum(row["train_seconds"] + row["test_seconds"] for row in rows))


def test_rows_of_code_that_was_changed_are_named_and_run_again(mlrpl, place, sweep_here):
    few = [
        *(option for option in OPTIONS if not option.startswith(("--keep", "--methods"))),
        "--keep=0.5",
        "--out=stale",
    ]
    assert mlrpl("sweep", *few, "--methods=zero-shot").code == 0
    file = place / "stale/results.jsonl"
    row = json.loads(file.read_text())
    file.write_text(json.dumps({**row, "key": "0" * 16, "code": "of another day"}) + "\n")
    scores = place / "stale/scores"
    (scores / f"{row['key']}.safetensors").rename(scores / f"{'0' * 16}.safetensors")
    size = json.loads(mlrpl("sweep", *few, "--methods=zero-shot", "--dry-run", "--json").out)["size"]
    assert (size["stale"], size["runs_done"]) == ({"zero-shot": 1}, 0)
    done = mlrpl("sweep", *few, "--methods=zero-shot")
    assert "rows kept and not shown, since the code was changed: zero-shot (1)" in done.err
    assert len(file.read_text().splitlines()) == 2
    rows = [{k: v for k, v in json.loads(line).items() if k != "data_sha256"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = mlrpl("sweep", "--data=prepared/small", "--out=stale", "--report-only")
    assert done.code == 1
    assert (
        "nothing to report: rows kept and not shown, since they do not say which data they are of: zero-shot (2)"
        in (done.err)
    )


def test_rows_of_other_settings_are_left_out_of_the_report_and_told_with_what_differs(mlrpl, place, sweep_here):
    few = [option for option in OPTIONS if not option.startswith(("--methods", "--keep"))]
    few += ["--keep=0.5", "--out=settings"]
    assert mlrpl("sweep", *few, "--methods=zero-shot,baseline").code == 0
    done = mlrpl("sweep", *few, "--methods=linear", "--set=batch_size=4", "--set=epochs=2")
    assert done.code == 0, done.err
    told = "of other settings (batch_size was 8, not 4; epochs was 1, not 2): zero-shot (1), baseline (1)"
    assert told in " ".join(done.err.split())
    page = place / "settings/report/comparison.md"
    text = html.unescape(page.read_text())
    assert told in text.split("## Settings")[1].split("\n## ")[0]
    assert "| `linear` |" in text
    assert "| `zero-shot` |" not in text
    stored = ["sweep", "--data=prepared/small", "--out=settings", "--report-only"]
    result = json.loads(mlrpl(*stored, "--json").out)
    assert [row["variant"] for row in result["rows"]] == ["linear"]
    assert result["notes"][0] == "shown are rows of the newest settings, as linear at 50% has them"
    assert told in result["notes"][1]
    assert mlrpl("sweep", *few, "--methods=zero-shot,baseline").code == 0
    assert "| `linear` |" not in page.read_text()


def test_the_last_line_says_how_many_runs_were_asked_for_and_how_many_the_file_has(mlrpl, sweep_here):
    few = [option for option in OPTIONS if not option.startswith(("--methods", "--keep"))]
    few += ["--keep=0.5", "--out=counted"]
    assert mlrpl("sweep", *few, "--methods=zero-shot,linear").code == 0
    done = mlrpl("sweep", *few, "--methods=baseline")
    assert "1 run of those asked for; counted/results.jsonl has 3 runs in all; report: " in " ".join(done.err.split())
    assert json.loads(mlrpl("sweep", *few, "--methods=linear", "--json").out)["stored"] == 3


def test_a_sweep_over_folds_says_its_runs_by_fold_and_what_it_measured(mlrpl, place, sweep_here):
    rows = "".join(f"{row:03d},{row % 2}\n" for row in range(36))
    (place / "folds.csv").write_text(f"image,fold\n{rows}")
    asked = ["sweep", *(option for option in OPTIONS if not option.startswith("--keep")), "--keep=0.5"]
    asked += ["--folds=folds.csv", "--out=folded"]
    done = mlrpl(*asked, "--dry-run")
    assert "4 (2 methods × 1 proportion × 1 seed × 2 folds), 0 done" in done.out, done.err
    done = mlrpl(*asked)
    assert done.code == 0, done.err
    assert "out-of-fold mAP (%), mean over seeds 0; 2 of 2 runs" in " ".join(done.out.split())
    assert "2 runs of those asked for; folded/results.jsonl has 2 runs in all" in " ".join(done.err.split())
    size = json.loads(mlrpl(*asked, "--dry-run", "--json").out)["size"]
    assert (size["runs"], size["runs_done"], size["seconds"]) == (4, 4, 0)
    told = json.loads(mlrpl(*asked, "--report-only", "--json").out)
    assert told["options"]["folds"] == "folds.csv"
    assert [(row["kind"], row["folds"], row["least_positives"]) for row in told["rows"]] == [("run", 2, 10)] * 2
    without = [option for option in asked if not option.startswith("--folds")]
    done = mlrpl(*without, "--report-only")
    assert (done.code, "is of a sweep over folds; name them with --folds, as it was run" in done.err) == (1, True)
    (place / "folds.csv").write_text(f"image,fold\n{rows}036,1\n")
    done = mlrpl(*asked)
    assert (done.code, "folds.csv: 1 image is not in the data (036); name each image once" in done.err) == (1, True)
    done = mlrpl(*asked, "--least-positives=0")
    assert "least_positives: expected a whole number of at least 1, got 0" in done.err
    done = mlrpl("sweep", "--dataset=scenes", "--folds=prepared", "--dry-run")
    assert "--folds prepared takes the folds that mlrpl prepare --folds drew; name that folder with --data" in done.err
