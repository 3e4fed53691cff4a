"""The data sets that `prepare` reads, which one a file or folder is, and a format made from what it is asked for.

To add one: a file with its `labels.records.Format`, and its line here, or an entry point of a package of one's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean, first_few
from mlrpl_cli.core.io.registry import Registry
from mlrpl_cli.core.io.schema import flag, problems
from mlrpl_cli.core.labels.formats.tabular.files import tables_in
from mlrpl_cli.core.labels.records import SCENES, Format

_FORMATS = "mlrpl_cli.core.labels.formats"
DATASETS = Registry(
    "data set",
    "mlrpl.formats",
    {
        SCENES: f"{_FORMATS}.scenes:Scenes",
        "voc": f"{_FORMATS}.published.voc:Voc",
        "coco": f"{_FORMATS}.coco.coco:Coco",
        "lvis": f"{_FORMATS}.coco.lvis:Lvis",
        "openimages": f"{_FORMATS}.published.openimages:OpenImages",
        "chexpert": f"{_FORMATS}.published.chexpert:CheXpert",
        "vaw": f"{_FORMATS}.published.vaw:Vaw",
        "answers": f"{_FORMATS}.tools.answers:Answers",
        "cvat": f"{_FORMATS}.tools.cvat:Cvat",
        "labelstudio": f"{_FORMATS}.tools.labelstudio:LabelStudio",
        "nuswide": f"{_FORMATS}.published.nuswide:NusWide",
        "vg": f"{_FORMATS}.published.vg:Vg200",
        "fiftyone": f"{_FORMATS}.tools.fiftyone:FiftyOne",
        "roboflow": f"{_FORMATS}.tools.roboflow:Roboflow",
        "imagefolder": f"{_FORMATS}.tools.imagefolder:ImageFolder",
        "table": f"{_FORMATS}.tabular.table:Table",
        "long": f"{_FORMATS}.tabular.long:Long",
        "tags": f"{_FORMATS}.tabular.tags:Tags",
    },
)
"""Name → a class of `Format`."""
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
OF_YOLO = ("data.yaml", "data.yml", "dataset.yaml", "obj.names", "classes.txt")
"""Files that lie beside YOLO's labels."""
DATASETS_FOLDER = Path("datasets")
"""Where data sets are downloaded to and looked for, below the current folder."""
DATASETS_VARIABLE = "MLRPL_DATASETS"
"""The environment variable that names another such folder."""


def format_of(dataset: str) -> type[Format]:
    """The class of a data set's format. Raises ConfigError for an unknown one, and one that cannot be loaded."""
    kind = DATASETS.load(dataset)
    if not (isinstance(kind, type) and issubclass(kind, Format)):
        raise ConfigError(f"data set '{dataset}': expected a class of Format at '{DATASETS[dataset]}', got {kind!r}")
    return kind


def formats_with_flags() -> dict[str, type[Format]]:
    """The formats whose options a command has flags for: all that can be loaded. Others are told when they are used."""
    found = {}
    for name in DATASETS:
        with suppress(ConfigError):
            found[name] = format_of(name)
    return found


def recognise(root: Path) -> tuple[str, str]:
    """The data set that the file or folder `root` is, and the sentence that says why.

    Raises ConfigError, which asks, when it could be several, and for none.
    """
    found = {name: why for name in DATASETS if (why := format_of(name).recognise(root))}
    special = {name: why for name, why in found.items() if not format_of(name).is_general}
    candidates = special or found
    if len(candidates) == 1:
        (name, why), *_ = candidates.items()
        others = [told for other, told in found.items() if other != name and not format_of(name).reads_tables]
        return name, f"{why} (not read: {'; '.join(others)})" if others and os.path.isdir(root) else why
    if not os.path.exists(root):
        raise ConfigError(f"there is no {root}; check the path after --root")
    if not candidates:
        if os.path.isdir(root) and len(tables := tables_in(root)) > 1:
            told = first_few(path.name for path in tables)
            what = f"{len(tables)} tables, of which several or none could be meant ({told})"
            raise ConfigError(f"{root} holds {what}; name the file itself with --root")
        raise ConfigError(f"{root} is of no format that is recognised; {_advice(root)}, see docs/formats.md")
    told = ", or ".join(f"{name} ({why})" for name, why in candidates.items())
    raise ConfigError(f"{root} can be read as {told}; choose one with --dataset")


def _advice(root: Path) -> str:
    """What to do with a file or folder that no format recognises."""
    if root.suffix.lower() in ARCHIVES:
        return "unpack it, and name the folder"
    if root.suffix.lower() in (".yaml", ".yml") or any(os.path.isfile(root / name) for name in OF_YOLO):
        return "it looks like YOLO's, which is not read: export it as COCO, as annotation tools do"
    return f"name it with --dataset ({', '.join(name for name in DATASETS if name != SCENES)})"


def find_root(dataset: str) -> Path | None:
    """Where a published data set lies when nobody says: the first place that holds it; None for none."""
    usual = format_of(dataset).usual_folder
    places = (Path(usual), DATASETS_FOLDER / dataset, *_named_folder(dataset))
    return next((place for place in places if usual and format_of(dataset).recognise(place)), None)


def _named_folder(dataset: str) -> tuple[Path, ...]:
    named = os.environ.get(DATASETS_VARIABLE)
    return (Path(named) / dataset, Path(named)) if named else ()


def make_format(dataset: str, given: Mapping[str, Any]) -> Format:
    """The format of `dataset` with the options `given`. Raises ConfigError for everything wrong with them at once."""
    kind = format_of(dataset)
    try:
        return kind(**given)
    except ValidationError as error:
        found = problems(error, kind)
    raise ConfigError("; ".join(_sentence(dataset, name, what, name in given) for name, what in found.items()))


def _sentence(dataset: str, name: str, what: str | None, given: bool) -> str:
    """Of one of the `problems` that pydantic found with what is given for a data set."""
    kind = format_of(dataset)
    if what is not None and not given:
        from mlrpl_cli.core.labels.sources import SOURCES  # what it imports is slow, and help imports this module

        needed = kind.holds if name == "root" else kind.model_fields[name].description
        fetched = ""
        if dataset in SOURCES:
            places = f"{kind.usual_folder}, {DATASETS_FOLDER / dataset} or ${DATASETS_VARIABLE}"
            fetched = f"; it is not in {places}, and mlrpl prepare --dataset {dataset} --download fetches it"
        return f"{dataset} needs {flag(name)}, {needed}{fetched}"
    if what is not None:
        return f"{flag(name)}: {what}"
    owners = [other for other in DATASETS if name in format_of(other).model_fields]
    if owners:
        instead = "leave it out, or choose the format with --dataset"
        return f"{flag(name)} is an option of {', '.join(owners)}, not of {dataset}; {instead}"
    return f"{dataset} has no option '{name}'; {did_you_mean(name, kind.model_fields)}"
