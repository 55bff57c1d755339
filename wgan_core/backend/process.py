"""Settings of a process that trains. They are the process's own, so its owner asks for them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from wgan_core.backend.choices import FLOAT32
from wgan_core.backend.precision import set_on_gpus

T = TypeVar("T")
R = TypeVar("R")


def configure(threads: int, gpu_share: float = 1.0, precision: str = FLOAT32) -> None:
    """Use this many CPU threads and at most this share of the GPU's memory, and count subnormal numbers as zero.

    precision: of products, as in `Structure`. A GPU's depend on settings of the whole process.

    A saturated tanh has gradients of 1e-40, and arithmetic on such numbers takes many times as long.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    set_on_gpus(precision)
    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)


def spread(function: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """The function of each item, in order; of several at a time, each on one of so many CPU threads of this process.

    One item alone has all the threads. Raises what the function raises of the first item of which it does.
    """
    workers = min(threads, len(items))
    if workers < 2:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=_alone) as pool:
            return list(pool.map(function, items))
    finally:
        # Libraries take the number of threads for the whole process, whichever thread of it says so.
        torch.set_num_threads(threads)


def _alone() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def describe(device: torch.device) -> str:
    """What a process trains on: the GPU's name, or the processor's with the threads that it uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def processor() -> str:
    """The CPU's name, as Linux gives it where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (each.partition(":")[2].strip() for each in lines if each.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
