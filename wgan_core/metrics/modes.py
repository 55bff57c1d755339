"""Counts of the modes of a mixture that samples reach, and the samples' shares of the modes.

A sample is of high quality if it lies within three standard deviations of the nearest centre. In a two-dimensional
Gaussian, 1 - exp(-9/2) = 98.9 % of samples do. A mode is captured if at least one sample of high quality is nearest to
its centre. Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN) measure collapse on synthetic data by these
counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WITHIN_SD = 3.0


def mode_counts(samples: Tensor, centres: Tensor, sd: float) -> Tensor:
    """Count the samples of high quality nearest to each mode: int64 (M,).

    Args:
        samples: Samples (N, D).
        centres: Centres (M, D) of the modes.
        sd: Standard deviation of each mode on each axis, in units of the samples.
    """
    distances, nearest = torch.cdist(samples.double(), centres.double()).min(dim=1)
    return torch.bincount(nearest[distances <= WITHIN_SD * sd], minlength=len(centres))


def modes_captured(counts: Tensor) -> int:
    """Return the number of modes with at least one sample, from counts (M,)."""
    return int((counts > 0).sum())


def kl_to_uniform(counts: Tensor) -> float:
    """Return the Kullback-Leibler divergence, in nats, of the shares of counts (M,) from equal shares.

    It is the sum over modes of p log(p M). Equal shares give 0. The largest value, log M, means that all samples are in
    one mode; zero samples also give log M.
    """
    shares = counts.double() / counts.sum().clamp(min=1)
    uniform = math.log(len(counts))
    return float(torch.special.xlogy(shares, shares).sum()) + uniform
