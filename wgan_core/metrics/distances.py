"""Distances between two sets of samples. Each is a function of its arguments and nothing else.

Notation: N real and M fake samples, D features, P projections. torchmetrics and POT are imported where
they are used: they take two seconds together, and who scores needs but one of them, who trains neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgan_core.backend.linear import fast_linear

# Rows of a kernel matrix worked out at once: 250 x 5,000 floats stay in the cache of one core, which is
# 2.6 times as fast on a CPU as the whole matrix.
KERNEL_ROWS = 250
# Far more than the thousands that the network simplex takes for sets of a few thousand samples.
MOST_PIVOTS = 10_000_000


class PrecomputedFeatures(nn.Identity):
    """A feature extractor for features that are worked out already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to features (N, D) and (M, D); squared feature units.

    |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)), Heusel et al. 2017, equation 6; in float64.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=PrecomputedFeatures(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(a, b) = (a.b / D + 1)^3 for all rows a of (N, D) and b of (M, D): (N, M). Bińkowski et al. 2018, section 4."""
    with fast_linear(x):
        return (F.linear(x, y) / x.shape[1] + 1) ** 3


def within_mean(x: Tensor) -> float:
    """Mean of the kernel over all ordered pairs of different rows of (N, D)."""
    total = 0.0
    for start in range(0, len(x), KERNEL_ROWS):
        # The matrix is symmetric: of each block of rows, the square on the diagonal and what is right of it.
        block = cubic_kernel(x[start : start + KERNEL_ROWS], x[start:])
        square, right = block[:, : len(block)], block[:, len(block) :]
        total += _sum(square) - _sum(square.diagonal()) + 2 * _sum(right)
    return total / (len(x) * (len(x) - 1))


def between_mean(x: Tensor, y: Tensor) -> float:
    """Mean of the kernel over all pairs of a row of (N, D) and one of (M, D)."""
    return sum(_sum(cubic_kernel(rows, y)) for rows in x.split(KERNEL_ROWS)) / (len(x) * len(y))


def _sum(values: Tensor) -> float:
    # In float64: the distance is a small difference of such sums.
    return float(values.sum(dtype=torch.float64))


def kernel_distance(real: Tensor, fake: Tensor, real_within: float | None = None) -> float:
    """Unbiased squared MMD with the cubic kernel between features (N, D) and (M, D); may be below 0.

    Bińkowski et al. 2018, section 4 and the estimator of Gretton et al. 2012, equation 3, over all samples
    instead of random subsets. `real_within` is `within_mean(real)`, if it is known.
    """
    within = within_mean(real) if real_within is None else real_within
    return within + within_mean(fake) - 2.0 * between_mean(real, fake)


def wasserstein(real: Tensor, fake: Tensor) -> float:
    """Exact 1-Wasserstein distance between samples (N, D) and (M, D), in their units: the cost is Euclidean distance.

    min over plans with equal weights of the mean cost, Arjovsky et al. 2017, equation 1, by the network simplex of
    Bonneel et al. 2011; in float64. Between two samples of the same law it is not 0: the fewer and the more axes, the
    larger. Time and memory grow with N M and more.
    """
    from ot.lp import emd2

    cost = torch.cdist(real.double(), fake.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    weights = (np.full(size, 1 / size) for size in cost.shape)
    distance, solved = emd2(*weights, cost, numItermax=MOST_PIVOTS, log=True)
    if solved["warning"] is not None:
        raise RuntimeError(f"no best transport between {len(real)} and {len(fake)} samples: {solved['warning']}")
    return float(distance)


@dataclass(frozen=True)
class Projections:
    """Random directions on the unit sphere, float32 (D, P), fixed by a seed."""

    directions: Tensor

    @classmethod
    def draw(cls, dimension: int, count: int, seed: int) -> Projections:
        from ot.sliced import get_random_projections

        drawn = get_random_projections(dimension, count, seed=seed)
        return cls(torch.from_numpy(drawn).to(torch.float32))

    def of(self, samples: Tensor) -> Tensor:
        """Samples of any shape (N, ...) on each direction: (N, P)."""
        return samples.flatten(1).to(torch.float32) @ self.directions


def sliced_wasserstein(real_sorted: Tensor, fake_projected: Tensor) -> float:
    """Sliced 2-Wasserstein distance of as many real as fake samples on P directions, in units of the samples.

    (mean over directions of W_2^2)^(1/2), Bonneel et al. 2015, section 3. Each is (N, P); the real ones are
    `in_order` already: in one dimension the best transport takes the n-th smallest to the n-th smallest.
    """
    if real_sorted.shape != fake_projected.shape:
        raise ValueError(f"both must have one shape (N, P): given {real_sorted.shape} and {fake_projected.shape}")
    return float((real_sorted - in_order(fake_projected)).square().mean(dtype=torch.float64) ** 0.5)


def in_order(projected: Tensor) -> Tensor:
    """Projected samples (N, P), sorted along each direction."""
    # NumPy sorts with vector instructions, many times as fast as torch.
    return torch.from_numpy(np.sort(projected.numpy(), axis=0))
