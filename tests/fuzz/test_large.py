"""What a reader makes of a file takes at most a stated multiple of its size, whatever its shape, and it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.large import LARGE

MULTIPLE = 50
ALWAYS = 32 << 20
"""Bytes: of YAML, which may be 64 KiB long, every character becomes an object of its own."""
HANGS_AFTER = 120
"""Seconds; the slowest takes less than a tenth."""
FIRST_OF_EACH = {target: name for name, (target, _) in reversed(LARGE.items())}
QUICK = set(FIRST_OF_EACH.values())

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LARGE]
)
def test_memory_is_a_multiple_of_the_file(name: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.large", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False)
    assert done.returncode == 0, done.stderr
    size, taken = map(int, done.stdout.split())
    assert taken < MULTIPLE * size + ALWAYS
