"""Which backbones there are: families of ours and of installed packages, asked one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, Family
from mlrpl_cli.core.backbones.files.reading import SUFFIXES
from mlrpl_cli.core.backbones.open_clip.catalog import FOLDER
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import WeightsError, did_you_mean, one_line
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.io.registry import Registry

FAMILIES = Registry(
    "family of backbones",
    "mlrpl.backbone_families",
    {
        "added": "mlrpl_cli.core.backbones.added:FAMILY",
        "tiny": "mlrpl_cli.core.backbones.tiny:FAMILY",
        "openai": "mlrpl_cli.core.backbones.openai.family:FAMILY",
        "lite": "mlrpl_cli.core.backbones.lite.family:FAMILY",
        "open_clip": "mlrpl_cli.core.backbones.open_clip.family:FAMILY",
        "files": "mlrpl_cli.core.backbones.files.family:FAMILY",
    },
)
"""Name → a `Family`. The first that claims a backbone has it, files last: a known name is never taken for a file."""
LAST = "files"


def families() -> Iterator[Family]:
    """Every family, in the order in which they are asked."""
    for name in _in_order():
        yield cast(Family, FAMILIES.load(name))


def family_of(name: str) -> Family:
    """The family of a backbone. Raises WeightsError, naming the closest name, when it is none's."""
    return cast(Family, FAMILIES.load(family_name(name)))


def family_name(name: str) -> str:
    """What FAMILIES calls the family of a backbone. Raises WeightsError as `family_of`."""
    for known in _in_order():
        if cast(Family, FAMILIES.load(known)).claims(name):
            return known
    if name.startswith((os.sep, ".")) or Path(name).suffix in SUFFIXES:
        raise WeightsError(f"backbone '{name}' is no file or folder that is there; put it back, or check the path")
    names = [known for family in families() for known in family.names()]
    raise WeightsError(f"backbone '{name}' is neither a file nor a known name; {did_you_mean(name, names)}")


def absolute(options: BackboneOptions) -> BackboneOptions:
    """The same backbone, so named that it is found from every folder. Raises WeightsError when it is none's."""
    return family_of(options.name).absolute(options)


def is_path(name: str) -> bool:
    """Whether a backbone is a file or folder that is there. Raises WeightsError when it is nothing."""
    return family_of(name) is FAMILIES.load(LAST)


def portable_name(name: str) -> str:
    """The name of a backbone without the folders of this machine: of a path, the last part."""
    place = name.removeprefix(FOLDER)
    return name.removesuffix(place) + Path(place).name if os.path.isabs(place) else name


def rebuild(family: str, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
    """`Family.rebuild` of the family of that name in FAMILIES. Raises WeightsError, also where there is none."""
    try:
        return cast(Family, FAMILIES.load(family)).rebuild(options, weights)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # whatever tensors of something else make a library raise
        raise WeightsError(f"backbone '{options.name}' cannot be built: {one_line(error)}") from error


def describe(options: BackboneOptions) -> Description:
    """What is known of a backbone before it is loaded. Raises WeightsError."""
    return _family(options).describe(options)


def load_backbone(options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
    """The backbone that `options` name; see `Family.load`. Raises WeightsError."""
    return _family(options).load(options, progress, text)


def backbone_options(config: TrainConfig) -> BackboneOptions:
    """The backbone of a resolved configuration."""
    return BackboneOptions(config.backbone or "", config.backbone_config, config.dense)


def _in_order() -> list[str]:
    return [*(name for name in FAMILIES if name != LAST), LAST]


def _family(options: BackboneOptions) -> Family:
    """The family, if it has a use for what is given."""
    family = family_of(options.name)
    if options.config is not None and not family.takes_config:
        what = f"{options.name} says all of itself, and backbone_config is for files; leave it out"
        raise WeightsError(f"backbone_config: got '{short(options.config)}', but {what}")
    return family
