"""Distances between two sets of samples, as pure functions of their arguments.

In shapes, N is the number of real samples, M of fake samples, D of features and P of projections.

Functions import POT where they use it, because the import takes a second. A process that trains does not need it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_core.data.limits import size_text
from wgan_core.errors import UserError

# Rows of a kernel matrix computed at once. Blocks of 64 x 5,000 numbers stay in the cache of one CPU core. They are 1.6
# times as fast as blocks of 250 rows (docs/log.md).
KERNEL_ROWS = 64
# Roots of eigenvalues below this share of the largest are rounding.
RANK_TOLERANCE = 1e-6
# Rows of random directions drawn at once.
DRAWN_ROWS = 10_000
# Limit on the network simplex's pivots. Sets of a few thousand samples take only thousands of pivots.
MOST_PIVOTS = 10_000_000


class Estimate(NamedTuple):
    """A score and its standard error.

    The error is that of the generated samples alone: the real samples are the same for all trials. Each function takes
    it from the influence of every generated sample on the score (the delta method; van der Vaart 1998, chapter 20). It
    is NaN with fewer than two generated samples.
    """

    value: float
    error: float


def standard_error(influences: Tensor) -> float:
    """Return the standard error of a mean of values (M,), in float64; NaN for fewer than two."""
    return float(influences.double().std()) / math.sqrt(len(influences)) if len(influences) > 1 else math.nan


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian fitted to features, in float64: its mean (D,), covariance (D, D), and the root (D, D) of that."""

    mean: Tensor
    covariance: Tensor
    root: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> Gaussian:
        """Fit it to features (N, D)."""
        mean, covariance = moments(features)
        values, vectors = torch.linalg.eigh(covariance)
        return cls(mean, covariance, vectors * values.clamp(min=0).sqrt() @ vectors.T)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the unbiased covariance (D, D) of features (N, D), in float64."""
    wide = features.double()
    return wide.mean(0), wide.T.cov().reshape(features.shape[1], features.shape[1])


def frechet_value(real: Gaussian, fake: Tensor) -> float:
    """Return the value of `frechet_distance` alone, which takes half the time."""
    mean, covariance = moments(fake)
    roots = torch.linalg.eigvalsh(real.root @ covariance @ real.root).clamp(min=0).sqrt()
    return _frechet(real, mean - real.mean, covariance, roots)


def _frechet(real: Gaussian, shift: Tensor, covariance: Tensor, roots: Tensor) -> float:
    return float(shift.square().sum() + (real.covariance + covariance).trace() - 2 * roots.sum())


def frechet_distance(real: Tensor | Gaussian, fake: Tensor) -> Estimate:
    """Return the Fréchet distance between Gaussians fitted to features (N, D) and (M, D), in squared feature units.

    It is |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)), computed in float64 (Heusel et al. 2017, equation 6). The
    last trace is that of (R C_f R)^(1/2), where R is the root of C_r. The influence of a generated feature x is
    2 (m_f - m_r).x + x'(I - T) x about the mean, where T = R (R C_f R)^(-1/2) R takes one Gaussian to the other.

    Args:
        real: Real features, or the Gaussian fitted to them if it is already known.
        fake: Generated features.
    """
    known = real if isinstance(real, Gaussian) else Gaussian.fit(real)
    mean, covariance = moments(fake)
    values, vectors = torch.linalg.eigh(known.root @ covariance @ known.root)
    roots = values.clamp(min=0).sqrt()
    shift = mean - known.mean
    # A root that rounding alone lifts above 0 has no inverse.
    inverse = torch.where(roots > RANK_TOLERANCE * roots.max(), 1 / roots, 0.0)
    along = known.root @ vectors
    centred = fake.double() - mean
    moved = centred - centred @ (along * inverse @ along.T)
    return Estimate(_frechet(known, shift, covariance, roots), standard_error((centred * (moved + 2 * shift)).sum(1)))


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return the kernel matrix (N, M) of all rows a of (N, D) and b of (M, D), in float64.

    The kernel is k(a, b) = (a.b / D + 1)^3 (Bińkowski et al. 2018, section 4). The distance is a small difference of
    kernel sums, and the cube triples a relative error, so float32 would lose the distance's digits.
    """
    base = (x / x.shape[1] @ y.T).add_(1)
    return (base * base).mul_(base)


def kernel_means(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the mean kernel of each row of (N, D) with all rows of (M, D), float64 (N,).

    Without `y`, the mean is over all other rows of x.
    """
    x = x.double()
    others = x if y is None else y.double()
    sums = torch.cat([cubic_kernel(rows, others).sum(1) for rows in x.split(KERNEL_ROWS)])
    if y is not None:
        return sums / len(others)
    return (sums - (x.square().sum(1) / x.shape[1] + 1) ** 3) / (len(x) - 1)


def kernel_distance(real: Tensor, fake: Tensor, real_within: float | None = None) -> Estimate:
    """Return the unbiased squared MMD with the cubic kernel between features (N, D) and (M, D); may be below 0.

    The kernel is that of Bińkowski et al. 2018, section 4. The estimator is that of Gretton et al. 2012, equation 3,
    over all samples instead of random subsets. All is computed in float64.

    Args:
        real: Features (N, D).
        fake: Features (M, D).
        real_within: Mean of `kernel_means(real)` if it is already known.
    """
    within = float(kernel_means(real).mean()) if real_within is None else real_within
    own, across = kernel_means(fake), kernel_means(fake, real)
    return Estimate(within + float((own - 2 * across).mean()), standard_error(2 * (own - across)))


def wasserstein(real: Tensor, fake: Tensor) -> Estimate:
    """Return the exact 1-Wasserstein distance between samples (N, D) and (M, D), in units of the samples.

    It is the least mean Euclidean distance of any transport plan with equal weights (Arjovsky et al. 2017, equation 1).
    The network simplex of Bonneel et al. 2011 finds that plan in float64. Between two sets from one distribution, the
    distance is above 0. It is larger for fewer samples and for more axes. Time and memory grow at least with N M. The
    influence of a generated sample is its potential in the dual problem.

    Raises:
        RuntimeError: The solver finds no optimal plan.
    """
    from ot.lp import emd2

    cost = torch.cdist(real.double(), fake.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    weights = (np.full(size, 1 / size) for size in cost.shape)
    distance, solved = emd2(*weights, cost, numItermax=MOST_PIVOTS, log=True)
    if solved["warning"] is not None:
        raise RuntimeError(f"no best transport between {len(real)} and {len(fake)} samples: {solved['warning']}")
    return Estimate(float(distance), standard_error(torch.from_numpy(solved["v"])))


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


def sliced_wasserstein(real: Tensor, fake: Tensor) -> Estimate:
    """Return the sliced 2-Wasserstein distance between equally many real and fake samples, in units of the samples.

    It is (mean over directions of W_2^2)^(1/2) (Bonneel et al. 2015, section 3). In one dimension, the best transport
    takes the n-th smallest value to the n-th smallest value. The influence of a generated value on W_2^2 is the
    integral of twice its way to the real value.

    Args:
        real: Projections (N, P) of real samples.
        fake: Projections (N, P) of fake samples.

    Raises:
        ValueError: The shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"both must have one shape (N, P): given {real.shape} and {fake.shape}")
    # NumPy sorts with vector instructions, which is many times as fast as torch. Rows are contiguous.
    at_real, at_fake = (np.ascontiguousarray(projected.numpy().T) for projected in (real, fake))
    order = np.argsort(at_fake, axis=1)
    at_fake = np.take_along_axis(at_fake, order, axis=1)
    ways = at_fake - np.sort(at_real, axis=1)
    distance = math.sqrt(np.square(ways).mean(dtype=np.float64))
    potentials = np.zeros_like(ways)
    np.cumsum((ways[:, 1:] + ways[:, :-1]) * np.diff(at_fake, axis=1), axis=1, out=potentials[:, 1:])
    influences = np.empty_like(ways)
    np.put_along_axis(influences, order, potentials, axis=1)
    error = standard_error(torch.from_numpy(influences.mean(axis=0)))
    # The error is that of the squared distance; at a distance of 0 all influences are 0.
    return Estimate(distance, error / (2 * distance) if distance > 0 else error)
