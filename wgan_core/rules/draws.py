"""Random draws as data: every draw is a function of (seed, stream, count, position).

The seed is the trial's, or a constant for evaluation. The count is of critic updates or generator updates, or the index
of a sample, by stream.

A draw is thus the same for any number of lanes, in any lane, on any node, and after any interruption. Only the count of
updates has to be stored.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). It is written
in int64 tensor operations, which are exact on the CPU and on a GPU.

    K lanes   U updates   S draws per update   W = ceil(S / 4) counters of four words each
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Stream(IntEnum):
    """Purpose of a draw. The numbers are part of the checkpoint format: never change one."""

    DATA = 1
    CRITIC_Z = 2
    INTERPOLATION = 3
    GENERATOR_Z = 4
    GRID_Z = 5
    EVALUATION_Z = 6
    GENERATOR_LABEL = 7
    EVALUATION_LABEL = 8


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Compute Philox4x32-10: four words in [0, 2^32), int64.

    Args:
        counter: Four counter words, int64.
        key: Two key words, int64. All six tensors must broadcast together.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # An int64 product wraps modulo 2^64, so its bits are those of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return [c0, c1, c2, c3]


def words(seeds: Tensor, stream: Stream, updates: Tensor, size: int) -> Tensor:
    """Draw uniform 32-bit words as int64, (K, U, S), for seeds (K,) and update numbers (K, U)."""
    count = -(-size // 4)
    position = torch.arange(count, device=seeds.device)
    updates = updates[:, :, None]
    counter = (
        position.expand(*updates.shape[:2], count),
        updates & _MASK,
        updates >> 32,
        torch.full((), int(stream), device=seeds.device),
    )
    key = (seeds[:, None, None] & _MASK, seeds[:, None, None] >> 32)
    return torch.stack(philox(counter, key), dim=-1).flatten(2)[..., :size]


def indices(seeds: Tensor, stream: Stream, updates: Tensor, size: int, below: int) -> Tensor:
    """Draw whole numbers in [0, below), (K, U, S) int64. `below` is at most 2^31."""
    return (words(seeds, stream, updates, size) * below) >> 32


def uniform(seeds: Tensor, stream: Stream, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Draw from U[0, 1], (K, U, S)."""
    return _unit(words(seeds, stream, updates, size)).to(dtype)


def normal(seeds: Tensor, stream: Stream, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Draw from the standard normal distribution, (K, U, S), by Box and Muller (1958).

    The draws are computed in double precision and rounded once. So float32 draws almost never depend on how a
    device vectorises the logarithm or the cosine.
    """
    pairs = _unit(words(seeds, stream, updates, size + size % 2)).unflatten(-1, (-1, 2))
    radius = (-2 * pairs[..., 0].log()).sqrt()
    angle = 2 * math.pi * pairs[..., 1]
    drawn = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return drawn.flatten(-2)[..., :size].to(dtype)


def _unit(bits: Tensor) -> Tensor:
    """Map words to double precision in the open interval (0, 1)."""
    return (bits.double() + 0.5) * 2.0**-32
