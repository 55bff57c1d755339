"""Counts of the modes of a mixture that samples reach, and the samples' shares of the modes.

A sample is of high quality if it lies within three standard deviations of the nearest centre. In a two-dimensional
Gaussian, 1 - exp(-9/2) = 98.9 % of samples do. A mode is captured if at least one sample of high quality is nearest to
its centre. Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN) measure collapse on synthetic data by these
counts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wgan_core.data.toy import MIXTURES, Mixture
from wgan_core.metrics.metric import HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.wasserstein import PLANE

WITHIN_SD = 3.0
MODES_NAME, HIGH_QUALITY_NAME, KL_NAME = "eval/modes_captured", "eval/high_quality", "eval/kl_to_uniform"
MODE_NAMES = (MODES_NAME, HIGH_QUALITY_NAME, KL_NAME)
_DEPENDS = frozenset({"centres and sd of the mixture", "sample size"})
_SOURCE = "Srivastava et al. 2017 (VEEGAN) and Lin et al. 2018 (PacGAN), on synthetic data"


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


class Modes(Metric[Mixture]):
    """Counts of samples around the centres of a mixture. They need no real samples."""

    specs = (
        MetricSpec(
            MODES_NAME,
            "modes of the mixture that have at least one sample within 3 sd of their centre; a count",
            "maximize",
            _DEPENDS,
            _SOURCE,
            blind_to="the samples near no centre and the shares of the modes",
        ),
        MetricSpec(
            HIGH_QUALITY_NAME,
            "share of samples within 3 sd of a centre of the mixture; 0 to 1, .989 for the mixture itself",
            "maximize",
            _DEPENDS - {"sample size"},
            _SOURCE,
            blind_to="lost modes and the spread within each",
        ),
        MetricSpec(
            KL_NAME,
            "KL divergence from equal shares of the samples within 3 sd over the modes; nats, log(modes) if there are "
            "none",
            "minimize",
            _DEPENDS,
            "Lin et al. 2018 (PacGAN), on synthetic data",
            blind_to="the samples near no centre and the spread within each mode",
        ),
    )

    def suits(self, data: HeldOut) -> bool:
        return data.dataset.name in MIXTURES and data.dataset.sample_shape == PLANE

    def fit(self, data: HeldOut) -> Mixture:
        return MIXTURES[data.dataset.name]

    def scores(self, real: Mixture, draws: Sequence[SampleDraw]) -> dict[str, float]:
        centres, found = torch.from_numpy(real.centres), []
        for drawn in draws:
            counts = mode_counts(drawn.values, centres, real.sd)
            found.append((modes_captured(counts), int(counts.sum()) / len(drawn.values), kl_to_uniform(counts)))
        return dict(zip(MODE_NAMES, map(statistics.fmean, zip(*found, strict=True)), strict=True))

    def entry(self, real: Mixture) -> dict[str, Any]:
        return {"modes": len(real.centres), "sd": real.sd, "within_sd": WITHIN_SD}
