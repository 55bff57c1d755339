"""The classifier two-sample test with one nearest neighbour (Lopez-Paz and Oquab 2017; Xu et al. 2018, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_neighbour_accuracies(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Leave-one-out accuracy of 1-NN on real (N, D) and on fake samples (N, D), with Euclidean distance.

    Of a perfect generator both tend to a half. Far above it on both: they can be told apart. Low on the real and high
    on the fake ones: the fakes crowd in few places, which the mean of the two can hide. Where neighbours are equally
    near, as equal rows are, each counts its share. Time and memory grow with N^2.

    Raises `ValueError` for unequal numbers, with which neither would tend to a half.
    """
    if real.shape != fake.shape:
        raise ValueError(f"both must have one shape (N, D): given {tuple(real.shape)} and {tuple(fake.shape)}")
    count, both = len(real), torch.cat([real, fake]).double()
    # Differences, not products: of equal rows the distance is 0 then, and not what rounding leaves.
    distances = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = distances == distances.min(dim=1, keepdim=True).values
    among_real = nearest[:, :count].sum(1).double() / nearest.sum(1)
    return float(among_real[:count].mean()), float(1 - among_real[count:].mean())
