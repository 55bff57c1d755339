"""Distances between two sets of samples. Each is a function of its arguments and nothing else.

Notation: N real and M fake samples, D features, P projections. torchmetrics and POT are imported where
they are used: they take over a second together, and a process that only trains needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Rows of a kernel matrix worked out at once: 250 x 5,000 floats stay in the cache of one core, which is
# 2.6 times as fast on a CPU as the whole matrix.
KERNEL_ROWS = 250


class Given(nn.Identity):
    """A feature extractor for features that are worked out already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to features (N, D) and (M, D); squared feature units.

    |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)), Heusel et al. 2017, equation 6; in float64.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=Given(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


def within_mean(x: Tensor) -> float:
    """Mean of the kernel k(a, b) = (a.b / D + 1)^3 over all ordered pairs of different rows of (N, D)."""
    from torchmetrics.image.kid import poly_kernel

    total = 0.0
    for start in range(0, len(x), KERNEL_ROWS):
        block = poly_kernel(x[start : start + KERNEL_ROWS], x)
        # Summed in float64: the distance is a small difference of such sums.
        total += float(block.sum(dtype=torch.float64) - block.diagonal(start).sum(dtype=torch.float64))
    return total / (len(x) * (len(x) - 1))


def between_mean(x: Tensor, y: Tensor) -> float:
    """Mean of the kernel over all pairs of a row of (N, D) and one of (M, D)."""
    from torchmetrics.image.kid import poly_kernel

    total = sum(float(poly_kernel(rows, y).sum(dtype=torch.float64)) for rows in x.split(KERNEL_ROWS))
    return total / (len(x) * len(y))


def kernel_distance(real: Tensor, fake: Tensor, real_within: float | None = None) -> float:
    """Unbiased squared MMD with the cubic kernel between features (N, D) and (M, D); may be below 0.

    Bińkowski et al. 2018, section 4 and the estimator of Gretton et al. 2012, equation 3. This is
    torchmetrics' KernelInceptionDistance with one subset of all samples, but it takes the half that
    depends on the real features only, `within_mean(real)`, if it is known, and draws nothing at random.
    """
    within = within_mean(real) if real_within is None else real_within
    return within + within_mean(fake) - 2.0 * between_mean(real, fake)


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


def sliced_wasserstein(real_projected: Tensor, fake_projected: Tensor) -> float:
    """Sliced 2-Wasserstein distance of projected samples (N, P) and (M, P), in units of the samples.

    (mean over directions of W_2^2)^(1/2), Bonneel et al. 2015, section 3; POT's
    `sliced_wasserstein_distance` on samples whose projections are known.
    """
    import ot

    # POT sorts NumPy columns twice as fast as torch ones.
    squared = ot.wasserstein_1d(real_projected.numpy(), fake_projected.numpy(), p=2)
    return float(squared.mean() ** 0.5)
