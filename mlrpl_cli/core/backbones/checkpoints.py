"""Files of weights to tensors by name, none of which may run code of its own."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mlrpl_cli.core.backbones.openai.architectures import SIZES
from mlrpl_cli.core.backbones.openai.published import PUBLISHED_SHA256
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.files import sha256_of_file

PARALLEL = "module."
"""What data-parallel training puts in front of each name."""


def read_state(path: Path, prefix: str = "", published: bool = False) -> dict[str, Tensor]:
    """The tensors in a safetensors file, a plain or wrapped state dict or an archive that OpenAI published.

    Of a safetensors file, only those are read whose names start with `prefix`. A TorchScript archive holds code, so it
    is hashed before it is opened, unless `published` says that its hash is known to be one that OpenAI published.
    """
    state: object
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.removeprefix(PARALLEL).startswith(prefix)]  # noqa: SIM118
                state = {name: file.get_tensor(name) for name in names}
        elif _is_torchscript(path):
            if not published and (digest := sha256_of_file(path)) not in PUBLISHED_SHA256.values():
                raise WeightsError(
                    f"{path} is a TorchScript archive with SHA-256 {digest[:16]}…, none that OpenAI published; "
                    "it could run code, so it stays closed: save its state dict as safetensors and give that"
                )
            state = torch.jit.load(str(path), map_location="cpu").state_dict()
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:
        # A file that is no checkpoint can raise nearly anything inside an unpickler.
        raise WeightsError(f"{path} is not a readable checkpoint, or only part of one; fetch it again") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict (a mapping of names to tensors); save one and give that")
    named = {str(name).removeprefix(PARALLEL): value for name, value in state.items() if name not in SIZES}
    return {name: value for name, value in named.items() if name.startswith(prefix)}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())
