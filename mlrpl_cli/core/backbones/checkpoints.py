"""State dicts of CLIP: from the package, by OpenAI's names, or from a file, none of which may run code of its own."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.files import reading
from mlrpl_cli.core.backbones.openai.architectures import ARCHITECTURES, VISUAL, random_state
from mlrpl_cli.core.io.download import fetch
from mlrpl_cli.core.io.errors import MlrplError, WeightsError, did_you_mean, one_line
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.registry import Registry

TINY, RANDOM = "tiny", "random:"
TINY_PATH = Path(__file__).parents[2] / "assets" / "tiny.safetensors"

# CLIP's vocabulary has 49,408 tokens, of which tiny's pre-training met a few hundred. The rows of the others still have
# the values they were drawn with, so they are drawn again from the same seed instead of being stored.
EMBEDDING = "token_embedding.weight"
ROWS, VALUES, SEED = "token_embedding.rows", "token_embedding.values", "token_embedding.seed"
VOCABULARY, INITIAL_STD = 49408, 0.02

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
OURS = {TINY, *ARCHITECTURES, *(RANDOM + name for name in ARCHITECTURES)}
BACKBONES = Registry("backbone", "mlrpl.backbones", {}, OURS)
"""Name → a function of no argument that returns an OpenAI-format state dict; ours are in `load_state`."""


def is_file(backbone: str) -> bool:
    """Whether `backbone` means a file: a known name is not one, even where a file is called so."""
    return not _is_name(backbone) and os.path.isfile(backbone)  # Path.is_file raises for a name that is too long


def known_stride(backbone: str) -> int | None:
    """Pixels per grid position, as far as the name tells; None for a file."""
    form = "RN50" if backbone == TINY else backbone.removeprefix(RANDOM)
    return ARCHITECTURES[form].image.stride if form in ARCHITECTURES else None


def backbone_problem(backbone: str) -> str | None:
    """The one-line reason why `backbone` cannot be loaded, as far as can be seen without opening it, or None."""
    if _is_name(backbone) or is_file(backbone):
        return None
    advice = did_you_mean(backbone.removeprefix(RANDOM), [TINY, *ARCHITECTURES, *BACKBONES])
    return f"backbone '{backbone}' is neither a file nor a known name; {advice}"


def load_state(backbone: str, progress: Progress | None = None, prefix: str = "") -> dict[str, Tensor]:
    """OpenAI-format state dict of "tiny", "RN101", "random:RN101" (untrained, seed 0), a package's name, or a file.

    Only the tensors whose names start with `prefix`, such as `VISUAL`; of a safetensors file, nothing else is read.
    Raises WeightsError for a name that is not known and a file that is not, or not wholly, a CLIP.
    """
    if problem := backbone_problem(backbone):
        raise WeightsError(problem)
    if backbone in BACKBONES:
        state = _added_state(backbone)
    elif backbone == TINY or is_file(backbone):
        state = unpack_token_embedding(read_state(TINY_PATH if backbone == TINY else Path(backbone), prefix))
    elif backbone in ARCHITECTURES:
        state = read_state(fetch_published(backbone, progress or Silent()), prefix, published=True)
    else:
        state = random_state(ARCHITECTURES[backbone.removeprefix(RANDOM)], seed=0)
    return {name: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _is_name(backbone: str) -> bool:
    return backbone in OURS or backbone in BACKBONES


def _added_state(backbone: str) -> dict[str, Tensor]:
    """What the function of an installed package gives. Raises WeightsError when that fails or is no state dict."""
    try:
        state = BACKBONES.load(backbone)()
    except MlrplError:
        raise
    except Exception as error:  # whatever someone else's code does
        told = f"{type(error).__name__}: {one_line(error)}"
        raise WeightsError(f"backbone '{backbone}' of {BACKBONES.owner(backbone)} cannot be loaded: {told}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        owner = BACKBONES.owner(backbone)
        raise WeightsError(f"backbone '{backbone}' of {owner}: expected a state dict of tensors, got {type(state)}")
    return {str(name): tensor for name, tensor in state.items()}


def fetch_published(name: str, progress: Progress) -> Path:
    """The checkpoint that OpenAI published under `name`, downloaded once into the cache folder and verified."""
    url, expected = published_url(name), PUBLISHED_SHA256[name]
    folder = _cache()
    cached = folder / url.rpartition("/")[2]
    if not cached.is_file():
        return fetch(url, cached, "sha256", expected, progress)
    if (found := sha256_of_file(cached)) != expected:
        raise WeightsError(
            f"{cached} is not what OpenAI published as {name}: expected SHA-256 {expected[:16]}…, "
            f"got {found[:16]}…; delete it to fetch it again, or give its path as the backbone"
        )
    return cached


def _cache() -> Path:
    """Where published checkpoints are kept: where OpenAI's package has them, or the folder MLRPL_CACHE."""
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


def read_state(path: Path, prefix: str = "", published: bool = False) -> dict[str, Tensor]:
    """The tensors of the CLIP in a file whose names start with `prefix`: see `files.reading.open_weights`."""
    return reading.read_state(path, prefix, PUBLISHED_SHA256.values(), published)


def initial_token_embedding(width: int, seed: int) -> Tensor:
    """(49408, W) float32: every row before pre-training. NumPy's legacy generator gives the same on every machine."""
    drawn = np.random.RandomState(seed).standard_normal((VOCABULARY, width))
    return torch.from_numpy((drawn * INITIAL_STD).astype(np.float32))


def unpack_token_embedding(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the whole table in place of its trained rows; one that has the table is returned as it is."""
    if ROWS not in state:
        return dict(state)
    table = initial_token_embedding(state[VALUES].shape[1], int(state[SEED]))
    table[state[ROWS].long()] = state[VALUES].float()
    return {name: state[name] for name in state if name not in (ROWS, VALUES, SEED)} | {EMBEDDING: table}


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the image encoder's tensors, names and shapes: what stored text features and heads belong to."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith(VISUAL) and state[name].is_floating_point():
            digest.update(f"{name}{tuple(state[name].shape)}".encode())
            digest.update(state[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()
