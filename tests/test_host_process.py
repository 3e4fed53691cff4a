"""A program that imports the package keeps its own settings; the command line sets its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.test_architecture import FILES, name_of

# Other libraries change settings when they are imported, so those that the package imports come first.
LOOK = """
import importlib, json, logging, os, signal, sys, warnings
foreign, own = json.loads(sys.argv[1])
for name in foreign:
    importlib.import_module(name)
import torch
from PIL import Image
from torch.utils.data._utils import signal_handling

def settings():
    return {
        "warnings": [str(filter) for filter in warnings.filters],
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "handlers": [str(handler) for name in ("PIL", "root") for handler in logging.getLogger(name).handlers],
        "blocks": Image.core.get_block_size(),
        "flag": signal_handling._SIGCHLD_handler_set,
        "threads": torch.get_num_threads(),
        "environment": dict(os.environ),
        "hooks": [str(sys.excepthook), str(sys.unraisablehook)],
    }

before = settings()
for name in own:
    importlib.import_module(name)
print(json.dumps([before, settings()]))
"""


def foreign_modules() -> Iterator[str]:
    """What the package's modules import of other libraries as they are imported themselves."""
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def run(code: str, *arguments: str) -> Any:
    command = [sys.executable, "-c", code, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PILLOW_BLOCK_SIZE"}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


def test_importing_every_module_changes_nothing_in_the_process() -> None:
    foreign = sorted({name for name in foreign_modules() if not name.startswith(("mlrpl_cli", "__future__"))})
    own = [name_of(path).removesuffix(".__init__") for path in FILES]
    before, after = run(LOOK, json.dumps([foreign, own]))
    assert after == before


def test_the_command_line_and_the_processes_that_it_starts_set_up_their_own() -> None:
    """A block size that the C library gives back when it is freed, and Pillow's log kept for our own words."""
    code = """
import json
from mlrpl_cli.core.io.own_process import own_process
from mlrpl_cli.core.io.processes import process_pool
own_process()
own_process()
from tests.test_host_process import of_pillow
with process_pool(1) as pool:
    print(json.dumps([of_pillow(), pool.submit(of_pillow).result()]))
"""
    assert run(code) == [[64 << 20, ["<NullHandler (NOTSET)>"]]] * 2


def of_pillow() -> tuple[int, list[str]]:
    import logging

    from PIL import Image

    return Image.core.get_block_size(), [str(handler) for handler in logging.getLogger("PIL").handlers]


def test_next_to_nothing_is_imported_before_an_interruption_is_handled() -> None:
    """Ctrl-C until then shows Python's traceback of whatever import it came in."""
    code = """
import enum, functools, json, signal, sys
before = {*sys.modules, "__future__"}
import mlrpl_cli.__main__
print(json.dumps(sorted({*sys.modules} - before)))
"""
    assert run(code) == ["mlrpl_cli", "mlrpl_cli.__main__"]
