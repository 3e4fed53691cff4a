"""What open_clip knows by name: its architectures, the weights of each, and what is known of them without loading."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.files.configuration import read_configuration
from mlrpl_cli.core.backbones.files.reading import weights_in
from mlrpl_cli.core.backbones.open_clip import hub
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture
from mlrpl_cli.core.backbones.open_clip.hub import CARD, CONFIG, Place
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.io.errors import WeightsError, did_you_mean

HUB, FOLDER, RANDOM = "hf-hub:", "local-dir:", "random:"
PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Entry:
    """A backbone's configuration and where its weights are."""

    architecture: Architecture
    weights: Path | Place | None
    """None: untrained."""
    pretraining: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def licence(self) -> str | None:
        """What the model card says that lies beside the weights."""
        if isinstance(self.weights, Place):
            return hub.licence_in(hub.cached(self.weights, CARD))
        return hub.licence_in(self.weights.parent / CARD) if self.weights else None

    @property
    def address(self) -> str | None:
        """The page of the repository, of the revision that is meant."""
        return self.weights.page if isinstance(self.weights, Place) else None

    @property
    def downloaded(self) -> bool:
        return hub.cached(self.weights) is not None if isinstance(self.weights, Place) else True


@cache
def models() -> tuple[str, ...]:
    """The names of open_clip's architectures, read off its files: importing it takes seconds."""
    found = find_spec("open_clip")
    folders = (found and found.submodule_search_locations) or ()
    files = [path for folder in folders for path in sorted((Path(folder) / "model_configs").glob("*.json"))]
    return tuple(path.stem for path in files)


def is_known(name: str) -> bool:
    """Whether a name has the form of one of open_clip's, and its architecture is there."""
    if name.startswith((HUB, FOLDER)):
        return True
    return split(name.removeprefix(RANDOM))[0] in models()


def split(name: str) -> tuple[str, str | None]:
    """ "ViT-B/16:openai" → ("ViT-B-16", "openai"), as open_clip spells them."""
    model, _, tag = name.partition(":")
    return model.replace("/", "-"), tag.lower().replace("-", "_") or None


def tagged() -> list[str]:
    """MODEL:TAG of all weights that open_clip knows."""
    return [f"{model}:{tag}" for model, tag in open_clip().list_pretrained()]


def entry_of(name: str, recorded: Mapping[str, Any] | None = None) -> Entry:
    """What a name means. A hub's configuration is fetched, of the revision that `recorded` says.

    Raises WeightsError for a name that means nothing, or several things.
    """
    if name.startswith(FOLDER):
        return _of_folder(Path(name.removeprefix(FOLDER)))
    if name.startswith(HUB):
        place = hub.place_of(name.removeprefix(HUB))
        revision = place.revision or (recorded or {}).get("revision")
        return _of_hub(Place(place.repository, revision=revision))
    if name.startswith(RANDOM):
        return _untrained(*split(name.removeprefix(RANDOM)))
    return _of_tag(*split(name), (recorded or {}).get("revision"))


def _of_tag(model: str, tag: str | None, revision: str | None) -> Entry:
    tags = open_clip().list_pretrained_tags_by_model(model)
    if not tags:
        raise WeightsError(f"open_clip has no weights of '{model}'; random:{model} is the same untrained")
    if tag is None and len(tags) > 1:
        raise WeightsError(f"'{model}' has several weights: {', '.join(tags)}; say which, such as {model}:{tags[0]}")
    if (tag := tag or tags[0]) not in tags:
        raise WeightsError(f"'{model}' has no weights '{tag}'; {did_you_mean(tag, tags)}")
    told = open_clip().get_pretrained_cfg(model, tag)
    config, notes = _config(model), list[str]()
    # Of tags that say nothing, the architecture decides.
    if told.get("quick_gelu") and not config.get("quick_gelu"):
        config["quick_gelu"] = True
        notes.append(f"{model}:{tag} was trained with QuickGELU, so it is taken in place of {model}'s GELU")
    if not (repository := told.get("hf_hub")):
        raise WeightsError(f"{model}:{tag} is not on the hub; download {told.get('url')} and give the file")
    folder, _, file = repository.rpartition("/")
    preprocess = {name: told[name] for name in PREPROCESS if name in told}
    return Entry(Architecture(config, preprocess), Place(folder, file, revision), tag, tuple(notes))


def _of_folder(folder: Path) -> Entry:
    path = folder / CONFIG
    if not folder.is_dir():
        raise WeightsError(f"{FOLDER}{folder} is no folder that is there; put it back, or check the path")
    if not path.is_file():
        expected = f"expected {CONFIG} in it, as open_clip writes it, got none"
        raise WeightsError(
            f"{FOLDER}{folder}: {expected}; put it there, or give the folder without {FOLDER}, with --backbone-config"
        )
    found = read_configuration(path)
    own = found.model["text_cfg"].get("hf_tokenizer_name")
    return Entry(replace(found, tokenizer=str(folder) if own else None), weights_in(folder))


def _of_hub(place: Place) -> Entry:
    return Entry(read_configuration(hub.kept_or_fetched(place, CONFIG)), place)


def _untrained(model: str, tag: str | None) -> Entry:
    if tag is not None:
        raise WeightsError(f"random:{model}:{tag}: an untrained backbone has no weights '{tag}'; say random:{model}")
    return Entry(Architecture(_config(model)), None, "untrained")


def _config(model: str) -> dict[str, Any]:
    """A model_cfg by its name. Raises WeightsError for one that open_clip does not know."""
    if (found := open_clip().get_model_config(model)) is None:
        raise WeightsError(f"open_clip has no architecture '{model}'; {did_you_mean(model, models())}")
    return deepcopy(found)
