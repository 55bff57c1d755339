"""Convolutions whose derivatives are our own, against torch's; here on the CPU, where training does not use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core.cohorts import cohort_of, largest_difference
from tests.core.test_update import TRIALS, structure_of
from wgan_core.backend.choices import BFLOAT16
from wgan_core.backend.convolution import Convolutions, convolution, fast_convolutions
from wgan_core.config import Structure
from wgan_core.networks import network as networks
from wgan_core.rules.losses import gradient_norms

Convolve = Callable[..., Tensor]
NARROW = {"critic": {"width": 8}, "generator": {"width": 8}}
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


def convolutions_of(lanes: int, way: AbstractContextManager[object]) -> int:
    """Those of a penalty's gradient at the weights, of so many lanes."""
    weights = [torch.randn(lanes, *shape, requires_grad=True) for shape in ((4, 1, 4, 4), (3, 4, 4, 4))]

    def score(points: Tensor) -> Tensor:
        with way:
            for weight in weights:
                points = torch.func.vmap(lambda x, w: F.conv2d(x, w, None, 2, 1))(points, weight).tanh()
        return points.flatten(2).sum(2)

    with Counted() as counted:
        norms = gradient_norms(score, torch.randn(lanes, 6, 1, 8, 8))
        torch.autograd.grad((norms - 1).square().sum(), weights)
    return counted.convolutions


def test_many_lanes_take_no_more_convolutions_than_torch_takes_for_one() -> None:
    assert convolutions_of(7, Convolutions()) <= convolutions_of(1, nullcontext())


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[torch.dtype]:
    """Networks take our convolutions, as they do on GPUs; of what dtypes their inputs were."""
    seen: set[torch.dtype] = set()

    class Watched(Convolutions):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in KINDS.values():
                seen.add(args[0].dtype)
            return super().__torch_function__(func, types, args, kwargs)

    monkeypatch.setattr(networks, "fast_convolutions", lambda x: Watched())
    return seen


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(
    "structure",
    [
        structure_of("conv", "float64"),
        replace(structure_of("conv", "float64"), spectral_norm=True),
        Structure("sequence", (1, 16), latent_dim=6, batch_size=9, dtype="float64"),
        Structure("residual", (1, 32, 32), latent_dim=6, batch_size=4, dtype="float64", network_options=NARROW),
    ],
    ids=lambda structure: structure.networks,
)
def test_updates_are_the_same_either_way(
    structure: Structure, lanes: int, taken: set[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = TRIALS[:lanes]
    found = cohort_of(structure, trials, [10])
    found.advance()
    assert taken == {torch.float64}
    monkeypatch.setattr(networks, "fast_convolutions", lambda x: nullcontext())
    wanted = cohort_of(structure, trials, [10])
    wanted.advance()
    for trial in trials:
        tensors = (cohort.state_of(trial.number).tensors() for cohort in (found, wanted))
        assert largest_difference(*tensors) < 1e-11


def test_what_is_rounded_to_bfloat16_is_convolved_as_that(taken: set[torch.dtype]) -> None:
    cohort_of(replace(structure_of("conv", "float32"), precision=BFLOAT16), TRIALS[:2], [2]).advance()
    assert taken == {torch.bfloat16}


@pytest.mark.parametrize(
    ("call", "ours"),
    [
        (lambda x, weight: F.conv1d(x, weight, padding=1), True),
        (lambda x, weight: nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular")(x), True),
        (lambda x, weight: F.conv1d(x, weight, padding="same"), False),
        (lambda x, weight: F.conv1d(x, weight, None, 1, "same"), False),
        (lambda x, weight: F.conv1d(input=x, weight=weight), False),
        (lambda x, weight: F.conv1d(x[0], weight), False),
    ],
)
def test_what_it_does_not_know_is_torchs(call: Callable[[Tensor, Tensor], Tensor], ours: bool) -> None:
    x, weight = torch.randn(4, 2, 9), torch.randn(3, 2, 3, requires_grad=True)
    torch.manual_seed(1)
    wanted = call(x, weight)
    torch.manual_seed(1)
    with Convolutions():
        found = call(x, weight)
    assert torch.equal(found, wanted)
    assert found.grad_fn is not None
    assert found.grad_fn.name().startswith("_Convolution") == ours


def test_one_lane_and_a_cpu_take_torchs() -> None:
    for shape in ((1, 5, 1, 8, 8), (3, 5, 1, 8, 8)):
        assert not isinstance(fast_convolutions(torch.zeros(shape)), Convolutions)
