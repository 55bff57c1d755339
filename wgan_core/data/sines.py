"""Sequences of a known law: sines of random amplitude, frequency and phase, with a little noise, drawn from a seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset
from wgan_core.data.sequences import standardised
from wgan_core.data.splits import SPLITS

LENGTH = 64
# Uniform laws: the amplitude, in data units, and the cycles in a sequence; the phase is uniform on the circle.
AMPLITUDES, CYCLES = (0.5, 1.5), (1.0, 2.0)
# Of each step. Without it the law has three dimensions of 64, and a critic tells what lies beside them by any distance.
NOISE_SD = 0.05
ROWS = dict(zip(SPLITS, (50_000, 10_000, 10_000), strict=True))
SINES_SEED = 18_220_321


def draw_sines(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 1, 64): x_t = a sin(2 pi f t / 64 + phase) + noise, t = 0 to 63."""
    amplitude, cycles = (rng.uniform(*law, size=(count, 1)) for law in (AMPLITUDES, CYCLES))
    phase = rng.uniform(0, 2 * math.pi, size=(count, 1))
    angle = 2 * math.pi * cycles * np.arange(LENGTH) / LENGTH + phase
    return (amplitude * np.sin(angle) + NOISE_SD * rng.standard_normal((count, LENGTH)))[:, None]


def load_sines(seed: int = SINES_SEED) -> Dataset:
    """50,000 sines to train, 10,000 to validate, 10,000 to test, float32 (N, 1, 64), standardised."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return standardised("sines", {split: draw_sines(rows, rng) for split, rows in ROWS.items()}, ["x"], [False])
