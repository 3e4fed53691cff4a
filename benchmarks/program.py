"""The program as a whole: prediction over a folder, start-up."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Promise, Row, interleaved
from benchmarks.setting import (
    BACKBONE,
    CLASSES,
    METHOD,
    SIZE,
    backbone,
    make_default_method,
    make_frozen_encoder,
    make_pixels,
)
from mlrpl_cli.core.backbones.openai.architectures import StateDict
from mlrpl_cli.core.prediction.predictor import TrainedPredictor
from mlrpl_cli.core.runs import checkpoint as checkpoints
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo, TrainedHead

IMAGES, PHOTO = 64, (640, 480)
CPU = torch.device("cpu")


def predict_rows(device: torch.device) -> Iterator[Row]:
    """Files to probabilities and maps, beside the encoder alone on pixels that are decoded already."""
    state, _ = backbone()
    encoder = make_frozen_encoder(state, device)
    predictor = TrainedPredictor(TrainedHead(_checkpoint(state, device)), encoder)
    pixels = make_pixels(32)
    with tempfile.TemporaryDirectory() as folder:
        paths = _photos(Path(folder))

        def encode_alone() -> None:
            for _ in range(IMAGES // len(pixels)):
                encoder(pixels)

        works = [lambda: list(predictor.predict_files(paths)), encode_alone]
        seconds, other = interleaved(works, 3, device)
    note = f"{IMAGES} JPEGs of {PHOTO[0]}x{PHOTO[1]}, RN101, 448 px, the default method"
    yield Row("predict", "encode alone", Promise(ratio=1 / 1.1).on(device), seconds, other, note=note)


def startup_rows(device: torch.device) -> Iterator[Row]:
    """`mlrpl --help` and a usage error beside `import torch`, each a process of its own."""

    def process(code: int, *arguments: str) -> None:
        done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True)
        assert done.returncode == code, done.stderr.decode()

    for name, code, arguments in (("help", 0, ["--help"]), ("usage-error", 2, ["train", "--no-such-option"])):
        works = [partial(process, code, "-m", "mlrpl_cli", *arguments), partial(process, 0, "-c", "import torch")]
        seconds, other = interleaved(works, 7, CPU)
        note = f"mlrpl {' '.join(arguments)}"
        yield Row(name, "import torch", Promise(ratio=5, seconds=0.3), seconds, other, note=note)


PROGRAM = {"predict": predict_rows, "startup": startup_rows}


def _checkpoint(state: StateDict, device: torch.device) -> Checkpoint:
    """An untrained run of the default method."""
    trainable = make_default_method(state, device)
    tensors = {checkpoints.RECOGNIZER + name: t for name, t in trainable.recognizer.state_dict().items()}
    with torch.no_grad():
        tensors[checkpoints.TEXT_FEATURES] = trainable.text_head()
    info = RunInfo(
        method=METHOD,
        classes=tuple(CLASSES),
        dataset="table",
        data="",
        mask_sha256="",
        data_sha256="",
        backbone=BACKBONE,
        fingerprint="",
        image_size=SIZE,
        precision="float32",
        epoch=0,
        best_epoch=0,
        best_map=None,
    )
    return Checkpoint(info, tensors)


def _photos(folder: Path) -> list[Path]:
    """Smooth random pictures with some noise, about as many bytes as a photo of that size."""
    random = np.random.RandomState(0)
    paths = []
    for number in range(IMAGES):
        coarse = Image.fromarray(random.randint(0, 256, (24, 32, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize(PHOTO, Image.Resampling.BICUBIC)).astype(float)
        noisy = np.clip(pixels + random.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:03d}.jpg")
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths
