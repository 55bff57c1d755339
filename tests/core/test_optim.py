"""Optimisers against torch.optim over 200 steps in double precision, operation by operation and as they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.reference import optimiser_of
from wgan_core.backend.kernels import Mover, by_rule, mover
from wgan_core.rules.optim import OPTIMISERS, Rates, StepTensors

STEPS = 200


def drift(tensor: Tensor, step: int, seed: int) -> Tensor:
    """A gradient that depends on where the parameter is, and on noise."""
    noise = torch.randn(tensor.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + step))
    return tensor.detach() + 0.3 * noise


WAYS = [(name, way) for name in sorted(OPTIMISERS) for way in ("by rule", "as used")]


def way_of(name: str, way: str) -> Mover:
    """The optimiser as the CPU has it, or operation by operation, which is what is compiled on a GPU."""
    return by_rule(OPTIMISERS[name], "cpu") if way == "by rule" else mover(name, "cpu")


def rates_of(
    step: int,
    lr: list[float],
    beta1: list[float],
    beta2: list[float],
    due: list[bool],
    weight_decay: Sequence[float] = (),
) -> Rates:
    given = ([step] * len(lr), lr, beta1, beta2, weight_decay or [0.0] * len(lr))
    values = (torch.tensor(each, dtype=torch.float64) for each in given)
    return Rates(*values, torch.tensor(due))


lanes = st.tuples(st.floats(1e-5, 1e-1), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 0.9, 0.999]))


@pytest.mark.parametrize(("name", "way"), WAYS)
@settings(deadline=None, max_examples=6)
@given(
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=3),
    hypers=st.lists(lanes, min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_200_steps_of_each_lane_equal_torchs(
    name: str, way: str, shapes: list[tuple[int, ...]], hypers: list[tuple[float, float, float]], seed: int
) -> None:
    """Every third step one lane is not due: it stays as it is, as torch's does that makes no step."""
    count, noise = len(hypers), torch.Generator().manual_seed(seed)
    start = [torch.randn(count, *shape, dtype=torch.float64, generator=noise) for shape in shapes]
    modules = [torch.nn.ParameterList(tensor[lane].clone() for tensor in start) for lane in range(count)]
    theirs = [optimiser_of(name, module, *hyper) for module, hyper in zip(modules, hypers, strict=True)]
    ours = [tensor.clone() for tensor in start]
    first, second = ([torch.zeros_like(tensor) for tensor in ours] for _ in range(2))
    steps, move = [0] * count, way_of(name, way)
    lr, beta1, beta2 = (list(each) for each in zip(*hypers, strict=True))
    for step in range(STEPS):
        due = [step % 3 > 0 or lane != step % count for lane in range(count)]
        steps = [done + is_due for done, is_due in zip(steps, due, strict=True)]
        gradients = [torch.stack([drift(each[lane], step, seed) for lane in range(count)]) for each in ours]
        rates = rates_of(1, lr, beta1, beta2, due)
        rates = replace(rates, step=torch.tensor(steps, dtype=torch.float64).clamp(min=1))
        for lane, module in enumerate(modules):
            for parameter in module:
                parameter.grad = drift(parameter, step, seed)
            if due[lane]:
                theirs[lane].step()
        move(StepTensors(ours, gradients, first, second), rates)
    for lane, module in enumerate(modules):
        for mine, parameter in zip(ours, module, strict=True):
            torch.testing.assert_close(mine[lane], parameter.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_the_rate_and_the_first_decay_are_in_force(name: str, way: str) -> None:
    def moved(lr: float, beta1: float) -> Tensor:
        tensors = [[torch.ones(1, 3, dtype=torch.float64)] for _ in range(4)]
        for step in (1, 2):
            tensors[1] = [torch.full((1, 3), float(step), dtype=torch.float64)]
            way_of(name, way)(StepTensors(*tensors), rates_of(step, [lr], [beta1], [0.5], [True]))
        return tensors[0][0]

    assert not torch.equal(moved(0.1, 0.0), moved(0.2, 0.0))
    assert not torch.equal(moved(0.1, 0.0), moved(0.1, 0.9))


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_lane_that_is_not_due_stays_as_it_is_whatever_is_in_it(name: str, way: str, dtype: torch.dtype) -> None:
    """To the bit, also beside a gradient that is no number; averages follow the parameters that moved."""
    tensors = [[torch.randn(2, 5, dtype=dtype)] for _ in range(3)] + [[torch.rand(2, 5, dtype=dtype)]]
    tensors[1][0][0] = float("nan")
    before = [tensor.clone() for (tensor,) in tensors]
    average = torch.zeros(2, 5, dtype=dtype)
    share = torch.tensor([0.0, 0.25], dtype=torch.float64)
    rates = rates_of(1, [0.1, 0.1], [0.5, 0.5], [0.9, 0.9], [False, True])
    way_of(name, way)(StepTensors(*tensors, [average], share), rates)
    for (after,), earlier in zip(tensors, before, strict=True):
        assert torch.equal(after[0].nan_to_num(7), earlier[0].nan_to_num(7))
    assert not torch.equal(tensors[0][0][1], before[0][1])
    assert torch.equal(average[0], torch.zeros(5, dtype=dtype))
    torch.testing.assert_close(average[1], 0.25 * tensors[0][0][1])


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_weight_decay_is_decoupled_and_of_each_lane(name: str, way: str) -> None:
    """Adam with it is torch's AdamW. Any rule with it first shrinks the parameters, apart from the gradient."""
    decays, lr = [0.0, 0.1, 2.0], [1e-2, 1e-2, 3e-3]
    start = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    ours = [[start.clone()], [torch.zeros_like(start)], [torch.zeros_like(start)]]
    expected = [[tensor.clone() for tensor in group] for group in ours]
    modules = [torch.nn.Parameter(start[lane].clone()) for lane in range(3)]
    theirs = [
        torch.optim.AdamW([module], lr=rate, betas=(0.5, 0.9), weight_decay=decay)
        for module, rate, decay in zip(modules, lr, decays, strict=True)
    ]
    for step in range(1, 20):
        gradient = drift(ours[0][0], step, 7)
        rates = rates_of(step, lr, [0.5] * 3, [0.9] * 3, [True] * 3, decays)
        way_of(name, way)(StepTensors(ours[0], [gradient], *ours[1:]), rates)
        shrunk = torch.tensor([1 - a * b for a, b in zip(lr, decays, strict=True)], dtype=torch.float64)
        expected[0][0].mul_(shrunk[:, None])
        undecayed = replace(rates, weight_decay=torch.zeros(3).double())
        way_of(name, way)(StepTensors(expected[0], [gradient], *expected[1:]), undecayed)
        torch.testing.assert_close(ours[0][0], expected[0][0], rtol=1e-12, atol=1e-12)
        if name == "adam":
            for lane, (module, optimiser) in enumerate(zip(modules, theirs, strict=True)):
                module.grad = gradient[lane]
                optimiser.step()
                torch.testing.assert_close(ours[0][0][lane], module.detach(), rtol=1e-12, atol=1e-12)
