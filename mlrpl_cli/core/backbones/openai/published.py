"""The checkpoints that OpenAI published, by their names, downloaded once and verified."""

import os
from pathlib import Path

from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Progress

# SHA-256 of the checkpoints that OpenAI published, from the addresses in its `clip` package.
PUBLISHED_SHA256: dict[str, str] = {
    "RN50": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "RN101": "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    "RN50x4": "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
    "RN50x16": "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
    "RN50x64": "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
    "ViT-B/32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B/16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L/14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L/14@336px": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}


def fetch_published(name: str, progress: Progress) -> Path:
    """The checkpoint that OpenAI published under `name`, downloaded once into the cache folder and verified."""
    cached, expected = cached_path(name), PUBLISHED_SHA256[name]
    if not cached.is_file():
        return fetch(published_url(name), cached, "sha256", expected, progress)
    if (found := sha256_of_file(cached)) != expected:
        raise WeightsError(
            f"{cached} is not what OpenAI published as {name}: expected SHA-256 {expected[:16]}…, "
            f"got {found[:16]}…; delete it to fetch it again, or give its path as the backbone"
        )
    return cached


def cached_path(name: str) -> Path:
    """Where the checkpoint is kept: where OpenAI's package has it, or in the folder MLRPL_CACHE."""
    return _cache() / published_url(name).rpartition("/")[2]


def _cache() -> Path:
    if given := os.environ.get("MLRPL_CACHE"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "clip"
    except RuntimeError as error:
        raise WeightsError("there is no home folder to keep checkpoints in; set MLRPL_CACHE to a folder") from error


def published_url(name: str) -> str:
    """The address that OpenAI's `clip` package has for "ViT-L/14@336px": …/SHA-256/ViT-L-14-336px.pt."""
    file = f"{name.replace('/', '-').replace('@', '-')}.pt"
    return f"https://openaipublic.azureedge.net/clip/models/{PUBLISHED_SHA256[name]}/{file}"
