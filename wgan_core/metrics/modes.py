"""Which modes of a mixture samples reach, and in what shares.

A sample is of high quality if it lies within three standard deviations of the nearest centre, and a mode is captured
if at least one sample of high quality is nearest to its centre: the counts with which Srivastava et al. 2017 (VEEGAN)
and Lin et al. 2018 (PacGAN) measure collapse on synthetic data. Of a two-dimensional Gaussian 1 - exp(-9/2) = 98.9 %
lie so near.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WITHIN_SD = 3.0


def mode_counts(samples: Tensor, centres: Tensor, sd: float) -> Tensor:
    """How many samples of high quality each mode has: int64 (M,), for samples (N, D) and centres (M, D).

    sd: of each component on each axis, in the units of the samples.
    """
    distances, nearest = torch.cdist(samples.double(), centres.double()).min(dim=1)
    return torch.bincount(nearest[distances <= WITHIN_SD * sd], minlength=len(centres))


def modes_captured(counts: Tensor) -> int:
    """The number of modes with at least one sample, of counts (M,)."""
    return int((counts > 0).sum())


def kl_to_uniform(counts: Tensor) -> float:
    """Kullback-Leibler divergence, in nats, of the shares of counts (M,) from equal ones.

    sum over modes of p log(p M): 0 for equal shares; log M if all samples are in one mode, and also, as the worst that
    it can be, if there are none.
    """
    shares = counts.double() / counts.sum().clamp(min=1)
    uniform = math.log(len(counts))
    return float(torch.special.xlogy(shares, shares).sum()) + uniform
