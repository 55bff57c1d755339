"""Sequences from a known distribution: noisy sines of random amplitude, frequency and phase, drawn from a seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset
from wgan_core.data.sequences import standardised
from wgan_core.data.splits import SPLITS

LENGTH = 64
# Bounds of uniform distributions: the amplitude, in data units, and the cycles in a sequence.
AMPLITUDES, CYCLES = (0.5, 1.5), (1.0, 2.0)
# Standard deviation of the noise at each step. Without noise, the sines form a 3-dimensional set in 64 dimensions, and
# a critic can detect any sample outside this set, however near.
NOISE_SD = 0.05
ROWS = dict(zip(SPLITS, (50_000, 10_000, 10_000), strict=True))
SINES_SEED = 18_220_321


def draw_sines(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw sines (count, 1, 64): x_t = a sin(2 pi f t / 64 + phase) + noise, t = 0 to 63, phase uniform."""
    amplitude, cycles = (rng.uniform(*law, size=(count, 1)) for law in (AMPLITUDES, CYCLES))
    phase = rng.uniform(0, 2 * math.pi, size=(count, 1))
    angle = 2 * math.pi * cycles * np.arange(LENGTH) / LENGTH + phase
    return (amplitude * np.sin(angle) + NOISE_SD * rng.standard_normal((count, LENGTH)))[:, None]


def load_sines(seed: int = SINES_SEED) -> Dataset:
    """Draw sines, float32 (N, 1, 64), standardised: 50,000 to train, 10,000 to validate and 10,000 to test."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return standardised("sines", {split: draw_sines(rows, rng) for split, rows in ROWS.items()}, ["x"], [False])
