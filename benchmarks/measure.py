"""How time and memory are measured, and what the machine could do at best."""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], Any]
GIB = 2**30


@dataclass(frozen=True)
class Part:
    """One thing that is computed in two ways."""

    ours: Work
    other: Work
    error: Callable[[], float] | None = None
    """Largest relative error of ours against the other, over what both return; None where they differ on purpose."""
    needs: Callable[[], Needs] | None = None
    """What ours must do at least; None where nobody has worked it out."""
    rounds: int = 3
    """Timed runs of each."""
    repeats: int = 1
    """Runs of ours in a row that are timed as one, where the other takes many times as long."""


@dataclass(frozen=True)
class Needs:
    """What a computation must do at least."""

    flops: float
    """Multiplications and additions of its matrix products and convolutions."""
    bytes: float
    """What those products read and write, each tensor once a product: nothing between them is kept in a cache."""
    sigmoids: float = 0.0
    dtype: str = "float32"
    """What the products are computed in."""

    def seconds(self, ceilings: Ceilings) -> float:
        """The time that the measured rates allow: arithmetic and transfer overlap, sigmoids come on top."""
        products = max(self.flops / ceilings.matmul[self.dtype], self.bytes / ceilings.copy)
        return products + self.sigmoids / ceilings.sigmoid


@dataclass(frozen=True)
class Promise:
    """What the project promises of a part; None where it promises nothing."""

    ratio: float | None = None
    """Least ratio of times, the other's by ours."""
    memory: float | None = None
    """Least ratio of memory, the other's by ours."""
    seconds: float | None = None
    """Most seconds of ours."""
    bytes: float | None = None
    """Most memory of ours."""
    error: float | None = None
    """Most relative error."""

    def on(self, device: torch.device) -> Promise:
        """What holds on `device`: times and memory are promised of a CPU, errors of every device."""
        return self if device.type == "cpu" else Promise(error=self.error)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    against: str
    promise: Promise
    seconds: float
    other_seconds: float
    memory: float | None = None
    """Bytes beyond the inputs at the peak; None where it was not measured."""
    other_memory: float | None = None
    error: float | None = None
    needs: Needs | None = None
    limit: float | None = None
    """Seconds that the machine's measured rates allow for what is needed."""
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.other_seconds / self.seconds

    def broken(self) -> list[str]:
        """One sentence for each promise that this measurement does not keep."""
        promise, memory = self.promise, self.memory or 0.0
        at_least = (
            (promise.ratio, self.ratio, "times as fast"),
            (promise.memory, (self.other_memory or 0.0) / max(memory, 1.0), "times less memory"),
        )
        at_most = (
            (promise.seconds, self.seconds, "seconds"),
            (promise.bytes, memory, "bytes"),
            (promise.error, self.error or 0.0, "relative error"),
        )
        missed = [(bound, got, unit) for bound, got, unit in at_least if bound is not None and got < bound]
        missed += [(bound, got, unit) for bound, got, unit in at_most if bound is not None and got > bound]
        return [f"{self.name}: promised {bound:.3g} {unit}, got {got:.3g}" for bound, got, unit in missed]


@dataclass(frozen=True)
class Ceilings:
    """Rates of this machine, measured now: operations or bytes a second."""

    matmul: dict[str, float] = field(default_factory=dict)
    """Multiplications and additions of a large matrix product, by dtype."""
    copy: float = 0.0
    """Bytes read and written by a large copy."""
    sigmoid: float = 0.0
    """Sigmoids of numbers in the cache."""
    tanh: float = 0.0


def measure(part: Part, device: torch.device) -> tuple[float, float]:
    """Median seconds of ours and of the other."""

    def ours() -> None:
        for _ in range(part.repeats):
            part.ours()

    seconds, other = interleaved([ours, part.other], part.rounds, device)
    return seconds / part.repeats, other


def interleaved(works: Sequence[Work], rounds: int, device: torch.device) -> list[float]:
    """Median seconds of each, run in turn A B A B … after one run of each that is not counted."""
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, work in zip(taken, works, strict=True):
            times.append(seconds_of(work, device))
    return [statistics.median(times) for times in taken]


def seconds_of(work: Work, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(build: Callable[[torch.device], Part], which: str, device: torch.device) -> float:
    """Bytes that one run of a part's "ours" or "other" needs beyond what was there when it started.

    On a CPU a fresh process builds the part, runs it once, and reads its highest resident size (Linux only).
    """
    if device.type == "cuda":
        work = getattr(build(device), which)
        gc.collect()  # what the part before left in cycles
        torch.zeros(8, 8, device=device).matmul(torch.zeros(8, 8, device=device))  # cuBLAS keeps its workspace
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return float(torch.cuda.max_memory_allocated(device) - before)
    return in_fresh_process(build, which)[0]


def in_fresh_process(build: Callable[[torch.device], Part], which: str) -> tuple[float, float]:
    """Bytes beyond what was there, and seconds, of one run of a part's "ours" or "other" in a process of its own."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)  # so that what is freed goes back and is not counted
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peak_in_child, args=(build, which, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()
        del os.environ["MALLOC_MMAP_THRESHOLD_"]


def _peak_in_child(build: Callable[[torch.device], Part], which: str, sender: Any) -> None:
    work = getattr(build(torch.device("cpu")), which)
    torch.zeros(8, 8).matmul(torch.zeros(8, 8))  # what the libraries set up once belongs to nobody
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # the highest resident size starts again from now
    before = _status("VmRSS")
    seconds = seconds_of(work, torch.device("cpu"))
    sender.send((float(_status("VmHWM") - before), seconds))


def _status(name: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def needs_of(work: Work, dtype: torch.dtype) -> Needs:
    """Count the products that `work` computes, in `dtype`."""
    with FlopCounterMode(display=False) as flops, _Traffic() as traffic:
        work()
    return Needs(float(flops.get_total_flops()), traffic.bytes, dtype=_name(dtype))


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that go into and come out of products."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # inference mode hands over whole operators, such as conv2d, that hold the product
            out = func.decompose(*args, **(kwargs or {}))
        if out is not NotImplemented:
            return out
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket._qualified_op_name.removeprefix("aten::") in _PRODUCTS:
            self.bytes += sum(leaf.nbytes for leaf in tree_leaves((args, out)) if isinstance(leaf, torch.Tensor))
        return out


_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "convolution", "convolution_backward")


def measure_ceilings(device: torch.device) -> Ceilings:
    """A large matrix product, a large copy, and functions over a vector that stays in the cache."""
    rates = {_name(dtype): _product_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16)}
    source = torch.randn(2**26, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / _best(lambda: target.copy_(source), 5, device)
    near = torch.randn(200_000 if device.type == "cpu" else 2**26, device=device)
    out = torch.empty_like(near)
    sigmoid = near.numel() / _best(lambda: torch.sigmoid(near, out=out), 100, device)
    tanh = near.numel() / _best(lambda: torch.tanh(near, out=out), 100, device)
    return Ceilings(rates, copied, sigmoid, tanh)


def _product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Of the largest product up to 4096 that takes no minutes: some processors have no bf16, and are slow at it."""
    size, square = 256, torch.randn(4096, 4096, device=device).to(dtype)
    while size < len(square) and seconds_of(partial(_product, square[:size, :size]), device) < 0.05:
        size *= 2
    square = square[:size, :size].contiguous()
    return 2 * size**3 / _best(partial(_product, square), 5, device)


def _product(square: Tensor) -> Tensor:
    return square @ square


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _best(work: Work, runs: int, device: torch.device) -> float:
    work()
    return min(seconds_of(work, device) for _ in range(runs))


def describe_machine(device: torch.device) -> str:
    """One line: processor, cores, memory, versions."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return f"{name}, {memory:.0f} GiB, PyTorch {torch.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
