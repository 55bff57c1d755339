"""The precision of products: what is rounded, by how much, and that nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core import cohorts
from wgan_core.backend import process
from wgan_core.backend.choices import BFLOAT16, FLOAT32, PRECISIONS, TF32
from wgan_core.backend.precision import Bfloat16Products, float32_on_gpus, set_on_gpus
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.errors import UserError
from wgan_core.networks.network import Network, initialise
from wgan_core.networks.pairs import PAIRS, Pair, register
from wgan_core.rules import losses
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit

HYPERS = [Hyper(10.0, 1e-3, 5e-4, 1, 0.5, 0.9), Hyper(1.0, 1e-4, 1e-3, 2, 0.0, 0.99)]
TRIALS = [Trial(number, 1000 + number, hyper) for number, hyper in enumerate(HYPERS)]
SHAPES = {"mlp": (1, 8, 8), "conv": (1, 8, 8), "sequence": (2, 16)}
# Of a number in bfloat16, relative to it.
ROUNDING = 2.0**-8


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Of this process, put back."""
    with float32_on_gpus():
        yield
    torch.set_flush_denormal(False)


def structure_of(networks: str, precision: str) -> Structure:
    return Structure(networks, SHAPES[networks], latent_dim=6, batch_size=32, precision=precision)


def digits(shape: tuple[int, ...]) -> Tensor:
    """1,797 handwritten digits in [-1, 1], (N, *shape)."""
    images = torch.from_numpy(load_digits().images).float() / 8 - 1
    return images.reshape(len(images), -1)[:, : torch.Size(shape).numel()].reshape(-1, *shape)


def cohort_of(structure: Structure, grid: list[int], lanes: int) -> Cohort:
    return cohorts.cohort_of(structure, TRIALS[:lanes], grid, data=TrainingData(digits(structure.sample_shape)))


def tensors_after(cohort: Cohort, updates: int) -> dict[str, Tensor]:
    while cohort.advance()[0].critic_updates < updates:
        pass
    return {name: tensor[0] for name, tensor in cohort.state_of(0).tensors().items()}


class Products(TorchDispatchMode):
    """Notes the types that products are of, whoever asks for them: forward, backward or double backward."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[set[torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        tensors = [each for each in args if isinstance(each, Tensor)]
        counted = all(each.is_meta for each in tensors)  # and not computed
        products = ("linear", "convolution", "convolution_backward", "_linear_pointwise")
        if not counted and (name.endswith("mm") or name in products):
            self.types.append({each.dtype for each in tensors})
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("networks", list(SHAPES))
def test_all_products_of_an_update_are_rounded_and_no_tensor_that_is_kept(networks: str, lanes: int) -> None:
    """Those of both derivatives too; under vmap too, where torch.autocast leaves convolutions as they are."""
    cohort = cohort_of(structure_of(networks, BFLOAT16), [1], lanes)
    with Products() as seen:
        (report, *_) = cohort.advance()
    assert len(seen.types) > 20
    assert all(types == {torch.bfloat16} for types in seen.types)
    kept = cohort.state_of(0).tensors().values()
    assert {tensor.dtype for tensor in kept if tensor.is_floating_point()} == {torch.float32}
    assert not report.problem
    z = torch.zeros(3, 6)
    with Products() as seen:
        assert cohort.samples(0, z).dtype == torch.float32
    assert seen.types
    assert all(types == {torch.float32} for types in seen.types)


X, W = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(1)).unbind()
# Rounded already, as the exact product takes it as it is.
KERNEL = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2)).bfloat16()
BACK = KERNEL.transpose(0, 1)


def transposed(x: Tensor, w: Tensor) -> Tensor:
    return F.conv_transpose1d(x[None], BACK.to(x.dtype))


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: F.linear(x, w),
        lambda x, w: F.linear(input=x, weight=w, bias=torch.ones(5, dtype=x.dtype)),
        lambda x, w: x @ w.T,
        lambda x, w: x.matmul(w.T),
        lambda x, w: torch.matmul(x, w.T),
        lambda x, w: torch.bmm(x[None], w.T[None]),
        lambda x, w: F.conv1d(x[None], KERNEL.to(x.dtype)),
        transposed,
    ],
)
def test_a_product_is_that_of_rounded_operands(product: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Rounded once more, to be handed on in float32.

    On processors without AVX-512 torch 2.13 adds the taps of a transposed convolution in bfloat16, and rounds each sum.
    """
    exact = product(X.bfloat16().double(), W.bfloat16().double())
    adds_rounded = product is transposed and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    most = KERNEL.shape[-1] * float(exact.abs().max()) if adds_rounded else 2
    with Bfloat16Products():
        found = product(X, W)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())
    torch.testing.assert_close(found.double(), exact, rtol=ROUNDING, atol=most * ROUNDING)
    assert not torch.equal(found, product(X, W))


def test_what_is_no_product_and_no_float32_stays() -> None:
    with Bfloat16Products():
        inside = X.tanh() * W.sum(), X.double() @ W.double().T, X.bfloat16() @ W.bfloat16().T
    outside = X.tanh() * W.sum(), X.double() @ W.double().T, X.bfloat16() @ W.bfloat16().T
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def gradients(networks: str, precision: str, lanes: list[int]) -> list[Tensor]:
    """Of the critic's loss with its penalty on real digits, of some lanes of initial networks: (len(lanes), ...)."""
    structure = structure_of(networks, precision)
    critics = [initialise(structure, seed)[0] for seed in lanes]
    parameters = {
        name: torch.stack([dict(each.named_parameters())[name].detach() for each in critics]).requires_grad_()
        for name, _ in critics[0].named_parameters()
    }
    critic = Network(critics[0], precision)
    noise = torch.Generator().manual_seed(3)
    real = digits(structure.sample_shape)[:32].expand(len(lanes), -1, *[-1] * len(structure.sample_shape))
    fake = torch.rand(real.shape[1:], generator=noise).expand_as(real) * 2 - 1

    def score(points: Tensor) -> Tensor:
        return critic(parameters, {}, points)[0]

    points = losses.interpolate(real, fake, torch.rand(32, generator=noise).expand(len(lanes), -1))
    penalty = losses.two_sided_penalty(losses.gradient_norms(score, points))
    loss = losses.wasserstein_critic_loss(score(real), score(fake)) + 10 * penalty
    return list(torch.autograd.grad(loss.sum(), list(parameters.values())))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor[0].flatten() for tensor in tensors]).double()


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("networks", list(SHAPES))
def test_gradients_of_a_loss_with_penalty_point_where_those_of_float32_do(networks: str, lanes: int) -> None:
    rounded, exact = (flat(gradients(networks, each, list(range(lanes)))) for each in (BFLOAT16, FLOAT32))
    assert float(F.cosine_similarity(rounded, exact, dim=0)) > 0.999
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize("networks", list(SHAPES))
def test_a_lane_is_the_same_trial_alone_but_for_rounding(networks: str) -> None:
    beside, alone = (flat(gradients(networks, BFLOAT16, lanes)) for lanes in ([0, 1], [0]))
    assert float((beside - alone).norm() / alone.norm()) < 0.02


@pytest.mark.parametrize("networks", list(SHAPES))
def test_a_neighbour_gone_nan_changes_no_bit(networks: str) -> None:
    states = []
    for spoilt in (False, True):
        cohort = cohort_of(structure_of(networks, BFLOAT16), [2, 4], 2)
        cohort.advance()
        if spoilt:
            state = cohort.state_of(1)
            for tensor in state.critic.parameters.values():
                tensor.fill_(torch.nan)
            cohort.drop(1)
            cohort.add(TRIALS[1], state, 2)
        states.append(tensors_after(cohort, 4))
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_trial_that_was_interrupted_goes_on_bit_for_bit() -> None:
    structure = structure_of("conv", BFLOAT16)
    whole = tensors_after(cohort_of(structure, [3, 6], 1), 6)
    first, second = (cohort_of(structure, [3, 6], 1) for _ in range(2))
    first.advance()
    second.drop(0)
    second.add(TRIALS[0], first.state_of(0), 3)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in tensors_after(second, 6).items())


def test_tf32_is_float32_to_the_bit_where_there_is_no_gpu() -> None:
    found = []
    for precision in (TF32, FLOAT32):
        process.configure(1, precision=precision)
        cohort = cohort_of(structure_of("conv", precision), [3], 1)
        found.append({**tensors_after(cohort, 3), "samples": cohort.samples(0, torch.ones(4, 6))})
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def on_gpus() -> tuple[str, str, str]:
    cudnn: Any = torch.backends.cudnn
    return torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision


@pytest.mark.parametrize(("precision", "kept"), [(FLOAT32, "ieee"), (TF32, "tf32"), (BFLOAT16, "ieee")])
def test_a_process_says_what_its_gpus_may_round(precision: str, kept: str) -> None:
    """torch's own default lets convolutions take TF32; what is scored is never rounded."""
    process.configure(1, precision=precision)
    assert on_gpus() == (kept,) * 3
    with float32_on_gpus():
        assert on_gpus() == ("ieee",) * 3
    assert on_gpus() == (kept,) * 3


@pytest.mark.needs_gpu
@pytest.mark.parametrize(("precision", "least", "most"), [(FLOAT32, 0.0, 1e-5), (TF32, 1e-5, 1e-2)])
def test_a_gpu_rounds_what_it_was_told_to(precision: str, least: float, most: float) -> None:
    if precision == TF32 and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs_gpu: this GPU has no TF32")
    process.configure(1, precision=precision)
    noise = torch.Generator().manual_seed(0)
    # So large that no algorithm without TF32 could be the quicker one.
    cases = ((F.linear, (512, 2048), (512, 2048)), (F.conv2d, (32, 64, 32, 32), (64, 64, 3, 3)))
    for product, *shapes in cases:
        x, w = (torch.randn(shape, generator=noise, dtype=torch.float64) for shape in shapes)
        exact, found = product(x, w), product(x.float().cuda(), w.float().cuda()).cpu().double()
        assert least <= float((found - exact).norm() / exact.norm()) < most


def test_float64_is_not_rounded() -> None:
    for precision in (TF32, BFLOAT16):
        with pytest.raises(UserError) as refused:
            Structure("mlp", (1, 8, 8), dtype="float64", precision=precision)
        assert str(refused.value) == (
            f"precision must be float32 where dtype is float64; given {precision!r}: "
            "set precision to 'float32', for example"
        )


def test_what_was_kept_without_a_precision_is_of_float32() -> None:
    structure = Structure("mlp", (1, 8, 8))
    older = {name: value for name, value in structure.as_json().items() if name != "precision"}
    assert Structure.from_json(older) == structure == replace(structure, precision=FLOAT32)
    assert {Structure.from_json({**older, "precision": each}).precision for each in PRECISIONS} == set(PRECISIONS)


class Attentive(nn.Module):
    """Weighs its inputs by a product of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mixing = nn.Linear(2, 4), nn.Parameter(torch.eye(4))

    def forward(self, x: Tensor) -> Tensor:
        return (self.inner(x) @ self.mixing).tanh().sum(1)


@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("lanes", [1, 3])
def test_networks_of_ones_own_are_tried_in_it(lanes: int, precision: str) -> None:
    register("attentive", Pair(lambda structure: Attentive(), lambda structure: nn.Linear(3, 2)))
    try:
        check_fit(Structure("attentive", (2,), latent_dim=3, precision=precision), lanes)
    finally:
        del PAIRS["attentive"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_torchs_older_settings_say_the_same(precision: str) -> None:
    """Or torch refuses to tell them, to its own exporter among others."""
    rounds = precision == TF32
    set_on_gpus(precision)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (rounds, rounds)
    with float32_on_gpus():
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (rounds, rounds)
    torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
