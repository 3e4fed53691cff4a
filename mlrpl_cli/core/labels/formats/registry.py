"""The data sets that `prepare` reads, and a format made from what it is asked for.

To add one: a file with its `labels.records.Format`, and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.io.registry import load
from mlrpl_cli.core.io.schema import problems
from mlrpl_cli.core.labels.records import SCENES, Format

DATASETS = {
    SCENES: "mlrpl_cli.core.labels.formats.scenes:Scenes",
    "voc": "mlrpl_cli.core.labels.formats.voc:Voc",
    "coco": "mlrpl_cli.core.labels.formats.coco:Coco",
    "table": "mlrpl_cli.core.labels.formats.table:Table",
}


def format_of(dataset: str) -> type[Format]:
    """The class of a data set's format. Raises ConfigError for an unknown one."""
    if dataset not in DATASETS:
        raise ConfigError(f"no data set is called '{dataset}'; {did_you_mean(dataset, DATASETS)}")
    return load(DATASETS[dataset])


def make_format(dataset: str, given: Mapping[str, Any]) -> Format:
    """The format of `dataset` with the options `given`. Raises ConfigError for everything wrong with them at once."""
    try:
        return format_of(dataset)(**given)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(dataset, *problem) for problem in problems(error))) from error


def flag(name: str) -> str:
    """ "train_images" → "--train-images"."""
    return f"--{name.replace('_', '-')}"


def _sentence(dataset: str, kind: str, name: str, what: str) -> str:
    """Of one problem that pydantic found: its kind, the option and the sentence about its value."""
    fields = format_of(dataset).model_fields
    if kind == "missing":
        from mlrpl_cli.core.labels.sources import SOURCES  # what it imports is slow, and help imports this module

        fetched = "; --download fetches it" if dataset in SOURCES else ""
        return f"{dataset} needs {flag(name)}, {fields[name].description}{fetched}"
    if kind != "extra_forbidden":
        return f"{flag(name)}: {what}"
    owners = [other for other in DATASETS if name in format_of(other).model_fields]
    if owners:
        return f"{flag(name)} is an option of {', '.join(owners)}, not of {dataset}; leave it out"
    return f"{dataset} has no option '{name}'; {did_you_mean(name, fields)}"
