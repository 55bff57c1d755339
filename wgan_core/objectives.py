"""Wasserstein GAN objectives, per lane.

    K lanes, N samples in a batch; scores are critic outputs, (K, N); points are inputs, (K, N, ...)

Lanes are independent, so the gradient of a sum over lanes holds each lane's own gradient: plain
`autograd.grad` serves K trials at once, double backward included.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E D(real) - E D(fake), (K,): the critic's estimate, without any penalty (Arjovsky et al. 2017, eq. 3).

    Depends on lambda, so it does not compare across trials: for a shift of length W the trained
    critic reads about W + W^2 / (2 lambda).
    """
    return real_scores.mean(1) - fake_scores.mean(1)


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-E D(G(z)), (K,) (Gulrajani et al. 2017, Algorithm 1, line 12)."""
    return -fake_scores.mean(1)


def interpolate(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Points between each real sample and its fake, one weight in [0, 1] a sample, (K, N).

    Gulrajani et al. 2017, Algorithm 1, line 6: weight * real + (1 - weight) * fake.
    """
    return torch.lerp(fake, real, weight.reshape(*weight.shape, *[1] * (real.dim() - 2)))


def gradient_norms(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Euclidean norm of the critic's gradient at each point over all of a sample's axes, (K, N).

    Differentiable with respect to the critic's parameters; where the gradient is zero so is the
    derivative of its norm.
    """
    points = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return torch.linalg.vector_norm(gradient.flatten(2), dim=2)


def two_sided_penalty(norms: Tensor) -> Tensor:
    """E (|grad D| - 1)^2, (K,) (Gulrajani et al. 2017, eq. 3): the batch mean, to be weighted by lambda."""
    return (norms - 1).square().mean(1)
