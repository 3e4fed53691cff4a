"""Where computation runs: device, precision, processes; and seeded randomness that nothing global can disturb."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from mlrpl_cli.core.io.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

FLOAT32, BF16 = "float32", "bf16"
LONGEST_WAIT = timedelta(days=2)
"""For another process: one may have hours more to encode. One that has ended is noticed by its closed connection."""
DTYPES = {FLOAT32: torch.float32, BF16: torch.bfloat16}


def make_accelerator(device: str) -> Accelerator:
    """One process, or one of those that `torchrun` started; each batch is divided among them.

    Raises ConfigError when CUDA is asked for and there is none.
    """
    # Imported here because prediction needs none of it.
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState, PartialState

    chosen = choose_device(device)
    # A process's first accelerator fixes the device of all later ones: forget it where another is asked for.
    if PartialState._shared_state and not PartialState().use_distributed and PartialState().device.type != chosen.type:
        AcceleratorState._reset_state(reset_partial_state=True)
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False)  # the same in every process from the start
    # Precision is the frozen encoders' affair; what is learned is float32.
    handlers = [parallel, InitProcessGroupKwargs(timeout=LONGEST_WAIT)]
    return Accelerator(cpu=chosen.type == "cpu", mixed_precision="no", kwargs_handlers=handlers)


def choose_device(device: str) -> torch.device:
    """ "cpu", "cuda", or "auto" for CUDA where there is one. Raises ConfigError for any other, and for CUDA in vain."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: this PyTorch sees no CUDA device; use --device cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device: expected one of auto, cpu, cuda, got '{device}'") from error


def choose_precision(device: torch.device) -> str:
    """ "bf16" where the device multiplies bfloat16 matrices in hardware, else "float32"."""
    if device.type == "cuda":
        return BF16 if torch.cuda.get_device_capability(device) >= (8, 0) else FLOAT32
    # PyTorch tells of a CPU only under these names, and not of every kind of CPU.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return BF16 if any(test() for test in tests if test is not None) else FLOAT32


def decoding_workers(given: int | None) -> int:
    """How many processes or threads decode: `given`, else a core each, at most 8, shared by `torchrun`'s processes."""
    if given is not None:
        return given
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(usable // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 8), 1)


def make_generator(seed: int, *stream: object) -> torch.Generator:
    """A CPU generator for one purpose: the same seed and stream give the same numbers, other streams other ones."""
    return torch.Generator().manual_seed(derive_seed(seed, *stream))


def derive_seed(seed: int, *stream: object) -> int:
    """A 63-bit seed from a seed and any names or numbers."""
    text = "/".join(map(str, (seed, *stream)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
