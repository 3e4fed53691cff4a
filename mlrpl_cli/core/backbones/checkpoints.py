"""Files of weights in OpenAI's format to tensors by name."""

from pathlib import Path

from torch import Tensor

from mlrpl_cli.core.backbones.files import reading
from mlrpl_cli.core.backbones.openai.published import PUBLISHED_SHA256


def read_state(path: Path, prefix: str = "", published: bool = False) -> dict[str, Tensor]:
    """The tensors of the CLIP in a file whose names start with `prefix`: see `files.reading.open_weights`."""
    return reading.read_state(path, prefix, PUBLISHED_SHA256.values(), published)
