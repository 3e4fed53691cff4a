"""Where computation runs: device, precision, processes; and seeded randomness that nothing global can disturb."""

from __future__ import annotations

import hashlib

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState

from mlrpl_cli.core.errors import ConfigError

MIXED_PRECISION = {"float32": "no", "bf16": "bf16"}


def make_accelerator(device: str, precision: str) -> Accelerator:
    """One process, or one of those that `torchrun` started; each batch is divided among them.

    Raises ConfigError when CUDA is asked for and there is none, or bf16 where the device cannot.
    """
    chosen = choose_device(device)
    # Accelerate keeps the first precision of a process; a library user may train in one and evaluate in another.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != MIXED_PRECISION[precision]:
        AcceleratorState._reset_state()
    return Accelerator(
        cpu=chosen.type == "cpu",
        mixed_precision=MIXED_PRECISION[precision],
        dataloader_config=DataLoaderConfiguration(split_batches=True, even_batches=True),
        # Every buffer is frozen and the same in every process.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def device_problem(device: str) -> str | None:
    """The one-line reason why this machine cannot compute on `device`, or None."""
    if device == "cuda" and not torch.cuda.is_available():
        return "device cuda: this PyTorch sees no CUDA device; use --device cpu"
    return None


def choose_device(device: str) -> torch.device:
    """ "cpu", "cuda", or "auto" for CUDA where there is one. Raises ConfigError when CUDA is asked for in vain."""
    if problem := device_problem(device):
        raise ConfigError(problem)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def make_generator(seed: int, *stream: object) -> torch.Generator:
    """A CPU generator for one purpose: the same seed and stream give the same numbers, other streams other ones."""
    return torch.Generator().manual_seed(derive_seed(seed, *stream))


def derive_seed(seed: int, *stream: object) -> int:
    """A 63-bit seed from a seed and any names or numbers."""
    text = "/".join(str(part) for part in (seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
