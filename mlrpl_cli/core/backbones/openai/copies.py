"""The copies of OpenAI's checkpoints on the Hugging Face hub, for where OpenAI's own address cannot be reached.

OpenAI's archives are known by their SHA-256. These are other files, of the same values under open_clip's names. It can
be checked that a file is the one that the hub lists, by its SHA-256, and of which revision it is. That its values are
OpenAI's is known once the archive is at hand: a fingerprint is over values in float32, which both share.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mlrpl_cli.core.backbones.hub_client import quiet_hub, reason_of
from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Progress, Silent

FILE = "open_clip_model.safetensors"
COPIES = {
    "RN50": "timm/resnet50_clip.openai",
    "RN101": "timm/resnet101_clip.openai",
    "RN50x4": "timm/resnet50x4_clip.openai",
    "RN50x16": "timm/resnet50x16_clip.openai",
    "RN50x64": "timm/resnet50x64_clip.openai",
    "ViT-B/32": "timm/vit_base_patch32_clip_224.openai",
    "ViT-B/16": "timm/vit_base_patch16_clip_224.openai",
    "ViT-L/14": "timm/vit_large_patch14_clip_224.openai",
    "ViT-L/14@336px": "timm/vit_large_patch14_clip_336.openai",
}
"""OpenAI's name → the repository that open_clip takes it from."""
_SHA256, _REVISION = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


class Copy(NamedTuple):
    """A file of the hub on this machine."""

    path: Path
    revision: str
    """The commit of its repository."""
    sha256: str
    """As the hub lists it, and as the file has it."""


def fetch_from_hub(name: str, folder: Path, progress: Progress | None = None) -> Copy:
    """The copy of OpenAI's `name`, downloaded once into `folder` and verified by the SHA-256 that the hub lists.

    Raises WeightsError where it cannot be had, and where a file is not what the hub lists.
    """
    kept = kept_copy(name, folder)
    if kept is None and (found := _in_hubs_cache(name)):
        return found  # hashed there
    copy = kept or _listed(name, folder)
    try:
        fetch(_address(name, copy.revision), copy.path, "sha256", copy.sha256, progress or Silent())
    except DataError as error:
        raise WeightsError(str(error)) from error
    return copy


def kept_copy(name: str, folder: Path) -> Copy | None:
    """The copy that an earlier call left in `folder`; its name says its revision and SHA-256."""
    for path in sorted(folder.glob(f"{_stem(name)}.*.safetensors")):
        _, _, told = path.stem.partition(f"{_stem(name)}.")
        revision, _, sha256 = told.partition(".")
        if _REVISION.fullmatch(revision) and _SHA256.fullmatch(sha256):
            return Copy(path, revision, sha256)
    return None


def _in_hubs_cache(name: str) -> Copy | None:
    """The copy that another program left in the hub's own cache, if that can be verified."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(COPIES[name], FILE)
    if not isinstance(found, str):
        return None
    path, sha256 = Path(found), Path(found).resolve().name  # which the cache calls by its SHA-256
    if not _SHA256.fullmatch(sha256) or not path.is_file() or sha256_of_file(path) != sha256:
        return None
    return Copy(path, path.parent.name, sha256)


def _listed(name: str, folder: Path) -> Copy:
    """What the hub lists now, not downloaded yet."""
    from huggingface_hub import get_hf_file_metadata

    address = _address(name, "main")
    try:
        with quiet_hub():
            told = get_hf_file_metadata(address)
    except Exception as error:  # whatever its client raises for a network or a server
        raise WeightsError(f"cannot fetch {address}: {reason_of(error)}; {_by_hand(address)}") from error
    sha256, revision = told.etag or "", told.commit_hash or ""
    if not _SHA256.fullmatch(sha256) or not _REVISION.fullmatch(revision):
        raise WeightsError(f"{address}: the server lists no SHA-256 and revision of the file; {_by_hand(address)}")
    return Copy(folder / f"{_stem(name)}.{revision}.{sha256}.safetensors", revision, sha256)


def _address(name: str, revision: str) -> str:
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(COPIES[name], FILE, revision=revision))


def _by_hand(address: str) -> str:
    return f"download {address} elsewhere and give its path as --backbone, with --backbone-config openai"


def _stem(name: str) -> str:
    """The name as it can be part of a file's."""
    return name.replace("/", "-").replace("@", "-")
