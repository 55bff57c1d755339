"""Distances between two sets of samples, as pure functions of their arguments.

In shapes, N is the number of real samples, M of fake samples, D of features and P of projections.

Functions import torchmetrics and POT where they use them, because both imports together take two seconds. A process
that scores needs only one of the two packages, and a process that trains needs neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from wgan_core.backend.linear import fast_linear
from wgan_core.data.limits import size_text
from wgan_core.errors import UserError

# Rows of a kernel matrix computed at once. 250 x 5,000 floats stay in the cache of one CPU core. That is 2.6 times as
# fast as the whole matrix.
KERNEL_ROWS = 250
# Rows of random directions drawn at once.
DRAWN_ROWS = 10_000
# Limit on the network simplex's pivots. Sets of a few thousand samples take only thousands of pivots.
MOST_PIVOTS = 10_000_000


class PrecomputedFeatures(nn.Identity):
    """An identity that stands in for torchmetrics' feature extractor when features are already computed."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance between Gaussians fitted to features (N, D) and (M, D), in squared feature units.

    It is |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)), computed in float64 (Heusel et al. 2017, equation 6).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=PrecomputedFeatures(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the kernel matrix (N, M) of all rows a of (N, D) and b of (M, D).

    The kernel is k(a, b) = (a.b / D + 1)^3 (Bińkowski et al. 2018, section 4).
    """
    with fast_linear(x):
        return (F.linear(x, y) / x.shape[1] + 1) ** 3


def within_mean(x: Tensor) -> float:
    """Return the mean of the kernel over all ordered pairs of different rows of (N, D)."""
    total = 0.0
    for start in range(0, len(x), KERNEL_ROWS):
        # The matrix is symmetric: entries right of the diagonal square count twice, and entries left of it are skipped.
        block = cubic_kernel(x[start : start + KERNEL_ROWS], x[start:])
        square, right = block[:, : len(block)], block[:, len(block) :]
        total += _sum(square) - _sum(square.diagonal()) + 2 * _sum(right)
    return total / (len(x) * (len(x) - 1))


def between_mean(x: Tensor, y: Tensor) -> float:
    """Return the mean of the kernel over all pairs of a row of (N, D) and a row of (M, D)."""
    return sum(_sum(cubic_kernel(rows, y)) for rows in x.split(KERNEL_ROWS)) / (len(x) * len(y))


def _sum(values: Tensor) -> float:
    # The distance is a small difference of such sums, so they are taken in float64.
    return float(values.sum(dtype=torch.float64))


def kernel_distance(real: Tensor, fake: Tensor, real_within: float | None = None) -> float:
    """Return the unbiased squared MMD with the cubic kernel between features (N, D) and (M, D); may be below 0.

    The kernel is that of Bińkowski et al. 2018, section 4. The estimator is that of Gretton et al. 2012, equation 3,
    over all samples instead of random subsets.

    Args:
        real: Features (N, D).
        fake: Features (M, D).
        real_within: `within_mean(real)` if it is already known.
    """
    within = within_mean(real) if real_within is None else real_within
    return within + within_mean(fake) - 2.0 * between_mean(real, fake)


def wasserstein(real: Tensor, fake: Tensor) -> float:
    """Return the exact 1-Wasserstein distance between samples (N, D) and (M, D), in units of the samples.

    It is the least mean Euclidean distance of any transport plan with equal weights (Arjovsky et al. 2017, equation 1).
    The network simplex of Bonneel et al. 2011 finds that plan in float64. Between two sets from one distribution, the
    distance is above 0. It is larger for fewer samples and for more axes. Time and memory grow at least with N M.

    Raises:
        RuntimeError: The solver finds no optimal plan.
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
        """Return the directions that POT draws, with the same bits.

        Blocks of rows are drawn twice, for the norms and for the directions. All rows together would take three times
        the memory of the directions in float64.

        Raises:
            UserError: The directions do not fit into half of the available memory.
        """
        size, half = 4 * dimension * count, psutil.virtual_memory().available // 2
        if size > half:
            raise UserError(
                f"the {count} directions of a sliced distance must fit into half of the memory that is available, "
                f"{size_text(half)}; for samples of {dimension:,} entries they take {size_text(size)}: give smaller "
                "samples, or a machine with more memory"
            )

        def blocks() -> Iterator[tuple[int, NDArray[np.float64]]]:
            normal = np.random.RandomState(seed)
            for start in range(0, dimension, DRAWN_ROWS):
                yield start, normal.randn(min(DRAWN_ROWS, dimension - start), count)

        squares = np.zeros(count)
        for _, block in blocks():
            squared = block**2
            squared[0] += squares  # adds the rows one after another, as over all rows at once
            squares = squared.sum(0)
        directions = torch.empty(dimension, count)
        for start, block in blocks():
            directions[start : start + len(block)] = torch.from_numpy(block / np.sqrt(squares))
        return cls(directions)

    def of(self, samples: Tensor) -> Tensor:
        """Project samples of any shape (N, ...) on each direction: (N, P)."""
        return samples.flatten(1).to(torch.float32) @ self.directions


def sliced_wasserstein(real: Tensor, fake: Tensor) -> float:
    """Return the sliced 2-Wasserstein distance between equally many real and fake samples, in units of the samples.

    It is (mean over directions of W_2^2)^(1/2) (Bonneel et al. 2015, section 3). In one dimension, the best transport
    takes the n-th smallest value to the n-th smallest value.

    Args:
        real: Projections (N, P) of real samples.
        fake: Projections (N, P) of fake samples.

    Raises:
        ValueError: The shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"both must have one shape (N, P): given {real.shape} and {fake.shape}")
    # NumPy sorts with vector instructions, which is many times as fast as torch.
    in_order = (torch.from_numpy(np.sort(projected.numpy(), axis=0)) for projected in (real, fake))
    return float(torch.sub(*in_order).square().mean(dtype=torch.float64) ** 0.5)
