"""What a reader makes of a file takes at most a stated multiple of its size, whatever its shape, and it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlrpl_cli.core.labels.formats.tabular.dialect import MOST_COLUMNS
from tests import warm
from tests.fuzz.large import LARGE

MULTIPLE = 50
ALWAYS = 32 << 20
"""Bytes: of YAML, which may be 64 KiB long, every character becomes an object of its own."""
OF_COLUMNS = {"table of as many columns as may be": MOST_COLUMNS}
A_COLUMN = 12 << 10
"""Bytes that pyarrow takes for a column while it reads, however few rows there are."""
HANGS_AFTER = 120
"""Seconds; the slowest takes less than a tenth."""
PROGRAM = "import sys; from tests.fuzz.large import main; main(sys.argv[1])"
FIRST_OF_EACH = {target: name for name, (target, _) in reversed(LARGE.items())}
QUICK = set(FIRST_OF_EACH.values())

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LARGE]
)
def test_memory_is_a_multiple_of_the_file(name: str) -> None:
    if name in QUICK:
        done = warm.run([name], code=PROGRAM, timeout=HANGS_AFTER)
        assert done.code == 0, done.err
        told = done.out
    else:  # memory is as a command has it that has just begun
        command = [sys.executable, "-c", PROGRAM, name]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=HANGS_AFTER, check=True).stdout
    size, taken = map(int, told.split())
    assert taken < MULTIPLE * size + ALWAYS + A_COLUMN * OF_COLUMNS.get(name, 0)
