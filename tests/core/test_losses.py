"""Losses and penalties: interpolation, derivatives, and means per lane. `test_properties.py` has their laws.

K lanes, N samples in a batch
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wgan_core.rules import losses

SETTINGS = {
    "lanes": st.integers(1, 4),
    "samples": st.integers(1, 7),
    # A vector (D,), a sequence (C, L), an image (C, H, W).
    "shape": st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    "seed": st.integers(0, 2**32 - 1),
}


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(direction: Tensor, slopes: Tensor) -> Callable[[Tensor], Tensor]:
    """D(x) = slope <direction, x>, a direction of length one; a slope for each lane, (K,)."""
    unit = direction / direction.norm()

    def critic(points: Tensor) -> Tensor:
        return slopes[:, None] * (points * unit).flatten(2).sum(2)

    return critic


def curved(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A critic whose gradient varies from point to point; weights (K, ...) a lane."""

    def critic(points: Tensor) -> Tensor:
        return (points * weights[:, None]).sin().flatten(2).sum(2)

    return critic


@given(**SETTINGS)
def test_interpolation_runs_from_fake_to_real_with_a_weight_a_sample(
    lanes: int, samples: int, shape: tuple[int, ...], seed: int
) -> None:
    real, fake = normal(lanes, samples, *shape, seed=seed), normal(lanes, samples, *shape, seed=seed + 1)
    weight = uniform(lanes, samples, seed=seed + 2)
    assert torch.equal(losses.interpolate(real, fake, torch.ones_like(weight)), real)
    assert torch.equal(losses.interpolate(real, fake, torch.zeros_like(weight)), fake)
    points = losses.interpolate(real, fake, weight)
    for lane in range(lanes):
        for sample in range(samples):
            share = float(weight[lane, sample])
            expected = share * real[lane, sample] + (1 - share) * fake[lane, sample]
            assert torch.allclose(points[lane, sample], expected, atol=1e-12)


@pytest.mark.parametrize("slope", [0.0, 1e-30, 0.3, 5.0])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_the_penalty_is_differentiable_everywhere(slope: float, shape: tuple[int, ...]) -> None:
    """d/da (|a| - 1)^2 = 2 (a - 1) for a > 0; at a gradient of zero it is zero, and no NaN."""
    slopes = torch.tensor([slope], dtype=torch.float64, requires_grad=True)
    points = normal(1, 4, *shape, seed=1)
    norms = losses.gradient_norms(linear(normal(*shape, seed=2), slopes), points)
    losses.two_sided_penalty(norms).sum().backward()
    assert slopes.grad is not None
    assert float(slopes.grad) == pytest.approx(2 * (slope - 1) if slope else 0.0)


def test_the_penalty_leaves_its_points_alone() -> None:
    """No gradient of it flows into the points, so none reaches the generator."""
    points = normal(2, 3, 4, seed=1).requires_grad_()
    weights = normal(2, 4, seed=2).requires_grad_()
    losses.two_sided_penalty(losses.gradient_norms(curved(weights), points)).sum().backward()
    assert points.grad is None
    assert weights.grad is not None
    assert bool(weights.grad.abs().sum() > 0)


def test_second_derivatives_of_the_penalty() -> None:
    """The derivative with respect to the critic's parameters against finite differences."""
    points = normal(2, 3, 4, seed=1)

    def penalty(weights: Tensor) -> Tensor:
        return losses.two_sided_penalty(losses.gradient_norms(curved(weights), points))

    assert torch.autograd.gradcheck(penalty, (normal(2, 4, seed=2).requires_grad_(),))


def test_estimate_and_generator_loss_are_means_a_lane() -> None:
    real, fake = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[-1.0, 0.0], [2.0, 4.0]])
    assert losses.wasserstein_estimate(real, fake).tolist() == [2.5, -3.0]
    assert losses.wasserstein_generator_loss(fake).tolist() == [0.5, -3.0]
