"""Where there is no browser, one line says how to get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.browser.chromium import MISSING, VARIABLE

ROOT = Path(__file__).parents[2]


def test_without_chromium_one_line_says_how_to_get_it():
    command = [sys.executable, "-m", "pytest", "-m", "browser", str(Path(__file__).parent), "-p", "no:cacheprovider"]
    environment = {**os.environ, VARIABLE: "/no/such/program"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.strip() == f"ERROR: {MISSING}"
