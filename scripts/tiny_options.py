"""What the command line of the pre-training of tiny can change, and the log that it keeps."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

DESCRIPTION = "Pre-train tiny, the CLIP that ships with the package, on rendered captioned images."


@dataclass(frozen=True)
class Options:
    """What the command line can change."""

    out: Path = field(
        default=Path("tiny.safetensors"),
        metadata={"help": "where the model is written, every epoch and at the end"},
    )
    log: Path = field(
        default=Path(tempfile.gettempdir()) / "mlrpl-pretraining.jsonl",
        metadata={"help": "file of what was done when, a JSON object a line; written anew"},
    )
    work: Path = field(
        default=Path(tempfile.gettempdir()) / "mlrpl-pretraining",
        metadata={
            "help": "folder of the rendered images, 49 kB each; reused when it holds the same seed, size and number"
        },
    )
    images: int = field(default=30_000, metadata={"help": "rendered captioned images"})
    size: int = field(default=128, metadata={"help": "width and height of the rendered images in pixels"})
    small_size: int = field(default=96, metadata={"help": "what the images of some batches are resized to"})
    small_share: float = field(default=0.8, metadata={"help": "share of the batches that are resized"})
    steps: int = field(default=0, metadata={"help": "steps of training; 0: as many as --minutes holds"})
    minutes: float = field(default=68.0, metadata={"help": "about how long to run when --steps is 0"})
    batch_size: int = field(default=128, metadata={"help": "images of a step"})
    chunk: int = field(
        default=64, metadata={"help": "images that are encoded at a time, with batch norms of their own; for speed"}
    )
    filler_share: float = field(default=0.5, metadata={"help": "share of the captions with filler words in front"})
    filler: int = field(default=20, metadata={"help": "most filler words"})
    learning_rate: float = field(default=2e-3, metadata={"help": "after the warm-up"})
    warm_up: int = field(default=200, metadata={"help": "steps until the learning rate is reached"})
    decay_share: float = field(default=0.35, metadata={"help": "share of the steps, the last, with a falling rate"})
    weight_decay: float = field(default=0.05, metadata={"help": "AdamW's, on matrices and kernels only"})
    shift: int = field(default=8, metadata={"help": "largest random translation in pixels"})
    seed: int = field(
        default=0, metadata={"help": "of the images, the captions, the initial weights, the order and the augmentation"}
    )
    threads: int = field(
        default=1, metadata={"help": "processor threads of training and worker processes of rendering"}
    )


def parse_options() -> Options:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for each in fields(Options):
        kind = Path if isinstance(each.default, Path) else type(each.default)
        flag = f"--{each.name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=each.default, help=each.metadata["help"])
    return Options(**vars(parser.parse_args()))


class Log:
    """A file of JSON lines, of which the first has the options and versions; every line is printed as well.

    Each has the seconds since the start and the processor seconds of this process and the workers that have ended.
    """

    def __init__(self, options: Options) -> None:
        self._path, self._start = options.log, time.monotonic()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("", encoding="utf-8")
        numbers = {name: value for name, value in asdict(options).items() if not isinstance(value, Path)}
        versions = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
        self.write(
            "start", **numbers, **versions, machine=platform.machine(), cpu=torch.backends.cpu.get_cpu_capability()
        )

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self._start) / 60

    def write(self, what: str, **values: Any) -> None:
        clock = os.times()
        spent = clock.user + clock.system + clock.children_user + clock.children_system
        seconds = {"seconds": round(time.monotonic() - self._start, 1), "cpu_seconds": round(spent, 1)}
        line = json.dumps({"what": what, **values, **seconds})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)
