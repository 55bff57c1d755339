"""The classifier two-sample test with one nearest neighbour (Lopez-Paz and Oquab 2017; Xu et al. 2018, section 4)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wgan_core.metrics.metric import EXACT_SAMPLES, LEAST_SAMPLES, HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.names import error_name

C2ST_NAME = "eval/c2st"
ACCURACY_NAMES = ACCURACY_REAL_NAME, ACCURACY_FAKE_NAME = "eval/nn_accuracy_real", "eval/nn_accuracy_fake"
TWO_SAMPLE_NAMES = (C2ST_NAME, *ACCURACY_NAMES)
# Most differences of two entries in all distances of a score, some seconds of a core. Samples of more than 256 entries
# are therefore fewer.
MOST_DIFFERENCES = 2**32
_DEPENDS = frozenset({"held-out split", "sample size"})
_SOURCE = "Lopez-Paz and Oquab 2017; reals and fakes apart: Xu et al. 2018, section 4"


def nearest_neighbour_accuracies(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return the leave-one-out accuracies of 1-NN on real and on fake samples, with Euclidean distance.

    For a perfect generator, the mean of both is `null_accuracy(N)`, about 0.5. If both are far above it, real and fake
    samples can be told apart. If the accuracy is low on real and high on fake samples, fake samples crowd in few
    places. The mean of both can hide that. Equally near neighbours, such as equal rows, share one vote. Time and memory
    grow with N^2.

    Args:
        real: Real samples (N, D).
        fake: Fake samples (N, D).

    Raises:
        ValueError: The shapes differ. With unequal numbers of samples, neither accuracy would tend to 0.5.
    """
    if real.shape != fake.shape:
        raise ValueError(f"both must have one shape (N, D): given {tuple(real.shape)} and {tuple(fake.shape)}")
    count, both = len(real), torch.cat([real, fake]).double()
    # cdist takes differences here instead of products, so that equal rows have a distance of exactly 0.
    distances = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = distances == distances.min(dim=1, keepdim=True).values
    among_real = nearest[:, :count].sum(1).double() / nearest.sum(1)
    return float(among_real[:count].mean()), float(1 - among_real[count:].mean())


def null_accuracy(count: int) -> float:
    """Return the mean of either accuracy for a perfect generator, with `count` samples a side.

    Of the 2 count - 1 other samples, count - 1 are on a sample's own side. Each is equally likely to be the nearest.
    """
    return (count - 1) / (2 * count - 1)


class TwoSample(Metric[Tensor]):
    """The 1-nearest-neighbour test against the first 2,048 real samples (N, D), or all if there are fewer.

    If a sample has more than 256 entries, it is against fewer samples, as distances take long.
    """

    specs = (
        MetricSpec(
            C2ST_NAME,
            "how far the 1-nearest-neighbour classifier's leave-one-out accuracies on real and on generated samples "
            "are from (n - 1) / (2n - 1), the mean for a perfect generator with n samples a side; the mean of both "
            "distances; 0 to about .5",
            "minimize",
            _DEPENDS,
            _SOURCE,
        ),
        MetricSpec(
            ACCURACY_REAL_NAME,
            "share of the n real samples whose nearest neighbour is real; 0 to 1, (n - 1) / (2n - 1) at best",
            "none",
            _DEPENDS,
            _SOURCE,
            blind_to="the generated samples, and is best near .5",
        ),
        MetricSpec(
            ACCURACY_FAKE_NAME,
            "share of the n generated samples whose nearest neighbour is generated; 0 to 1, (n - 1) / (2n - 1) at best",
            "none",
            _DEPENDS,
            _SOURCE,
            blind_to="the real samples, and is best near .5",
        ),
    )

    def suits(self, data: HeldOut) -> bool:
        # The nearest neighbour of a window is a window that overlaps it, whatever the other side is.
        return data.dataset.coding is not None and not data.dataset.overlapping

    def fit(self, data: HeldOut) -> Tensor:
        rows = data.real.values.flatten(1)
        most = max(LEAST_SAMPLES, math.isqrt(MOST_DIFFERENCES // rows.shape[1]) // 2)
        return rows[: min(EXACT_SAMPLES, most)].clone()

    def scores(self, real: Tensor, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Average accuracies over draws, and only then take their distance from the null: noise would enlarge it."""
        found = [nearest_neighbour_accuracies(real, drawn.values.flatten(1)[: len(real)]) for drawn in draws]
        on_real, on_fake = (statistics.fmean(side) for side in zip(*found, strict=True))
        null = null_accuracy(len(real))
        c2st = (abs(on_real - null) + abs(on_fake - null)) / 2
        # Each accuracy is a share of so many samples, and c2st moves by half of what an accuracy moves.
        error = math.sqrt(sum(share * (1 - share) for share in (on_real, on_fake)) / (len(real) * len(draws))) / 2
        return {C2ST_NAME: c2st, error_name(C2ST_NAME): error, ACCURACY_REAL_NAME: on_real, ACCURACY_FAKE_NAME: on_fake}

    def entry(self, real: Tensor) -> dict[str, Any]:
        return {"neighbours": 1, "samples": len(real), "null": null_accuracy(len(real))}
