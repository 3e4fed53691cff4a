"""docs/deploy.md: its program runs as it stands, with three libraries alone, and says what predict says."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from mlrpl_cli.core.export.model_options import ModelOptions
from mlrpl_cli.core.export.models import export_model
from tests import small
from tests.core.export.exported import needs_onnx, trained
from tests.test_architecture import top_levels

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_program_needs_three_libraries(tmp_path: Path) -> None:
    path = tmp_path / "classes.py"
    path.write_text(PROGRAM, encoding="utf-8")
    ast.parse(PROGRAM)
    assert top_levels(path) - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}


@needs_onnx
def test_the_program_prints_what_predict_says(tmp_path: Path, mlrpl) -> None:
    run = trained(small.write_training(tmp_path, epochs=1), method="linear")
    model = export_model(ModelOptions(run, out=tmp_path / "model.onnx")).path
    image = tmp_path / "prepared" / "images" / "003.png"
    (tmp_path / "classes.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "classes.py", model, image]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [
        re.fullmatch(r"(.*): (0\.\d{3}|1\.000) (yes|no|unsure)", line).groups() for line in done.stdout.splitlines()
    ]
    (record,) = json.loads(mlrpl("predict", image, f"--run={run}", "--device=cpu", "--format=json").out)
    assert [(name, word) for name, _, word in found] == [(one["class"], one["decision"]) for one in record["classes"]]
    for (_, number, _), one in zip(found, record["classes"], strict=True):
        assert abs(float(number) - one["probability"]) < 1e-3
