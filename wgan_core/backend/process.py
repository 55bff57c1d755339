"""Settings of a training process. They apply to the whole process, so its owner calls these functions."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from wgan_core.backend.choices import FLOAT32
from wgan_core.backend.precision import set_on_gpus
from wgan_core.cache import keep_compiled_code_private

T = TypeVar("T")
R = TypeVar("R")


def configure(threads: int, gpu_share: float = 1.0, precision: str = FLOAT32) -> None:
    """Configure this process: CPU threads, GPU memory and precision. Flush subnormal numbers to zero.

    A saturated tanh has gradients of 1e-40, and arithmetic on such numbers takes many times as long.

    Args:
        threads: Number of CPU threads.
        gpu_share: Maximum share of the GPU's memory, in (0, 1].
        precision: Precision of products, as in `Structure`. On GPUs it is a setting of the whole process.
    """
    keep_compiled_code_private()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    set_on_gpus(precision)
    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)


def spread(function: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """Apply a function to each item on several CPU threads of this process. Return the results in order.

    Several items run at a time, each on one thread. A single item may use all threads.

    Raises:
        Exception: The error of the first item, in order, whose call failed.
    """
    workers = min(threads, len(items))
    if workers < 2:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=_alone) as pool:
            return list(pool.map(function, items))
    finally:
        # Libraries apply the number of threads to the whole process, whichever thread sets it.
        torch.set_num_threads(threads)


def _alone() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def describe(device: torch.device) -> str:
    """Describe the training device: the GPU's name, or the processor's name and number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def processor() -> str:
    """Return the CPU's name, from Linux if it gives one."""
    return cpu_field("model name") or platform.processor() or platform.machine()


def cpu_field(name: str) -> str:
    """Return what Linux says of the first processor, such as its `vendor_id`, or an empty text if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
