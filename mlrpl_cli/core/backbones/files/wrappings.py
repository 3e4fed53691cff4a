"""The one CLIP among all that a checkpoint holds: under which keys it lies, and what stands in front of its names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from mlrpl_cli.core.backbones.openai.architectures import SIZES
from mlrpl_cli.core.io.errors import WeightsError, first_few, printable
from mlrpl_cli.core.io.reading import short

IMAGE = ("visual", "vision_model")
"""What open_clip and OpenAI, and transformers, call the image encoder."""
TEXT = ("token_embedding.", "text.", "text_model.", "text_projection", "transformer.")
"""How names of the text encoder begin."""
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile and sharded training put into names, at any depth."""
BUFFERS = ("position_ids", "attn_mask")
"""Last parts of names that hold no weights: older versions of transformers and open_clip saved them."""
DEEPEST = 3
"""How many keys are looked under."""


class Entry(Protocol):
    """A tensor, or one that is in a file and can be read from there."""

    @property
    def shape(self) -> Any: ...


class Stored(NamedTuple):
    """A tensor in a safetensors file, not read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]


class Found(NamedTuple):
    """A model's entries under the names that the model gives them."""

    entries: dict[str, Entry]
    openai: bool
    """Whether OpenAI's three sizes stand beside them."""
    notes: tuple[str, ...]


def find_model(path: Path, content: object) -> Found:
    """The CLIP in what a file holds. Raises WeightsError where there is none, and where there are several."""
    found = [(keys, prefix, entries) for keys, entries in _mappings(content) for prefix in sorted(_prefixes(entries))]
    whole = [place for place in found if _has_text(place[2], place[1])]
    if not whole:
        raise WeightsError(_nothing(path, content, bool(found)))
    if len(whole) > 1:
        raise WeightsError(_several(path, [(keys, prefix) for keys, prefix, _ in whole]))
    _, prefix, entries = whole[0]
    own = {name.removeprefix(prefix): entry for name, entry in entries.items() if name.startswith(prefix)}
    if adapters := [name for name in own if ".lora_" in name]:
        raise WeightsError(
            f"{path} holds an adapter beside the weights ({first_few(map(short, adapters))}); "
            "merge it where it was made (merge_and_unload of peft), save the state dict and give that"
        )
    others = [name for name in entries if not name.startswith(prefix)]
    notes = (f"{path}: tensors beside the CLIP are not used ({first_few(map(short, others))})",) if others else ()
    weights = {name: entry for name, entry in own.items() if name.rpartition(".")[2] not in BUFFERS + SIZES}
    return Found(weights, all(name in own for name in SIZES), notes)


def _mappings(content: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Entry]]]:
    """Every mapping in `content` with its tensors, after the keys it lies under."""
    if isinstance(content, Mapping):
        own = {str(name): value for name, value in content.items() if isinstance(value, Tensor | Stored)}
        yield keys, _unwrapped(own)
        if len(keys) < DEEPEST:
            for name, value in content.items():
                yield from _mappings(value, (*keys, str(name)))


def _unwrapped(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Without what compiling and sharding put into names. Raises WeightsError where a tensor has both names."""
    found = {WRAPPERS.sub("", name): entry for name, entry in entries.items()}
    if len(found) < len(entries):
        twice = [name for name in entries if WRAPPERS.sub("", name) != name and WRAPPERS.sub("", name) in entries]
        raise WeightsError(
            f"it holds tensors twice, once under the name of a wrapper ({first_few(map(short, twice))}); "
            "save the state dict of the model that is meant, and give that"
        )
    return found


def _prefixes(entries: Mapping[str, Entry]) -> set[str]:
    """What stands in front of the names of image encoders."""
    found = set()
    for name in entries:
        parts = name.split(".")
        places = [place for place, part in enumerate(parts[:-1]) if part in IMAGE]
        found |= {"".join(f"{part}." for part in parts[: places[0]])} if places else set()
    return found


def _has_text(entries: Mapping[str, Entry], prefix: str) -> bool:
    return any(name.startswith(tuple(prefix + start for start in TEXT)) for name in entries)


def _nothing(path: Path, content: object, image: bool) -> str:
    names = [name for _, entries in _mappings(content) for name in entries]
    if image:
        lacking = "holds an image encoder without its text encoder"
    elif names:
        lacking = f"holds no CLIP: no tensor is called visual.… or vision_model.…, got {first_few(map(short, names))}"
    else:
        lacking = "holds no state dict (a mapping of names to tensors)"
    return f"{path} {lacking}; give a state dict of a whole CLIP of OpenAI, open_clip or transformers"


def _several(path: Path, places: list[tuple[tuple[str, ...], str]]) -> str:
    """What to do about several models in one file."""
    told = [_place(*place) for place in places]
    keys, prefix = places[-1]
    inside = "".join(f"[{printable(short(key))!r}]" for key in keys)
    kept = f"torch.load('{path.name}', weights_only=True){inside}"
    if prefix:
        kept = f"{{n: t for n, t in {kept}.items() if n.startswith('{short(prefix)}')}}"
    return f"{path} holds several models ({first_few(told)}); save the one you mean: torch.save({kept}, 'one.pt')"


def _place(keys: tuple[str, ...], prefix: str) -> str:
    under = f"under {'.'.join(map(short, keys))}" if keys else ""
    named = f"named {short(prefix)}…" if prefix else ""
    return " ".join(part for part in (under, named) if part) or "beside them"
