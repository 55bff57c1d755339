"""Ladders of damage of known order, applied to fresh real samples.

The second level of a ladder is chosen near the noise of a score, because every metric sees strong damage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Fresh:
    """Real samples that an evaluator has not seen.

    Attributes:
        values: The samples (N, ...), as a network returns them.
        modes: The class of each sample (N,), or its k-means cluster if the data has no classes.
        centres: The mean of each sample's class, or of all samples if the data has no classes (modes, ...).
        replayed: Training samples to replay (R, ...).
        columns: The entries of each column of a flattened sample, in a fixed random order.
        size, draws: Number of samples in a draw, and of draws in a score.
    """

    values: Tensor
    modes: Tensor
    centres: Tensor
    replayed: Tensor
    columns: Sequence[slice]
    size: int
    draws: int

    def rows(self, rng: np.random.Generator, kept: Tensor | None = None) -> Tensor:
        """Draw the rows of one score, among the kept ones. No draw has a row twice, unless too few rows are kept."""
        known = np.arange(len(self.values)) if kept is None else kept.nonzero()[:, 0].numpy()
        repeat = len(known) < self.size
        parts = [rng.choice(known, self.size, replace=repeat) for _ in range(self.draws)]
        return torch.from_numpy(np.concatenate(parts))


Damage = Callable[[Fresh, float, np.random.Generator], Tensor]


def noise(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of this standard deviation, in units of the samples."""
    values = fresh.values[fresh.rows(rng)]
    return values + level * torch.from_numpy(rng.standard_normal(values.shape, dtype=np.float32))


def blur(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Blur images (N, C, H, W) by a Gaussian of this standard deviation in pixels."""
    values = fresh.values[fresh.rows(rng)]
    if not level:
        return values
    line = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * level**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(values.flatten(0, 1)[:, None], (4,) * 4, mode="replicate")
    return F.conv2d(padded, kernel[None, None]).reshape(values.shape)


def moving_average(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Average sequences (N, C, L) over this odd number of steps."""
    width = int(level)
    return F.avg_pool1d(fresh.values[fresh.rows(rng)], width, 1, width // 2, count_include_pad=False)


def lost_modes(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Leave out the first modes."""
    return fresh.values[fresh.rows(rng, fresh.modes >= level)]


def shrunk_spread(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Multiply the distance from the mean, or from the mean of the class, by this factor."""
    rows = fresh.rows(rng)
    return fresh.centres[fresh.modes[rows]].lerp(fresh.values[rows], level)


def lost_dependence(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Shuffle this share of the columns, each on its own."""
    flat = fresh.values[fresh.rows(rng)].flatten(1)
    for column in fresh.columns[: round(level * len(fresh.columns))]:
        flat[:, column] = flat[torch.from_numpy(rng.permutation(len(flat))), column]
    return flat.reshape(-1, *fresh.values.shape[1:])


def replayed_training(fresh: Fresh, level: float, rng: np.random.Generator) -> Tensor:
    """Replace this share of the samples by few training samples."""
    values = fresh.values[fresh.rows(rng)]
    at = torch.from_numpy(rng.permutation(len(values))[: round(level * len(values))])
    values[at] = fresh.replayed[torch.from_numpy(rng.integers(len(fresh.replayed), size=len(at)))]
    return values


# Levels of each damage, from none to strong.
Ladder = Mapping[Damage, Sequence[float]]
COMMON: Ladder = {
    lost_modes: (0, 1, 2, 4),
    shrunk_spread: (1, 0.9, 0.8, 0.6),
    replayed_training: (0, 0.05, 0.2, 1),
}
IMAGES: Ladder = {noise: (0, 0.05, 0.1, 0.3, 1), blur: (0, 0.3, 0.5, 1), **COMMON}
POINTS: Ladder = {noise: (0, 0.005, 0.01, 0.03, 0.3), **COMMON}
TABLES: Ladder = {noise: (0, 0.05, 0.1, 0.3, 1), **COMMON, lost_dependence: (0, 0.1, 0.3, 1)}
SEQUENCES: Ladder = {
    noise: (0, 0.02, 0.05, 0.15, 1),
    moving_average: (1, 3, 5, 9),
    **COMMON,
    lost_dependence: (0, 0.05, 0.2, 1),
}
