"""The data sets that `prepare` reads, and a format made from what it is asked for.

To add one: a file with its `labels.records.Format`, and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
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
    return resolve_name(DATASETS[dataset])


def make_format(dataset: str, given: Mapping[str, Any]) -> Format:
    """The format of `dataset` with the options `given`. Raises ConfigError for everything wrong with them at once."""
    kind = format_of(dataset)
    try:
        return kind(**given)
    except ValidationError as error:
        found = problems(error, kind)
    raise ConfigError("; ".join(_sentence(dataset, name, what, name in given) for name, what in found.items()))


def flag(name: str) -> str:
    """ "train_images" → "--train-images"."""
    return f"--{name.replace('_', '-')}"


def _sentence(dataset: str, name: str, what: str | None, given: bool) -> str:
    """Of one of the `problems` that pydantic found with what is given for a data set."""
    fields = format_of(dataset).model_fields
    if what is not None and not given:
        from mlrpl_cli.core.labels.sources import SOURCES  # what it imports is slow, and help imports this module

        fetched = "; --download fetches it" if dataset in SOURCES else ""
        return f"{dataset} needs {flag(name)}, {fields[name].description}{fetched}"
    if what is not None:
        return f"{flag(name)}: {what}"
    owners = [other for other in DATASETS if name in format_of(other).model_fields]
    if owners:
        return f"{flag(name)} is an option of {', '.join(owners)}, not of {dataset}; leave it out"
    return f"{dataset} has no option '{name}'; {did_you_mean(name, fields)}"
