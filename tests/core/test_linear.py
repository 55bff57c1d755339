"""Linear layers through oneDNN against torch's own: values, derivatives of both orders, and where they are taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.measuring import Products
from wgan_core.backend import linear
from wgan_core.backend.linear import OneDnnLinear, fast_linear, onednn_linear
from wgan_core.rules import losses

pytestmark = pytest.mark.skipif(not linear.has_onednn(), reason="this torch has no oneDNN")
# Of the largest entry: sums of up to 784 products in float32, in another order.
TOLERANCE = 1e-5


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE * float(expected.detach().abs().max()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_product_is_torchs(bias: bool, transposed: bool) -> None:
    x, weight = torch.randn(64, 784), torch.randn(512, 784)
    if transposed:  # as derivatives hand them on
        x, weight = x.t().contiguous().t(), weight.t().contiguous().t()
    b = torch.randn(512) if bias else None
    assert_close(onednn_linear(x, weight, b), F.linear(x, weight, b))


def critic() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, 60, bias=False), nn.Tanh(), nn.Linear(60, 1))


def derivatives(points: Tensor) -> list[Tensor]:
    """Of the gradient penalty with respect to parameters: first order, second order, and through an activation."""
    module = critic()
    norms = losses.gradient_norms(lambda x: module(x[0])[None], points[None])
    loss = module(points).mean() + losses.two_sided_penalty(norms).sum()
    return list(torch.autograd.grad(loss, list(module.parameters())))


def test_first_and_second_derivatives_are_torchs() -> None:
    points = torch.randn(64, 40)
    expected = derivatives(points)
    with OneDnnLinear():
        actual = derivatives(points)
    for mine, theirs in zip(actual, expected, strict=True):
        assert_close(mine, theirs)


def test_a_penalty_takes_no_more_arithmetic_than_torchs() -> None:
    """Gradients that it does not ask for are not computed: at the weights first, then at the points."""
    points = torch.randn(64, 40)
    with Products() as torchs:
        derivatives(points)
    with Products() as ours, OneDnnLinear():
        derivatives(points)
    assert 0 < ours.operations <= torchs.operations


class Spy(TorchFunctionMode):
    """Notes the linear layers that reach torch's own definition."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen += func is F.linear
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("shape", "dtype", "taken"),
    [
        ((64, 40), torch.float32, True),
        ((8, 40), torch.float32, False),
        ((2, 64, 40), torch.float32, False),
        ((64, 40), torch.float64, False),
    ],
    ids=["matrix", "few samples", "sequences", "float64"],
)
def test_a_module_needs_no_change(shape: tuple[int, ...], dtype: torch.dtype, taken: bool) -> None:
    """Large matrices in float32 go through oneDNN; the rest, and the layer with one output, go to torch."""
    module, x = critic().to(dtype), torch.randn(shape, dtype=dtype)
    expected = module(x)
    with Spy() as spy, OneDnnLinear():
        actual = module(x)
    assert_close(actual, expected)
    assert spy.seen == (1 if taken else 3)


def test_only_a_processor_that_gains_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: True)
    assert isinstance(fast_linear(torch.zeros(1, 1)), OneDnnLinear)
    assert not isinstance(fast_linear(torch.zeros(1, 1, device="meta")), OneDnnLinear)
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: False)
    assert not isinstance(fast_linear(torch.zeros(1, 1)), OneDnnLinear)
