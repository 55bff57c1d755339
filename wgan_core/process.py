"""Settings of a process that trains. They are the process's own, so its owner asks for them."""

from __future__ import annotations

import torch


def configure(threads: int, gpu_share: float = 1.0) -> None:
    """Use this many CPU threads and at most this share of the GPU's memory, and count subnormal numbers as zero.

    A saturated tanh has gradients of 1e-40, and arithmetic on such numbers takes many times as long.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)
