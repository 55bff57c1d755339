"""Settings of a process that trains. They are the process's own, so its owner asks for them."""

from __future__ import annotations

import torch


def configure(threads: int) -> None:
    """Use this many CPU threads, and count subnormal numbers as zero.

    A saturated tanh has gradients of 1e-40, and arithmetic on such numbers takes many times as long.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
