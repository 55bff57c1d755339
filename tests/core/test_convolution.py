"""Convolutions whose derivatives are our own, against torch's; here on the CPU, where training does not use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core.test_update import TRIALS, cohort_of, largest_difference, structure_of
from wgan_core import networks
from wgan_core.convolution import Convolutions, convolution
from wgan_core.objectives import gradient_norms

Convolve = Callable[..., Tensor]
KINDS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def loss(convolve: Convolve, x: Tensor, weight: Tensor, bias: Tensor | None, told: Sequence[Any]) -> Tensor:
    """Of the values, and of the gradient at the inputs as a penalty has it."""
    (at_input,) = torch.autograd.grad(convolve(x, weight, bias, *told).sin().sum(), x, create_graph=True)
    return convolve(x, weight, bias, *told).square().sum() + at_input.square().sum()


@pytest.mark.parametrize(
    ("sides", "channels", "told"),
    [
        ((9,), (2, 3), (1, 0, 1, 1)),
        ((10,), (2, 3), (3, 1, 2, 1)),
        ((7, 8), (1, 4), (2, 1, 1, 1)),
        ((8, 9), (4, 6), ((2, 3), (1, 0), (1, 2), 2)),
        ((5, 6, 5), (2, 2), (2, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_derivatives_are_torchs(
    sides: tuple[int, ...], channels: tuple[int, int], told: tuple[Any, ...], has_bias: bool
) -> None:
    """Strides that leave something over, paddings, dilations and groups; first and second derivatives, in fp64."""
    before, after = channels
    torch.set_default_dtype(torch.float64)
    x = torch.randn(5, before, *sides, requires_grad=True)
    weight = torch.randn(after, before // told[-1], *[3] * len(sides), requires_grad=True)
    bias = torch.randn(after, requires_grad=True) if has_bias else None
    leaves = [each for each in (x, weight, bias) if each is not None]
    ours, theirs = (loss(each, x, weight, bias, told) for each in (convolution, KINDS[len(sides)]))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    found, wanted = (torch.autograd.grad(each, leaves) for each in (ours, theirs))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


class Counted(TorchDispatchMode):
    """How many convolutions torch carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.convolutions += "convolution" in str(function)
        return function(*args, **(kwargs or {}))


def convolutions_of(lanes: int) -> int:
    """Those of a penalty's gradient at the weights, of so many lanes."""
    weights = [torch.randn(lanes, *shape, requires_grad=True) for shape in ((4, 1, 4, 4), (3, 4, 4, 4))]

    def score(points: Tensor) -> Tensor:
        with Convolutions():
            for weight in weights:
                points = torch.func.vmap(lambda x, w: F.conv2d(x, w, None, 2, 1))(points, weight).tanh()
        return points.flatten(2).sum(2)

    with Counted() as counted:
        norms = gradient_norms(score, torch.randn(lanes, 6, 1, 8, 8))
        torch.autograd.grad((norms - 1).square().sum(), weights)
    return counted.convolutions


def test_more_lanes_are_no_more_convolutions() -> None:
    assert convolutions_of(7) == convolutions_of(2)


@pytest.mark.parametrize("lanes", [1, 3])
def test_updates_are_the_same_either_way(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the convolutional pair in fp64, as a GPU would compute them."""
    structure, trials = structure_of("conv", "float64"), TRIALS[:lanes]
    wanted, ways = cohort_of(structure, trials, [20]), []
    wanted.advance()

    def fast_convolutions(x: Tensor) -> Convolutions:
        ways.append(Convolutions())
        return ways[-1]

    monkeypatch.setattr(networks, "fast_convolutions", fast_convolutions)
    found = cohort_of(structure, trials, [20])
    found.advance()
    assert ways
    for trial in trials:
        tensors = (cohort.state_of(trial.number).tensors() for cohort in (found, wanted))
        assert largest_difference(*tensors) < 1e-12


@pytest.mark.parametrize(
    "call",
    [
        lambda x, weight: F.conv1d(x, weight, padding="same"),
        lambda x, weight: F.conv1d(x, weight, None, 1, "same"),
        lambda x, weight: F.conv1d(x[0], weight),
        lambda x, weight: F.conv1d(x, weight, padding=1),
        lambda x, weight: nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular")(x),
    ],
)
def test_what_it_does_not_know_is_torchs(call: Callable[[Tensor, Tensor], Tensor]) -> None:
    x, weight = torch.randn(4, 2, 9), torch.randn(3, 2, 3)
    torch.manual_seed(1)
    wanted = call(x, weight)
    torch.manual_seed(1)
    with Convolutions():
        assert torch.equal(call(x, weight), wanted)
