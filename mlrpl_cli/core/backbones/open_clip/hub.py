"""Files of a model on the Hugging Face hub: fetched through open_clip, or found where they were fetched before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.backbones.hub_client import quiet_hub, reason_of
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.io.errors import WeightsError

CONFIG = "open_clip_config.json"
CARD = "README.md"
OTHER = "other"
"""What a card says of a licence that the hub has no name for; the maker's own name for it stands beside."""
_LICENCES = re.compile(r"^(license(?:_name|_link)?)\s*:(.*(?:\n(?:[ \t]+\S|\s*- ).*)*)", re.MULTILINE)
"""Keys of the YAML at a card's head, each with all lines of its value."""
_WORD = re.compile(r"""\s*["']?([\w.:/-]+)["']?\s*(?:#.*)?""")


@dataclass(frozen=True)
class Place:
    """A model's folder on the hub."""

    repository: str
    """ "timm/ViT-B-16-SigLIP2"."""
    file: str = ""
    """The file with its weights; empty: as open_clip names it."""
    revision: str | None = None
    """A commit, a tag or a branch; None: the newest."""

    def __str__(self) -> str:
        return self.repository + (f"@{self.revision}" if self.revision else "")

    @property
    def page(self) -> str:
        """Its address for people."""
        return f"https://huggingface.co/{self.repository}" + (f"/tree/{self.revision}" if self.revision else "")


def place_of(text: str) -> Place:
    """The place that "ORG/NAME", or "ORG/NAME@REVISION", says. Raises WeightsError when it says none."""
    repository, _, revision = text.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise WeightsError(f"hf-hub:{text}: expected hf-hub:ORG/NAME or hf-hub:ORG/NAME@REVISION")
    return Place(repository, revision=revision or None)


def kept_or_fetched(place: Place, file: str | None = None) -> Path:
    """The file from the cache where a revision is said and it is there, else fetched: a branch may have moved on."""
    kept = cached(place, file) if place.revision else None
    return kept or fetch(place, file)


class AbsentError(WeightsError):
    """The hub has the repository, but no such file in it."""


def fetch(place: Place, file: str | None = None) -> Path:
    """The file, of which the newest is asked for unless a revision is said; the weights where `file` is None.

    Raises WeightsError, which says how to do without the network, when it cannot be had.
    """
    *others, last = [file] if file else _weight_names(place.file)
    for name in others:
        with suppress(AbsentError):
            return _fetched(place, name)
    return _fetched(place, last)


def _fetched(place: Place, file: str) -> Path:
    download = open_clip().pretrained.hf_hub_download
    try:
        with quiet_hub():
            return Path(download(place.repository, filename=file, revision=place.revision))
    except Exception as error:  # whatever the hub's client raises
        reason = reason_of(error)
        absent = "404" in reason
        if absent and file == CONFIG:
            told = f"{place} has no {CONFIG}, so it is none of open_clip's; download it and give its folder"
            raise AbsentError(told) from error
        raise (AbsentError if absent else WeightsError)(
            f"cannot fetch {_address(place, file)}: {reason}; on a machine that reaches it run "
            f"hf download {place.repository}, bring the folder here and give local-dir:FOLDER as the backbone"
        ) from error


def _address(place: Place, file: str) -> str:
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(place.repository, file, revision=place.revision))


def revision_of(path: Path) -> str | None:
    """The commit that a file of the hub's cache is of."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


def cached(place: Place, file: str | None = None) -> Path | None:
    """The file where it was fetched before, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    for name in [file] if file else _weight_names(place.file):
        found = try_to_load_from_cache(place.repository, name, revision=place.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def has_cache() -> bool:
    """Whether anything was ever fetched from the hub on this machine."""
    from huggingface_hub import constants

    return any(Path(constants.HF_HUB_CACHE).glob("models--*"))


def licence_in(card: Path | None) -> str | None:
    """What the first lines of a model card say; None where there is no card, and where they say none, or several.

    A licence beside which stands a `license_name` or a `license_link` is one of the maker's own: `other (NAME)`.
    """
    if card is None or not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    front = head.split("\n---", 1)[0] if head.startswith("---") else ""
    told: list[tuple[str, str]] = _LICENCES.findall(front)
    values = {name: word[1] if (word := _WORD.fullmatch(value)) else None for name, value in told}
    if len(values) != len(told) or values.get("license") is None:
        return None
    if set(values) == {"license"} and values["license"] != OTHER:
        return values["license"]
    named = values.get("license_name") or values.get("license_link")
    return f"{OTHER} ({named})" if named else OTHER


def _weight_names(file: str) -> tuple[str, ...]:
    """What open_clip looks for, in its order: safetensors first."""
    constants = open_clip().constants
    if not file:
        return constants.HF_SAFE_WEIGHTS_NAME, constants.HF_WEIGHTS_NAME
    return tuple(_safe_first(file))


def _safe_first(file: str) -> Iterator[str]:
    if file.endswith((".bin", ".pth")):
        yield file[:-4] + ".safetensors"
    yield file
