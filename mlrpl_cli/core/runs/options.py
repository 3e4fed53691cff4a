"""What a training run is asked for, resolved and checked before any weights load.

Precedence is defaults < file < flags, and on --resume the stored configuration stands below all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.backbone import Description
from mlrpl_cli.core.backbones.registry import absolute, backbone_options, describe
from mlrpl_cli.core.backbones.tiny import TINY
from mlrpl_cli.core.config import AUTO, TrainConfig, given_options, make_config, raise_together, read_yaml
from mlrpl_cli.core.features.cache import CACHE
from mlrpl_cli.core.heads import losses, methods
from mlrpl_cli.core.heads.registry import LOSSES, METHODS
from mlrpl_cli.core.heads.text_inputs import check_class_names
from mlrpl_cli.core.io import devices
from mlrpl_cli.core.io.errors import ConfigError, RunError, WeightsError, did_you_mean, first_few
from mlrpl_cli.core.io.registry import Registry
from mlrpl_cli.core.labels.records import TEST, TRAIN
from mlrpl_cli.core.labels.states import ABSENT, classes_without
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.folder import load_config, newest_run

LONGEST_METHOD = 80
"""Characters that a method and its options take in the name of a run folder."""
FREE_ON_RESUME = ("data", "device", "workers", "cache")
"""Data that were moved: what is read of them is compared by its checksum."""


def config_problems(config: TrainConfig) -> list[str]:
    """Everything that is wrong in `config`, as far as can be seen without loading weights: one sentence each."""
    problems = [
        _problem_in(lambda: devices.choose_device(config.device)),
        _problem_of(METHODS, config.method, lambda: methods.method_options(config.method, config.method_options)),
        _problem_of(LOSSES, config.loss, lambda: losses.make_loss(config)),
    ]
    if config.backbone is not None:
        problems.append(backbone_problem(config))
    if config.semantics == "glove" and not config.glove:
        problems.append("semantics glove needs glove, the path of a GloVe text file")
    if config.glove is not None and not os.path.isfile(config.glove):
        problems.append(f"glove: expected a file of word vectors, got '{config.glove}', which is none")
    return [problem for problem in problems if problem]


def backbone_problem(config: TrainConfig) -> str | None:
    """Why the backbone, at the image size that is asked for, cannot be had, as far as is known without weights."""
    return _described(config)[1]


def _described(config: TrainConfig) -> tuple[Description | None, str | None]:
    """What is known of the backbone without weights, and `backbone_problem`. This may open files: once is enough."""
    try:
        described = describe(backbone_options(config))
    except (ConfigError, WeightsError) as error:
        return None, str(error)
    return described, described.rule.problem(config.image_size) if config.image_size else None


def _problem_of(known: Registry, name: str | None, load: Callable[[], object]) -> str | None:
    """Why the entry of `known` that an option names, which `load` loads, cannot be used, or None."""
    if name is not None and name not in known:
        guess = did_you_mean(name, known, "name one of these")
        return f"{known.kind}: expected one of {', '.join(known)}, got '{name}'; {guess}"
    return None if name is None else _problem_in(load)


def _problem_in(checked: Callable[[], object]) -> str | None:
    try:
        checked()
    except ConfigError as error:
        return str(error)
    return None


def resolve_config(config: TrainConfig, prepared: Prepared) -> TrainConfig:
    """Fill in what depends on the data, and make paths independent of the current folder.

    Raises ConfigError for class names that no prompt can hold, and for an image size that the backbone cannot take;
    RunError for data without a training image.
    """
    check_class_names(prepared.classes)
    if not len(prepared.rows(TRAIN)):
        raise RunError(f"{prepared.folder} has no training image; run mlrpl prepare again with some")
    config = replace(config, backbone=config.backbone or (TINY if prepared.dataset == "scenes" else "RN101"))
    described, problem = _described(config)
    if described is None or problem:
        raise_together([*config_problems(replace(config, backbone=None)), problem or ""])
    assert described is not None
    defaults = described.defaults
    resolved = replace(
        config,
        data=str(prepared.folder),
        cache=config.cache or str(prepared.folder.resolve().parent / CACHE),
        image_size=config.image_size or defaults.image_size,
        attention_width=config.attention_width or defaults.attention_width,
        method_options=asdict(methods.method_options(config.method, config.method_options)),
        loss=config.loss or losses.default_loss(prepared.observed_labels[prepared.rows(TRAIN)]),
    )
    problem = described.rule.problem(resolved.image_size or 0)
    raise_together([*config_problems(replace(resolved, backbone=None)), *([problem] if problem else [])])
    automatic: Any = defaults.precision or devices.choose_precision(devices.choose_device(resolved.device))
    precision = automatic if resolved.precision == AUTO else resolved.precision
    return _with_absolute_paths(replace(resolved, precision=precision))


def unused_options(method: str, loss: str) -> set[str]:
    """The options of methods and losses that these two do not use; all of them for one that cannot be loaded."""
    unused = {*methods.OF_METHODS, *(name for own in LOSSES.data for name in losses.options_of(own))}
    for used in (lambda: methods.load_method(method).uses, lambda: losses.options_of(loss)):
        with suppress(ConfigError):
            unused -= {*used()}
    return unused


def unused_notes(asked: TrainConfig, resolved: TrainConfig) -> list[str]:
    """A sentence on the options that were asked for and that method and loss have no use for; none where there is none.

    What is asked for is what is other than by default.
    """
    default, loss = TrainConfig(), str(resolved.loss)
    unused = unused_options(resolved.method, loss)
    given = sorted(name for name in unused if getattr(asked, name) != getattr(default, name))
    told = f"{resolved.method} with the loss '{loss}' has no use for {', '.join(given)}: it changes nothing"
    return [told] if given else []


def label_notes(asked: TrainConfig, resolved: TrainConfig, prepared: Prepared) -> list[str]:
    """What the labels do not say, and which loss, or epoch, is therefore chosen: a sentence each."""
    labels = prepared.observed_labels[prepared.rows(TRAIN)]
    notes = []
    if not len(prepared.rows(resolved.selection)):
        notes.append(f"there is no {resolved.selection} image to choose the best epoch by, so the last one is kept")
    if TEST not in prepared.splits and prepared.folds is None:
        notes.append("there is no test image, so mlrpl eval will have no figure of this run")
    if names := classes_without(ABSENT, prepared.classes, labels):
        of = f"{len(names)} of {len(prepared.classes)} classes: {first_few(names)}"
        notes.append(f"no training cell is known to be absent for {of}")
    if asked.loss is None and resolved.loss == losses.POSITIVES_ONLY:
        chosen = f"the loss is '{resolved.loss}', which takes unknown cells for absent ones"
        notes.append(f"no class has a known absent cell: {chosen}; --loss chooses another")
    return notes


def asked_config(
    file: Path | None, given: Mapping[str, Any], assignments: Sequence[str] = (), resume: bool = False
) -> TrainConfig:
    """The checked options of a run: defaults < the YAML `file` < `assignments` as "epochs=5" < those `given`.

    With `resume`, those of the run `given` (default: the newest), as `resume_config` has them. Raises ConfigError.
    """
    asked = given_options(assignments, given)
    if not resume:
        return make_config(file, asked, config_problems)
    run = TrainConfig(run=asked.pop("run", None)).run
    return resume_config(None if run is None else Path(run), file, asked)


def resume_config(run: Path | None, file: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """The stored configuration of `run` (None: the newest), with those changes that do not change the result.

    Raises ConfigError when `file` or `given` ask for another value of anything else.
    """
    stored = load_config(run or newest_run())
    stored = replace(stored, **_settled_method(asdict(stored)))
    asked = {**(read_yaml(file) if file else {}), **given}
    wanted = {key: value for key, value in asked.items() if value is not None and key != "run"}
    if wanted.keys() & {"method", "method_options"}:
        wanted |= _settled_method({"method": stored.method} | wanted)
    if wanted.get("precision") == AUTO:
        del wanted["precision"]  # it was resolved when the run began
    made = _with_absolute_paths(make_config(flags={**asdict(stored), **wanted}, problems=config_problems))
    kept = [key for key in wanted if key not in FREE_ON_RESUME and getattr(made, key) != getattr(stored, key)]
    asks = [f"{key} {getattr(stored, key)}, got {getattr(made, key)}" for key in kept]
    raise_together([f"--resume keeps {ask}; start a new run for that" for ask in asks])
    return made


def _settled_method(given: Mapping[str, Any]) -> dict[str, Any]:
    """The method and all its options, of a configuration that names it with or without them."""
    named = TrainConfig(method=given["method"], method_options=given.get("method_options", {}))
    options = asdict(methods.method_options(named.method, named.method_options))
    return {"method": named.method, "method_options": options}


def short_method(config: TrainConfig) -> str:
    """The method and what of its options is not the default, in a folder's name: "sa-attention_temperature=0.1"."""
    defaults = asdict(methods.method_options(config.method, {}))
    changed = [f"{name}={value}" for name, value in config.method_options.items() if value != defaults.get(name)]
    return re.sub(r"[^\w.,=+-]", "_", "-".join([config.method, *changed]))[:LONGEST_METHOD]


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    given = {name: path for name in ("data", "glove", "cache") if (path := getattr(config, name)) is not None}
    resolved: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in given.items()}
    backbone = absolute(backbone_options(config))
    return replace(config, **resolved, backbone=backbone.name, backbone_config=backbone.config)
