"""The classifier two-sample test with one nearest neighbour (Lopez-Paz and Oquab 2017; Xu et al. 2018, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_neighbour_accuracies(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """Return the leave-one-out accuracies of 1-NN on real and on fake samples, with Euclidean distance.

    For a perfect generator, both accuracies tend to 0.5. If both are far above 0.5, real and fake samples can be told
    apart. If the accuracy is low on real and high on fake samples, fake samples crowd in few places. The mean of both
    can hide that. Equally near neighbours, such as equal rows, share one vote. Time and memory grow with N^2.

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
