"""The bugs that public WGAN implementations have: the product is free of each, and each check would see its bug.

A test is named after its bug. `@fails_under` names variants of a piece of the product that have the bug, and
`test_the_check_sees_the_bug` runs the test again with each of them put in: there it must fail.

K lanes, N samples in a batch
"""

from __future__ import annotations

import copy
import math
import random as python_random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.core import cohorts
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.errors import UserError
from wgan_core.networks import network as networks
from wgan_core.networks.layers import Reshape
from wgan_core.networks.network import Network, Tensors, initialise
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.networks.pairs.mlp import mlp_generator
from wgan_core.rules import draws, losses
from wgan_core.rules.draws import Stream
from wgan_core.rules.optim import beside
from wgan_core.training.batches import Batches
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData
from wgan_core.training.lanes import Lanes
from wgan_core.training.state import NetworkState, TrainingState
from wgan_core.training.step import CriticBatch, Step

CPU = torch.device("cpu")
HYPER = Hyper(lambda_gp=10.0, lr_critic=1e-3, lr_generator=5e-4, n_critic=1, beta1=0.5, beta2=0.9)

Check = Callable[..., None]


@dataclass(frozen=True)
class Bug:
    """A variant of the product's `target` that has a bug, and how a check that sees it fails."""

    check: Check
    target: str
    variant: Any
    failure: type[BaseException]
    given: tuple[Any, ...]

    def __str__(self) -> str:
        parts = (self.check.__name__.removeprefix("test_"), self.target.rpartition(".")[2], *self.given)
        return "-".join(map(str, parts))


BUGS: list[Bug] = []


def fails_under(
    target: str, variant: object, failure: type[BaseException] = AssertionError, given: tuple[Any, ...] = ()
) -> Callable[[Check], Check]:
    """Note that a test of these arguments must fail with `variant` in the place of the product's `target`."""

    def note(check: Check) -> Check:
        BUGS.append(Bug(check, target, variant, failure, given))
        return check

    return note


# What the checks are made of: a pair whose fakes are z itself, and critics whose gradients are known.


class Fakes(nn.Module):
    """A generator that gives out z times a parameter of value one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.shape = shape

    def forward(self, z: Tensor) -> Tensor:
        return (self.factor * z).reshape(-1, *self.shape)


class Linear(nn.Module):
    """D(x) = <slope, x> over all axes of a sample: its gradient is `slope` everywhere."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.slope).flatten(1).sum(1)


class Parabola(nn.Module):
    """D(x) = factor |x|^2 / 2 with a factor of one: its gradient at x is x."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x.square().flatten(1).sum(1) / 2


class Recorder(nn.Module):
    """A module that keeps what it is given. Its copies share one list, since the product copies and casts modules."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        other = Recorder(copy.deepcopy(self.inner, memo))
        other.seen = self.seen
        return other

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.inner(x)


@contextmanager
def registered(critic: nn.Module, generator: nn.Module) -> Iterator[str]:
    """The name of a pair of copies of these modules, for a while."""
    pair = Pair(lambda _: copy.deepcopy(critic), lambda _: copy.deepcopy(generator))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PAIRS, "test", pair)
        yield "test"


def batch_of(real: Tensor, fake: Tensor, weight: Tensor) -> CriticBatch:
    """A batch of one lane for `Fakes`, from samples (N, ...) and weights (N,)."""
    return CriticBatch(real[None], fake.flatten(1)[None], weight[None])


def structure_of(batch: CriticBatch, name: str, batch_size: int = 5) -> Structure:
    shape = tuple(batch.real.shape[2:])
    return Structure(name, shape, latent_dim=batch.z.shape[2], batch_size=batch_size, dtype="float64")


def critic_update(
    critic: nn.Module, batch: CriticBatch, hyper: Hyper = HYPER, generator: nn.Module | None = None
) -> tuple[Tensors, TrainingState]:
    """The quantities, and the state after, of the first update of this critic."""
    with registered(critic, generator or Fakes(tuple(batch.real.shape[2:]))) as name:
        structure = structure_of(batch, name)
        state = TrainingState.initial(structure, 0, CPU)
        return Step(structure).update_critic(state, Lanes.of([Trial(0, 0, hyper)], [0], CPU), batch), state


def penalty_points(batch: CriticBatch) -> Tensor:
    """Where the product takes the critic's gradient, (N, ...): the only input of a critic update that wants one."""
    recorder = Recorder(Parabola())
    critic_update(recorder, batch)
    (points,) = [seen.detach() for seen in recorder.seen if seen.requires_grad]
    return points


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def unit(*shape: int) -> Tensor:
    """A random tensor of Euclidean length one over all axes."""
    tensor = random(*shape)
    return tensor / tensor.norm()


def batches_of(batch_size: int, seeds: Sequence[int] = (7,), samples: int = 400) -> Drawn:
    structure = Structure("mlp", (3,), latent_dim=4, batch_size=batch_size, dtype="float64")
    return Drawn(structure, random(samples, 3), seeds)


# 1 and 2: the norm of the gradient


def gradient(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    points = points.detach().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points, create_graph=True)[0]


def norms_over_channels(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient(critic, points), dim=2).flatten(1)


def norms_over_last_axis(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient(critic, points), dim=-1).flatten(1)


@fails_under("wgan_core.rules.losses.gradient_norms", norms_over_channels)
@fails_under("wgan_core.rules.losses.gradient_norms", norms_over_last_axis)
def test_bug_01_gradient_norm_over_all_axes_of_an_image() -> None:
    """A critic of slope exactly one has no penalty, whatever the rank of its samples."""
    for shape in ((12,), (3, 4), (3, 4, 5)):
        batch = batch_of(random(6, *shape), random(7, *shape)[1:], torch.full((6,), 0.5).double())
        quantities, _ = critic_update(Linear(unit(*shape)), batch)
        assert float(quantities["gradient_penalty"]) == pytest.approx(0, abs=1e-12)
        assert float(quantities["gradient_norm"]) == pytest.approx(1)


def norm_of_the_batch(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient(critic, points).flatten(1), dim=1, keepdim=True)


@fails_under("wgan_core.rules.losses.gradient_norms", norm_of_the_batch)
def test_bug_02_one_norm_per_sample() -> None:
    """Gradients of length 1 and 3 are penalised by 0 and 4, so by 2 on average."""
    real = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).double()
    quantities, _ = critic_update(Parabola(), batch_of(real, torch.zeros_like(real), torch.ones(2).double()))
    assert float(quantities["gradient_penalty"]) == pytest.approx(2)
    assert float(quantities["gradient_norm"]) == pytest.approx(2)


# 3 to 6, 9 and 18: the points between real and fake


def uniform_of_the_batch(*arguments: Any) -> Tensor:
    return REAL_UNIFORM(*arguments)[..., :1].expand(-1, -1, arguments[3])


def interpolate_by_the_first(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return torch.lerp(fake, real, weight[:, :1].reshape(-1, *[1] * (real.dim() - 1)))


REAL_UNIFORM = draws.uniform


@fails_under("wgan_core.rules.draws.uniform", uniform_of_the_batch)
@fails_under("wgan_core.rules.losses.interpolate", interpolate_by_the_first)
def test_bug_03_one_interpolation_weight_per_sample() -> None:
    weight = batches_of(16).critic([0]).weight[0]
    assert len(set(weight.tolist())) == 16
    points = penalty_points(batch_of(torch.ones(16, 3).double(), torch.zeros(16, 3).double(), weight))
    assert torch.allclose(points[:, 0], weight)


def interpolate_by_pixel(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return torch.lerp(fake, real, torch.rand_like(real) * weight.max())


@fails_under("wgan_core.rules.losses.interpolate", interpolate_by_pixel)
def test_bug_04_one_interpolation_weight_for_all_pixels_of_a_sample() -> None:
    """Every point lies on the segment between its own real and fake sample."""
    real, fake, weight = random(6, 2, 3, 5), random(6, 2, 4, 5)[:, :, 1:], torch.linspace(0, 1, 6).double()
    share = (penalty_points(batch_of(real, fake, weight)) - fake) / (real - fake)
    assert torch.allclose(share, weight[:, None, None, None].expand_as(share), atol=1e-9)


@fails_under("wgan_core.rules.draws.uniform", draws.normal)
def test_bug_05_interpolation_weights_are_uniform_not_normal() -> None:
    batches = batches_of(64)
    weights = torch.cat([batches.critic([update]).weight[0] for update in range(40)])
    assert weights.min() >= 0
    assert weights.max() <= 1
    assert stats.kstest(weights.numpy(), "uniform").pvalue > 1e-3


def interpolate_by_row(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return weight[..., None] * real + (1 - weight[..., None]) * fake


def per_sample_on_images(height: int, width: int) -> None:
    real, fake = torch.ones(4, 3, height, width).double(), torch.zeros(4, 3, height, width).double()
    weight = torch.tensor([0.0, 0.25, 0.5, 1.0]).double()
    points = penalty_points(batch_of(real, fake, weight))
    assert torch.equal(points, weight[:, None, None, None].expand_as(points))


@fails_under("wgan_core.rules.losses.interpolate", interpolate_by_row)
def test_bug_06_weights_of_a_batch_as_large_as_an_image_is_high_are_not_taken_per_row() -> None:
    per_sample_on_images(height=4, width=5)


@fails_under("wgan_core.rules.losses.interpolate", interpolate_by_row, RuntimeError)
def test_bug_06_weights_fit_images_of_any_height() -> None:
    per_sample_on_images(height=6, width=5)


def interpolate_of_five(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return torch.lerp(fake, real, weight.reshape(-1, 5, *[1] * (real.dim() - 2)))


@fails_under("wgan_core.rules.losses.interpolate", interpolate_of_five, RuntimeError)
def test_bug_09_a_batch_may_be_shorter_than_the_batch_size() -> None:
    for count in (3, 1):
        weight = torch.linspace(0.2, 0.8, count).double()
        points = penalty_points(batch_of(torch.ones(count, 2).double(), torch.zeros(count, 2).double(), weight))
        assert torch.allclose(points, weight[:, None].expand(-1, 2))


def test_bug_09_data_may_be_fewer_than_a_batch() -> None:
    assert batches_of(16, samples=3).critic([0]).real.shape == (1, 16, 3)


def reals(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    return real


@fails_under("wgan_core.rules.losses.interpolate", reals)
@fails_under("wgan_core.rules.losses.interpolate", lambda real, fake, weight: fake)
def test_bug_18_the_penalty_is_between_real_and_fake_points() -> None:
    real, fake = random(4, 3), random(5, 3)[1:]
    points = penalty_points(batch_of(real, fake, torch.full((4,), 0.25).double()))
    assert torch.allclose(points, 0.25 * real + 0.75 * fake)


# 12 and 13: what consecutive updates consume


def trained(critic: nn.Module, generator: nn.Module, n_critic: int, updates: int) -> None:
    """Train one trial on points that all differ and lie above 1000, where no fake does."""
    data = 1000 + torch.arange(300 * 2).reshape(300, 2).double()
    with registered(critic, generator) as name:
        cohort = Cohort(Structure(name, (2,), 2, batch_size=8, dtype="float64"), TrainingData(data), [updates])
        cohort.add(Trial(0, 5, replace(HYPER, n_critic=n_critic)))
        cohort.advance()


def rows(tensors: Sequence[Tensor]) -> list[tuple[tuple[float, ...], ...]]:
    return [tuple(map(tuple, tensor.detach().tolist())) for tensor in tensors]


REAL_DRAW = Batches._draw_critic


@fails_under("wgan_core.training.batches.Batches._draw_critic", lambda self, updates: REAL_DRAW(self, updates // 3 * 3))
@fails_under(
    "wgan_core.training.batches.Batches._draw_critic", lambda self, updates: REAL_DRAW(self, torch.zeros_like(updates))
)
def test_bug_12_every_critic_update_has_its_own_real_batch() -> None:
    batches = batches_of(8, seeds=(7, 8))
    drawn = rows([batches.critic([update, update]).real.flatten(0, 1) for update in range(40)])
    assert len(set(drawn)) == 40
    recorder = Recorder(Linear(unit(2)))
    trained(recorder, Fakes((2,)), n_critic=3, updates=6)
    consumed = rows([seen[seen[:, 0] >= 1000] for seen in recorder.seen if not seen.requires_grad])
    assert len(consumed) == len(set(consumed)) == 6
    assert all(len(batch) == 8 for batch in consumed)


def critic_z(self: Batches, updates: Tensor) -> tuple[Tensor, None]:
    return self.critic(updates).z, None


def critic_stream(self: Batches, updates: Tensor) -> tuple[Tensor, ...]:
    return (self._draw_z(Stream.CRITIC_Z, updates),)


@fails_under("wgan_core.training.batches.Batches.generator", critic_z)
@fails_under("wgan_core.training.batches.Batches._draw_generator", critic_stream)
def test_bug_13_the_generator_update_has_its_own_z() -> None:
    recorder = Recorder(Fakes((2,)))
    trained(Linear(unit(2)), recorder, n_critic=1, updates=20)
    consumed = rows(recorder.seen)
    assert len(consumed) == len(set(consumed)) == 40


# 15, 16 and 17: the penalty


def norms_by_root(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return gradient(critic, points).square().flatten(2).sum(2).sqrt()


@fails_under("wgan_core.rules.losses.gradient_norms", norms_by_root)
def test_bug_15_a_gradient_of_zero_gives_no_nan() -> None:
    batch = batch_of(random(4, 3), random(5, 3)[1:], torch.full((4,), 0.5).double())
    quantities, state = critic_update(Linear(torch.zeros(3).double()), batch)
    assert float(quantities["gradient_penalty"]) == 1
    assert all(tensor.isfinite().all() for tensor in state.tensors().values())


class Standardise(nn.Module):
    """Batch normalisation that does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()


def critic_with(layer: nn.Module) -> Callable[[Structure], nn.Module]:
    def build(structure: Structure) -> nn.Module:
        size = math.prod(structure.sample_shape)
        return nn.Sequential(Reshape(size), nn.Linear(size, 8), layer, nn.Tanh(), nn.Linear(8, 1), Reshape())

    return build


def scores(network: Network, tensors: NetworkState, points: Tensor) -> Tensor:
    return network(tensors.parameters, tensors.buffers, points)[0]


STANDARDISED = {name: Pair(critic_with(Standardise()), pair.generator) for name, pair in PAIRS.items()}


@fails_under("wgan_core.networks.network.PAIRS", STANDARDISED)
def test_bug_16_a_critics_gradient_at_a_sample_does_not_depend_on_its_neighbours() -> None:
    for name in ("mlp", "conv"):
        critic, _ = initialise(Structure(name, (1, 8, 8), latent_dim=4, dtype="float64"), 0)
        tensors = NetworkState.of(critic)
        network = Network(critic)
        score = partial(scores, network, tensors)
        points = random(1, 6, 1, 8, 8)
        together = losses.gradient_norms(score, points)
        alone = torch.cat([losses.gradient_norms(score, points[:, n : n + 1]) for n in range(6)], dim=1)
        assert torch.allclose(alone, together, rtol=1e-9)


class Nothing:
    """A class without instances."""


@fails_under("wgan_core.networks.network._BatchNorm", Nothing, pytest.fail.Exception)
def test_bug_16_batch_normalisation_in_a_critic_is_refused() -> None:
    """Also without a penalty: real and generated samples would share their statistics."""
    said = r"real and generated .* share, and .* each sample's own gradient; given .* at '2': take layer normalisation"
    for layer, loss in ((nn.BatchNorm1d(8), "wgan-gp"), (nn.SyncBatchNorm(8), "gan")):
        structure = Structure("normalised", (1, 8, 8), loss=loss)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(PAIRS, "normalised", Pair(critic_with(layer), mlp_generator))
            with pytest.raises(UserError, match=said):
                networks.build(structure)
            with pytest.raises(UserError, match="batch normalisation"):
                Cohort(structure, TrainingData(torch.zeros(4, 1, 8, 8)), [1])


def test_bug_16_layer_normalisation_in_a_critic_is_taken() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PAIRS, "normalised", Pair(critic_with(nn.LayerNorm(8)), mlp_generator))
        critic, _ = networks.build(Structure("normalised", (1, 8, 8)))
    assert any(isinstance(module, nn.LayerNorm) for module in critic.modules())


@fails_under("wgan_core.rules.losses.two_sided_penalty", lambda norms: (norms - 1).square().sum(1))
def test_bug_17_the_penalty_does_not_grow_with_the_batch() -> None:
    """A batch and the same batch twice over make the same update."""
    real, fake, weight = random(4, 3), random(5, 3)[1:], torch.linspace(0.1, 0.9, 4).double()
    once, state = critic_update(Parabola(), batch_of(real, fake, weight))
    twice, other = critic_update(Parabola(), batch_of(real.repeat(2, 1), fake.repeat(2, 1), weight.repeat(2)))
    for name, value in once.items():
        assert torch.allclose(value, twice[name]), name
    # The moment, not the parameter: Adam's first step hides the size of the gradient.
    assert torch.allclose(state.critic.first["factor"], other.critic.first["factor"])


# 19: the generator in the critic's update


class Counted(torch.autograd.Function):
    """The identity; `backwards` counts its backward passes."""

    backwards = 0

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, outer: Tensor) -> Tensor:
        Counted.backwards += 1
        return outer


class CountedFakes(Fakes):
    def forward(self, z: Tensor) -> Tensor:
        return Counted.apply(super().forward(z))


def leads_to_generator(tensor: Tensor) -> bool:
    """Whether a generator's graph hangs on this tensor."""
    nodes, seen = [tensor.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CountedBackward":
            return True
        seen.add(node)
        nodes += [after for after, _ in node.next_functions]
    return False


def call_attached(self: Network, parameters: Tensors, buffers: Tensors, *inputs: Any, **options: bool) -> Any:
    """A network call as it is without `detach` and with parameters that want gradients, as a module's do."""
    for tensor in parameters.values():
        if not tensor.requires_grad:
            tensor.requires_grad_()
    with torch.enable_grad():
        return REAL_CALL(self, parameters, buffers, *inputs, **options)


def update_with_backward(self: Step, state: TrainingState, lanes: Lanes, batch: CriticBatch) -> Tensors:
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in state.generator.parameters.items()}
    self._generator(leaves, state.generator.buffers, batch.z)[0].sum().backward()
    return REAL_UPDATE_CRITIC(self, state, lanes, batch)


REAL_CALL = Network.__call__
REAL_UPDATE_CRITIC = Step.update_critic
REAL_UPDATE_GENERATOR = Step.update_generator


@fails_under("wgan_core.networks.network.Network.__call__", call_attached)
@fails_under("wgan_core.training.step.Step.update_critic", update_with_backward)
def test_bug_19_the_critics_update_does_not_differentiate_the_generator() -> None:
    Counted.backwards = 0
    critic = Recorder(Linear(unit(3)))
    batch = batch_of(random(4, 3), random(5, 3)[1:], torch.full((4,), 0.5).double())
    _, state = critic_update(critic, batch, generator=CountedFakes((3,)))
    assert Counted.backwards == 0
    assert critic.seen
    assert not any(leads_to_generator(seen) for seen in critic.seen)
    assert float(state.generator.parameters["factor"]) == 1
    assert float(state.generator.first["factor"]) == 0


# 25: what is logged as the Wasserstein estimate


def with_loss_as_estimate(self: Step, *arguments: Any) -> Tensors:
    quantities = REAL_UPDATE_CRITIC(self, *arguments)
    return {**quantities, "wasserstein_estimate": -quantities["critic_loss"]}


NARROW = {"critic": {"widths": [16, 8]}, "generator": {"widths": [8, 16, 8]}}


def cohort_of(trials: Sequence[Trial], grid: Sequence[int] = (1,), loss: str = "wgan-gp") -> Cohort:
    structure = Structure("mlp", (1, 8, 8), 6, 9, dtype="float64", loss=loss, network_options=NARROW)
    return cohorts.cohort_of(structure, trials, grid, data=TrainingData(random(50, 1, 8, 8).tanh()))


@fails_under("wgan_core.training.step.Step.update_critic", with_loss_as_estimate)
def test_bug_25_the_wasserstein_estimate_leaves_the_penalty_out() -> None:
    """From one state, trials of all λ report one estimate; it is E D(real) - E D(fake)."""
    trials = [Trial(n, 3, replace(HYPER, lambda_gp=weight)) for n, weight in enumerate((0.1, 1, 100))]
    reports = cohort_of(trials).advance()
    estimates = [report.means["wasserstein_estimate"] for report in reports]
    assert estimates == pytest.approx(estimates[:1] * 3, rel=1e-12)
    assert len({report.means["critic_loss"] for report in reports}) == 3
    real, fake, slope = random(4, 3), random(5, 3)[1:], unit(3)
    quantities, _ = critic_update(Linear(slope), batch_of(real, fake, torch.full((4,), 0.5).double()))
    assert float(quantities["wasserstein_estimate"]) == pytest.approx(float((real.mean(0) - fake.mean(0)) @ slope))


# 26: every swept value is in force from update 0, in the network it belongs to and in no other

SWEPT: dict[str, tuple[float, ...]] = {
    "lambda_gp": (0.5, 10.0, 80.0),
    "lr_critic": (1e-4, 5e-4, 1e-3),
    "lr_generator": (1e-4, 5e-4, 1e-3),
    "n_critic": (1, 2, 3),
    "beta1": (0.0, 0.5, 0.9),
    "beta2": (0.8, 0.9, 0.999),
    "clip": (0.01, 0.02, 0.05),
    "decay_updates": (4, 8, 0),
    "weight_decay": (0.0, 0.5, 5.0),
}
# In force in both networks, but from the second update on.
FROM_UPDATE_1 = {"decay_updates"}


def sweep_of(field: str) -> list[Trial]:
    """Three trials of one seed that differ in one value."""
    # `replace` takes any field by name, which a type checker cannot follow.
    return [Trial(n, 17, replace(HYPER, **{field: value})) for n, value in enumerate(SWEPT[field])]  # type: ignore[arg-type]


def with_values(lanes: Lanes, **values: Tensor) -> Lanes:
    """The lanes with other values of some hyper-parameters."""
    return replace(lanes, hyper={**lanes.hyper, **values})


def at_lane_0(field: str, update: Callable[..., Tensors]) -> Callable[..., Tensors]:
    """An update for which the swept value of lane 0 holds in all lanes."""

    def variant(self: Step, state: TrainingState, lanes: Lanes, *arguments: Any) -> Tensors:
        values = getattr(lanes, field)
        return update(self, state, with_values(lanes, **{field: values[:1].expand_as(values)}), *arguments)

    return variant


def mistaken(update: Callable[..., Tensors], mine: str, others: str) -> Callable[..., Tensors]:
    """An update that takes another value for the network's own."""

    def variant(self: Step, state: TrainingState, lanes: Lanes, *arguments: Any) -> Tensors:
        return update(self, state, with_values(lanes, **{mine: getattr(lanes, others)}), *arguments)

    return variant


def equals_the_textbook(field: str, updates: int = 1, loss: str = "wgan-gp") -> None:
    """State and moments of each lane, after the first updates, are those of `torch.optim.Adam` with its value."""
    trials = sweep_of(field)
    cohort = cohort_of(trials, [updates], loss=loss)
    cohort.advance()
    batches = Drawn(cohort.structure, cohort._data.samples, [17])
    for trial in trials:
        oracle = textbook(cohort.structure, trial, initialise)
        oracle.run(batches, range(updates))
        ours = cohort.state_of(trial.number).tensors()
        for name, tensor in {**oracle.tensors(), **oracle.moments()}.items():
            assert torch.allclose(ours[name][0].double(), tensor.double(), rtol=1e-9, atol=1e-11), (trial, name)


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("lambda_gp", REAL_UPDATE_CRITIC))
def test_bug_26_lambda_gp_is_in_force_at_update_0() -> None:
    equals_the_textbook("lambda_gp")


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("lr_critic", REAL_UPDATE_CRITIC))
def test_bug_26_lr_critic_is_in_force_at_update_0() -> None:
    equals_the_textbook("lr_critic")


@fails_under("wgan_core.training.step.Step.update_generator", at_lane_0("lr_generator", REAL_UPDATE_GENERATOR))
@fails_under(
    "wgan_core.training.step.Step.update_generator", mistaken(REAL_UPDATE_GENERATOR, "lr_generator", "lr_critic")
)
def test_bug_26_lr_generator_is_in_force_at_update_0() -> None:
    equals_the_textbook("lr_generator")


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("beta1", REAL_UPDATE_CRITIC))
@fails_under("wgan_core.training.step.Step.update_generator", at_lane_0("beta1", REAL_UPDATE_GENERATOR))
def test_bug_26_beta1_is_in_force_at_update_0() -> None:
    """The moments tell at once; parameters only from update 1, as the bias correction hides the betas in the first."""
    equals_the_textbook("beta1")


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("beta2", REAL_UPDATE_CRITIC))
@fails_under("wgan_core.training.step.Step.update_generator", at_lane_0("beta2", REAL_UPDATE_GENERATOR))
def test_bug_26_beta2_is_in_force_at_update_0() -> None:
    equals_the_textbook("beta2")


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("weight_decay", REAL_UPDATE_CRITIC))
@fails_under("wgan_core.training.step.Step.update_generator", at_lane_0("weight_decay", REAL_UPDATE_GENERATOR))
def test_bug_26_weight_decay_is_in_force_at_update_0() -> None:
    equals_the_textbook("weight_decay")


@fails_under("wgan_core.training.cohort._Lane.generator_updates", property(lambda lane: lane.critic_updates // 5))
@fails_under("wgan_core.training.cohort._Lane.generator_updates", property(lambda lane: lane.critic_updates))
@fails_under("wgan_core.training.lanes.Lanes.due", lambda lanes: (lanes.critic_updates + 1) % 5 == 0)
@fails_under("wgan_core.training.lanes.Lanes.due", lambda lanes: lanes.critic_updates >= 0)
def test_bug_26_n_critic_is_in_force_at_update_0() -> None:
    """The generator of a trial moves at critic updates n, 2n, ... and at no other."""
    cohort = cohort_of(sweep_of("n_critic"), range(1, 7))
    before = {n: cohort.state_of(n).generator.parameters for n in range(3)}
    for update in range(1, 7):
        reports: list[Report] = cohort.advance()
        for number, n_critic in enumerate(SWEPT["n_critic"]):
            after = cohort.state_of(number).generator.parameters
            moved = not all(torch.equal(before[number][name], tensor) for name, tensor in after.items())
            assert moved == (update % n_critic == 0), (update, n_critic)
            assert reports[number].generator_updates == update // n_critic
            before[number] = after


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("clip", REAL_UPDATE_CRITIC))
def test_bug_26_clip_is_in_force_at_update_0() -> None:
    equals_the_textbook("clip", loss="wgan-clip")


@fails_under("wgan_core.training.step.Step.update_critic", at_lane_0("decay_updates", REAL_UPDATE_CRITIC))
@fails_under("wgan_core.training.step.Step.update_generator", at_lane_0("decay_updates", REAL_UPDATE_GENERATOR))
def test_bug_26_the_decay_of_the_rates_is_in_force_at_update_1() -> None:
    equals_the_textbook("decay_updates", updates=2)


def clip_first(self: Step, state: TrainingState, lanes: Lanes, batch: CriticBatch) -> Tensors:
    for tensor in state.critic.parameters.values():
        bound = beside(lanes.clip, tensor)
        tensor.clamp_(-bound, bound)
    return REAL_UPDATE_CRITIC(self, state, with_values(lanes, clip=torch.full_like(lanes.clip, 1e9)), batch)


@fails_under("wgan_core.training.step.Step.update_critic", clip_first)
def test_bug_22_parameters_are_clipped_after_the_update() -> None:
    """However large the rate, no parameter lies outside the bound when a critic update is over."""
    trials = [Trial(0, 3, replace(HYPER, lr_critic=0.5, clip=0.02))]
    cohort = cohort_of(trials, loss="wgan-clip")
    cohort.advance()
    assert max(float(tensor.abs().max()) for tensor in cohort.state_of(0).critic.parameters.values()) == 0.02


def three_lanes(loss: str) -> tuple[Step, TrainingState, Drawn]:
    cohort = cohort_of(sweep_of("lambda_gp"), loss=loss)
    batches = Drawn(cohort.structure, cohort._data.samples, [17] * 3)
    return Step(cohort.structure), cohort._ticks.state, batches


def lanes_differ(network: NetworkState) -> bool:
    groups = (network.parameters, network.first, network.second)
    return not all(torch.equal(t[0], t[1]) and torch.equal(t[0], t[2]) for group in groups for t in group.values())


@fails_under("wgan_core.training.step.Step.update_critic", mistaken(REAL_UPDATE_CRITIC, "lr_critic", "lr_generator"))
def test_bug_26_the_generators_values_do_not_move_the_critic() -> None:
    assert {field.name for field in fields(Hyper)} == set(SWEPT)
    for field in SWEPT:
        step, state, batches = three_lanes("wgan-clip" if field == "clip" else "wgan-gp")
        updates = [int(field in FROM_UPDATE_1)] * 3
        step.update_critic(state, Lanes.of(sweep_of(field), updates, CPU), batches.critic(updates))
        assert lanes_differ(state.critic) == (field not in ("lr_generator", "n_critic")), field
        assert not lanes_differ(state.generator), field


@fails_under(
    "wgan_core.training.step.Step.update_generator", mistaken(REAL_UPDATE_GENERATOR, "lr_generator", "lr_critic")
)
def test_bug_26_the_critics_values_do_not_move_the_generator() -> None:
    for field in SWEPT:
        step, state, batches = three_lanes("wgan-clip" if field == "clip" else "wgan-gp")
        count = int(field in FROM_UPDATE_1)
        # Each lane where its generator update of this count is due.
        trials = sweep_of(field)
        lanes = Lanes.of(trials, [(count + 1) * trial.hyper.n_critic - 1 for trial in trials], CPU)
        step.update_generator(state, lanes, *batches.generator([count] * 3))
        moves = field in ("lr_generator", "beta1", "beta2", "decay_updates", "weight_decay")
        assert lanes_differ(state.generator) == moves, field
        assert not lanes_differ(state.critic), field.name


# The networks of every pair. Those of ffpred normalise nothing.

SHAPES: dict[str, tuple[int, ...]] = {
    "mlp": (2, 3),
    "ffpred": (7,),
    "conv": (3, 8, 8),
    "dcgan": (1, 28, 28),
    "residual": (1, 28, 28),
    "projection": (1, 28, 28),
    "sequence": (2, 12),
}
NORMALISED = [name for name in SHAPES if name != "ffpred"]
KNOWN = "wgan_core.networks.network.PAIRS"


def test_every_pair_has_its_check() -> None:
    assert SHAPES.keys() == PAIRS.keys()


def pair_structure(name: str, classes: int = 0) -> Structure:
    return Structure(name, SHAPES[name], latent_dim=10, batch_size=6, dtype="float64", classes=classes)


# 10: a sigmoid left on the critic


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_bug_10_no_critic_ends_with_a_sigmoid(name: str, classes: int) -> None:
    """A score is linear in its critic's last layer: nothing comes after it."""
    critic, _ = initialise(pair_structure(name, classes), 0)
    inputs = (random(5, *SHAPES[name]), torch.tensor([0, 1, 2, 0, 1]))[: 2 if classes else 1]
    last = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)][-1:]
    last += [layer for layer in critic.modules() if isinstance(layer, nn.Embedding)]  # of a label, beside the layer
    with torch.no_grad():
        before = critic(*inputs)
        for parameter in (each for layer in last for each in layer.parameters()):
            parameter.mul_(-1e6)
        assert before.any()
        assert torch.allclose(critic(*inputs), -1e6 * before, rtol=1e-9)


def with_sigmoid(pair: Pair) -> Pair:
    return replace(pair, critic=lambda structure: nn.Sequential(pair.critic(structure), nn.Sigmoid()))


for each in SHAPES:
    fails_under(KNOWN, {**PAIRS, each: with_sigmoid(PAIRS[each])}, given=(each, 0))(
        test_bug_10_no_critic_ends_with_a_sigmoid
    )


# 14: `BatchNorm(n, 0.8)` sets epsilon, not the momentum


@pytest.mark.parametrize("name", NORMALISED)
def test_bug_14_batch_normalisation_has_torchs_own_epsilon_and_momentum(name: str) -> None:
    """What a batch normalisation gives has mean 0 and variance 1, and a tenth of a batch is kept of its statistics."""
    _, generator = initialise(pair_structure(name), 0)
    given: list[tuple[_BatchNorm, Tensor, Tensor]] = []

    def note(layer: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        given.append((layer, inputs[0].transpose(0, 1).flatten(1), output.transpose(0, 1).flatten(1)))

    layers = [layer for layer in generator.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        generator(random(64, 10))
    assert len(given) == len(layers) > 0
    for layer, inputs, output in given:
        assert torch.allclose(output.mean(1), torch.zeros(len(output)).double(), atol=1e-9)
        assert torch.allclose(output.var(1, correction=0), torch.ones(len(output)).double(), rtol=0.05)
        assert layer.running_mean is not None
        assert torch.allclose(layer.running_mean, 0.1 * inputs.mean(1))


def with_batch_norm(pair: Pair, **settings: float) -> Pair:
    def make(structure: Structure) -> nn.Module:
        generator = pair.generator(structure)
        for layer in generator.modules():
            if isinstance(layer, _BatchNorm):
                layer.__dict__.update(settings)
        return generator

    return replace(pair, generator=make)


for each in NORMALISED:
    for setting in ("eps", "momentum"):
        fails_under(KNOWN, {**PAIRS, each: with_batch_norm(PAIRS[each], **{setting: 0.8})}, given=(each,))(
            test_bug_14_batch_normalisation_has_torchs_own_epsilon_and_momentum
        )


def test_bug_14_ffpred_normalises_nothing() -> None:
    assert not any(isinstance(layer, _BatchNorm) for layer in initialise(pair_structure("ffpred"), 0)[1].modules())


# 21: random numbers that no seed of the trial decides


def state_after(seed: int) -> TrainingState:
    """Of a trial that trains for four updates, while the global generators stand at this seed."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the global generator is what must not matter)
    python_random.seed(seed)
    cohort = Cohort(pair_structure("mlp"), TrainingData(random(40, 2, 3)), [4])
    cohort.add(Trial(0, 5, HYPER))
    cohort.advance()
    return cohort.state_of(0)


def uniform_of_torch(seeds: Tensor, stream: object, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(*updates.shape, size, dtype=dtype)


def normal_of_numpy(seeds: Tensor, stream: object, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.random.standard_normal((*updates.shape, size))).to(dtype)  # noqa: NPY002


def indices_of_python(seeds: Tensor, stream: object, updates: Tensor, size: int, below: int) -> Tensor:
    return torch.tensor([python_random.randrange(below) for _ in range(updates.numel() * size)]).reshape(
        *updates.shape, size
    )


@fails_under("wgan_core.rules.draws.uniform", uniform_of_torch)
@fails_under("wgan_core.rules.draws.normal", normal_of_numpy)
@fails_under("wgan_core.rules.draws.indices", indices_of_python)
def test_bug_21_training_draws_nothing_from_a_global_generator() -> None:
    first = state_after(1)
    drawn = (torch.rand(1), np.random.random(), python_random.random())  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    python_random.seed(1)
    assert drawn == (torch.rand(1), np.random.random(), python_random.random())  # noqa: NPY002
    second = state_after(2).tensors()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.tensors().items())


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_the_check_sees_the_bug(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    game = losses.LOSSES["wgan-gp"]
    assert game.penalty is not None
    for part, whole in (("points", losses.interpolate), ("of", losses.two_sided_penalty)):
        if bug.target == f"wgan_core.rules.losses.{whole.__name__}":
            penalty = replace(game.penalty, **{part: bug.variant})
            monkeypatch.setitem(losses.LOSSES, "wgan-gp", replace(game, penalty=penalty))
    monkeypatch.setattr(bug.target, bug.variant)
    with pytest.raises(bug.failure):
        bug.check(*bug.given)
