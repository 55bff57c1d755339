"""Optimisers against torch.optim over 200 steps in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import optimiser_of
from wgan_core.optim import OPTIMISERS

STEPS = 200


def drift(tensor: Tensor, step: int, seed: int) -> Tensor:
    """A gradient that depends on where the parameter is, and on noise."""
    noise = torch.randn(tensor.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + step))
    return tensor.detach() + 0.3 * noise


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(sorted(OPTIMISERS)),
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=3),
    lr=st.floats(1e-5, 1e-1),
    beta1=st.sampled_from([0.0, 0.5, 0.9]),
    beta2=st.sampled_from([0.0, 0.9, 0.999]),
    seed=st.integers(0, 1000),
)
def test_200_steps_equal_torchs(
    name: str, shapes: list[tuple[int, ...]], lr: float, beta1: float, beta2: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = torch.nn.ParameterList(torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    ours = [parameter.detach().clone() for parameter in module]
    first, second = ([torch.zeros_like(tensor) for tensor in ours] for _ in range(2))
    theirs = optimiser_of(name, module, lr, beta1, beta2)
    for step in range(STEPS):
        for parameter in module:
            parameter.grad = drift(parameter, step, seed)
        OPTIMISERS[name](
            ours,
            [drift(each, step, seed) for each in ours],
            first,
            second,
            step=step + 1,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
        )
        theirs.step()
    for mine, parameter in zip(ours, module, strict=True):
        torch.testing.assert_close(mine, parameter.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_the_rate_and_the_first_decay_are_in_force(name: str) -> None:
    def moved(lr: float, beta1: float) -> Tensor:
        tensors = [[torch.ones(3, dtype=torch.float64)] for _ in range(4)]
        for step in (1, 2):
            tensors[1] = [torch.full((3,), float(step), dtype=torch.float64)]
            OPTIMISERS[name](*tensors, step=step, lr=lr, beta1=beta1, beta2=0.5)
        return tensors[0][0]

    assert not torch.equal(moved(0.1, 0.0), moved(0.2, 0.0))
    assert not torch.equal(moved(0.1, 0.0), moved(0.1, 0.9))
