"""The one place that puts a training run together: the learned parts, the features, and the labels that may be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from accelerate import Accelerator

from mlrpl_cli.core.backbones.openai.architectures import StateDict, build_text_encoder, image_architecture
from mlrpl_cli.core.backbones.openai.text import tokenize
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.evaluate import labels_of
from mlrpl_cli.core.features.batches import FeatureBatches
from mlrpl_cli.core.heads.methods import build_trainable
from mlrpl_cli.core.heads.recognizers import TrainableRecognizer
from mlrpl_cli.core.heads.text import TextInputs
from mlrpl_cli.core.io.devices import DTYPES, make_generator
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.folder import RunInfo
from mlrpl_cli.core.training.loop import LabelledFeatures, Trainer


def assemble(
    config: TrainConfig,
    prepared: Prepared,
    state: StateDict,
    fingerprint: str,
    features: tuple[FeatureBatches, FeatureBatches],
    accelerator: Accelerator,
) -> Trainer:
    """A trainer of a resolved `config`, ready to start.

    `state` is the backbone's state dict and `fingerprint` that of its weights; `features` are those of the images of
    `training_rows` and of the split `config.selection`. Raises ConfigError for class names that no prompt can hold.
    """
    rows, (training, selection) = training_rows(prepared), features
    labels = labels_of(prepared, config.selection)
    names = [prepared.images[row] for row in rows]
    data = LabelledFeatures(training, prepared.observed_labels[rows], selection, labels, names)
    assert config.backbone is not None
    assert config.image_size is not None
    info = RunInfo(
        method=config.method,
        classes=prepared.classes,
        dataset=prepared.dataset,
        data=str(prepared.folder.resolve()),
        mask_sha256=prepared.mask_sha256,
        data_sha256=prepared.sha256,
        backbone=config.backbone,
        fingerprint=fingerprint,
        image_size=config.image_size,
        precision=config.precision,
        epoch=0,
        best_epoch=0,
        best_map=None,
    )
    trainable = make_trainable(state, config, prepared.classes).to(accelerator.device)
    return Trainer(config, trainable, data, info, accelerator)


def training_rows(prepared: Prepared) -> np.ndarray:
    """Rows of the training images. Raises RunError when there is none."""
    rows = prepared.rows(TRAIN)
    if not len(rows):
        raise RunError(f"{prepared.folder} has no training image; run mlrpl prepare again with some")
    return rows


def make_trainable(state: StateDict, config: TrainConfig, classes: Sequence[str]) -> TrainableRecognizer:
    """An untrained recognizer over the backbone whose state dict is `state`, its parameters drawn from config.seed."""
    image, text_encoder = image_architecture(state), build_text_encoder(state)
    inputs = TextInputs(config, classes, text_encoder, tokenize, make_generator(config.seed, "initialisation"))
    trainable = build_trainable(inputs, image.channels, image.embed_dim)
    text_encoder.fold()
    text_encoder.to(DTYPES[config.precision])  # only now: what is read off it once was read in float32
    return trainable
