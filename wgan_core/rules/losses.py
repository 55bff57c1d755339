"""Losses and penalties that the critic and the generator minimise, per lane.

    K lanes, N samples in a batch; scores are critic outputs, (K, N); points are inputs, (K, N, ...)

Lanes are independent, so the gradient of a sum over lanes holds each lane's own gradient. Plain `autograd.grad`
therefore serves K trials at once, double backward included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def _softplus(x: Tensor) -> Tensor:
    from torch.nn.functional import softplus

    return softplus(x)


# Losses: a critic's from its scores of real and generated samples, a generator's from those of generated samples.


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return E D(real) - E D(fake), (K,): the critic's estimate, without any penalty (Arjovsky et al. 2017, eq. 3).

    The estimate depends on lambda, so it does not compare across trials. At a distance W, the best critic of a WGAN-GP
    reads at least W + W^2 / (2 lambda), and just that if one side is the other shifted. On one axis it reads W plus the
    integral of (F_r - F_g)^2 / p over 2 lambda. F_r and F_g are the distribution functions of real and generated
    samples, and p is the density of the interpolates.
    """
    return real_scores.mean(1) - fake_scores.mean(1)


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return E D(fake) - E D(real), (K,) (Gulrajani et al. 2017, eq. 3, without the penalty)."""
    return -wasserstein_estimate(real_scores, fake_scores)


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return -E D(G(z)), (K,) (Gulrajani et al. 2017, Algorithm 1, line 12)."""
    return -fake_scores.mean(1)


def logistic_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return -E log s(D(real)) - E log(1 - s(D(fake))), (K,) (Goodfellow et al. 2014, eq. 1).

    D are logits and s is the sigmoid.
    """
    return _softplus(-real_scores).mean(1) + _softplus(fake_scores).mean(1)


def saturating_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return E log(1 - s(D(G(z)))), (K,), which is flat where the critic is sure (Goodfellow et al. 2014, eq. 1)."""
    return -_softplus(fake_scores).mean(1)


def non_saturating_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return -E log s(D(G(z))), (K,) (Goodfellow et al. 2014, section 3)."""
    return _softplus(-fake_scores).mean(1)


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return E max(0, 1 - D(real)) + E max(0, 1 + D(fake)), (K,) (Miyato et al. 2018, eq. 16)."""
    return (1 - real_scores).relu().mean(1) + (1 + fake_scores).relu().mean(1)


# Penalties on the critic's gradient. Each is a batch mean, which the caller weights by lambda.


def gradient_norms(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return the Euclidean norm of the critic's gradient at each point, over all of a sample's axes, (K, N).

    The norms are differentiable with respect to the critic's parameters. Where the gradient is zero, the derivative of
    its norm is zero too.
    """
    import torch

    points = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return torch.linalg.vector_norm(gradient.flatten(2), dim=2)


def two_sided_penalty(norms: Tensor) -> Tensor:
    """Return E (|grad D| - 1)^2, (K,) (Gulrajani et al. 2017, eq. 3).

    On data of one axis, a critic with the wrong slope can be a local minimum. For a shift of length W, it is one at the
    slope W / (2 lambda) - 1 if that is below zero. To turn its sign, the slope would have to pass zero, where the
    penalty is greatest. A one-sided penalty has no such minimum.
    """
    return (norms - 1).square().mean(1)


def one_sided_penalty(norms: Tensor) -> Tensor:
    """Return E max(0, |grad D| - 1)^2, (K,): slopes below 1 are free (Petzka et al. 2018, WGAN-LP)."""
    return (norms - 1).relu().square().mean(1)


def zero_centred_penalty(norms: Tensor) -> Tensor:
    """Return E |grad D|^2 / 2, (K,): R1 on real samples, R2 on generated ones (Mescheder et al. 2018, eq. 9 and 10)."""
    return norms.square().mean(1) / 2


def interpolate(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Return points between each real sample and its fake, with one weight in [0, 1] per sample, (K, N).

    Gulrajani et al. 2017, Algorithm 1, line 6: weight * real + (1 - weight) * fake.
    """
    return fake.lerp(real, weight.reshape(*weight.shape, *[1] * (real.dim() - 2)))


def real_points(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return real


def fake_points(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return fake


@dataclass(frozen=True)
class Penalty:
    """A penalty on the norms of the critic's gradient.

    Attributes:
        points: Returns the points of the gradient from real samples, fakes and weights.
        of: Returns the penalty (K,) of the norms (K, N).
    """

    points: Callable[[Tensor, Tensor, Tensor], Tensor]
    of: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A pair of losses, with an optional penalty of the critic.

    Attributes:
        clips: Whether the critic's parameters are clipped after each update (Arjovsky et al. 2017, Algorithm 1).
    """

    critic_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]
    penalty: Penalty | None = None
    clips: bool = False


WASSERSTEIN = (wasserstein_critic_loss, wasserstein_generator_loss)
LOGISTIC = (logistic_critic_loss, non_saturating_generator_loss)

LOSSES = {
    "wgan-gp": Loss(*WASSERSTEIN, Penalty(interpolate, two_sided_penalty)),
    "wgan-lp": Loss(*WASSERSTEIN, Penalty(interpolate, one_sided_penalty)),
    "wgan-clip": Loss(*WASSERSTEIN, clips=True),
    "gan": Loss(*LOGISTIC),
    "gan-saturating": Loss(logistic_critic_loss, saturating_generator_loss),
    "gan-r1": Loss(*LOGISTIC, Penalty(real_points, zero_centred_penalty)),
    "gan-r2": Loss(*LOGISTIC, Penalty(fake_points, zero_centred_penalty)),
    "hinge": Loss(hinge_critic_loss, wasserstein_generator_loss),
}
