"""Laws that hold whatever goes in: of the games and their penalties, of an update, of the distances and counted modes.

K lanes, N samples in a batch, D entries of a sample, M modes
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor
from torch.testing import assert_close

from tests.core.cohorts import cohort_of
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.metrics import distances
from wgan_core.metrics.distances import (
    Projections,
    frechet_distance,
    kernel_distance,
    sliced_wasserstein,
    wasserstein,
)
from wgan_core.metrics.modes import kl_to_uniform, mode_counts, modes_captured
from wgan_core.networks.network import initialise
from wgan_core.rules import losses
from wgan_core.rules.losses import LOSSES, Penalty
from wgan_core.rules.optim import OPTIMISERS
from wgan_core.training.data import TrainingData
from wgan_core.training.lanes import Lanes

CPU = torch.device("cpu")
PENALTIES = {name: game.penalty for name, game in LOSSES.items() if game.penalty is not None}
UNITS = 5

every_game = pytest.mark.parametrize("game", LOSSES)
every_penalty = pytest.mark.parametrize("game", PENALTIES)
some = settings(max_examples=10)

lanes = st.integers(1, 3)
samples = st.integers(1, 6)
# A vector (D,), a sequence (C, L), an image (C, H, W).
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def close(mine: Tensor | float, theirs: Tensor | float, tolerance: float = 1e-10) -> None:
    mine, theirs = (torch.as_tensor(each, dtype=torch.float64) for each in (mine, theirs))
    assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Games and their penalties


@dataclass(frozen=True)
class Critics:
    """D(x) = <outer, tanh(inner x + bias)>, a network a lane: inner (K, 5, D), bias and outer (K, 5)."""

    inner: Tensor
    bias: Tensor
    outer: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        hidden = torch.einsum("kud,knd->knu", self.inner, points.flatten(2)) + self.bias[:, None]
        return torch.einsum("ku,knu->kn", self.outer, hidden.tanh())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.inner, self.bias, self.outer


@dataclass(frozen=True)
class Batch:
    """Real and generated samples (K, N, ...), and weights (K, N)."""

    real: Tensor
    fake: Tensor
    weight: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(function(self.real), function(self.fake), function(self.weight))

    def rows(self, numbers: list[int]) -> Batch:
        """These samples of each lane, in this order."""
        return self.map(lambda tensor: tensor[:, numbers])


def drawn(lanes: int, samples: int, shape: tuple[int, ...], seed: int) -> tuple[Critics, Batch]:
    generator = generator_of(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=generator)

    critics = Critics(normal(lanes, UNITS, math.prod(shape)), normal(lanes, UNITS), normal(lanes, UNITS))
    weight = torch.rand(lanes, samples, dtype=torch.float64, generator=generator)
    return critics, Batch(normal(lanes, samples, *shape), normal(lanes, samples, *shape) + 1, weight)


def values(game: str, critic: Callable[[Tensor], Tensor], batch: Batch) -> dict[str, Tensor]:
    """All that a game says of a batch, each (K,)."""
    loss = LOSSES[game]
    real, fake = critic(batch.real), critic(batch.fake)
    found = {
        "critic_loss": loss.critic_loss(real, fake),
        "generator_loss": loss.generator_loss(fake),
        "estimate": losses.wasserstein_estimate(real, fake),
    }
    if loss.penalty is not None:
        norms = penalised_norms(loss.penalty, critic, batch)
        found |= {"norm": norms.mean(1), "penalty": loss.penalty.of(norms)}
    return found


def penalised_norms(penalty: Penalty, critic: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    return losses.gradient_norms(critic, penalty.points(batch.real, batch.fake, batch.weight))


def same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        close(value, theirs[name])


@every_game
@some
@given(lanes, samples, shapes, seeds, st.integers(2, 3))
def test_a_value_is_the_mean_of_those_of_its_samples(
    game: str, lanes: int, samples: int, shape: tuple[int, ...], seed: int, times: int
) -> None:
    """So no weight depends on the batch size, and the same batch several times over says the same."""
    critics, batch = drawn(lanes, samples, shape, seed)
    whole = values(game, critics, batch)
    single = [values(game, critics, batch.rows([n])) for n in range(samples)]
    same(whole, {name: torch.stack([each[name] for each in single]).mean(0) for name in whole})
    same(whole, values(game, critics, batch.rows(times * list(range(samples)))))


@every_game
@some
@given(st.integers(2, 3), samples, shapes, seeds)
def test_a_lane_depends_on_nothing_of_another(
    game: str, lanes: int, samples: int, shape: tuple[int, ...], seed: int
) -> None:
    """Not in a bit, when all that the others have is NaN; and no gradient leads there."""
    critics, batch = drawn(lanes, samples, shape, seed)
    before = values(game, critics, batch)
    for lane in range(lanes):
        mine = torch.arange(lanes) == lane

        def alone(tensor: Tensor, mine: Tensor = mine) -> Tensor:
            return torch.where(mine.reshape(-1, *[1] * (tensor.dim() - 1)), tensor, math.nan)

        after = values(game, Critics(*map(alone, critics.tensors)), batch.map(alone))
        for name, value in before.items():
            assert torch.equal(value[lane], after[name][lane]), name
        leaves = [tensor.clone().requires_grad_() for tensor in critics.tensors]
        total = torch.stack([value[lane] for value in values(game, Critics(*leaves), batch).values()]).sum()
        for gradient in torch.autograd.grad(total, leaves):
            assert not gradient[~mine].any()
            assert gradient[mine].any()


# The penalty's closed form where all norms are alike.
OF_ONE_NORM: dict[str, Callable[[Tensor], Tensor]] = {
    "wgan-gp": lambda norm: (norm - 1) ** 2,
    "wgan-lp": lambda norm: torch.where(norm > 1, (norm - 1) ** 2, 0),
    "gan-r1": lambda norm: norm**2 / 2,
    "gan-r2": lambda norm: norm**2 / 2,
}


@every_penalty
@some
@given(lanes, samples, shapes, seeds, st.floats(-5, 5))
def test_every_penalty_of_a_linear_critic_is_known(
    game: str, lanes: int, samples: int, shape: tuple[int, ...], seed: int, slope: float
) -> None:
    """D(x) = <w, x> with its own w in each lane: the norm is |w| wherever it is taken."""
    _, batch = drawn(lanes, samples, shape, seed)
    w = slope * torch.randn(lanes, *shape, dtype=torch.float64, generator=generator_of(seed + 1))
    norms = penalised_norms(PENALTIES[game], lambda points: (points * w[:, None]).flatten(2).sum(2), batch)
    length = w.flatten(1).norm(dim=1)
    close(norms, length[:, None].expand(-1, samples))
    close(PENALTIES[game].of(norms), OF_ONE_NORM[game](length))


POINTS: dict[str, Callable[[Batch, Tensor], Tensor]] = {
    "wgan-gp": lambda batch, weight: weight * batch.real + (1 - weight) * batch.fake,
    "wgan-lp": lambda batch, weight: weight * batch.real + (1 - weight) * batch.fake,
    "gan-r1": lambda batch, weight: batch.real,
    "gan-r2": lambda batch, weight: batch.fake,
}


@every_penalty
@some
@given(lanes, samples, shapes, seeds)
def test_every_penalty_of_a_parabola_is_known_at_the_games_own_points(
    game: str, lanes: int, samples: int, shape: tuple[int, ...], seed: int
) -> None:
    """D(x) = a |x|^2 / 2, an a for each lane: the gradient at x is a x."""
    _, batch = drawn(lanes, samples, shape, seed)
    a = torch.linspace(-1, 2, lanes, dtype=torch.float64)
    norms = penalised_norms(PENALTIES[game], lambda points: a[:, None] * points.square().flatten(2).sum(2) / 2, batch)
    points = POINTS[game](batch, batch.weight.reshape(lanes, samples, *[1] * len(shape)))
    expected = a.abs()[:, None] * points.flatten(2).norm(dim=2)
    close(norms, expected)
    close(PENALTIES[game].of(norms), OF_ONE_NORM[game](expected).mean(1))


@every_penalty
@pytest.mark.parametrize("flat", ["no weight", "saturated"])
@some
@given(lanes, samples, shapes, seeds)
def test_a_double_backward_through_a_gradient_of_zero_is_finite(
    game: str, flat: str, lanes: int, samples: int, shape: tuple[int, ...], seed: int
) -> None:
    """Where a critic is constant the norm's derivative is zero, not the quotient 0 / 0."""
    critics, batch = drawn(lanes, samples, shape, seed)
    critics = (
        replace(critics, outer=0 * critics.outer) if flat == "no weight" else replace(critics, bias=critics.bias + 1e3)
    )
    leaves = [tensor.clone().requires_grad_() for tensor in critics.tensors]
    norms = penalised_norms(PENALTIES[game], Critics(*leaves), batch)
    assert not norms.any()
    for gradient in torch.autograd.grad(PENALTIES[game].of(norms).sum(), leaves):
        assert not gradient.any()


@some
@given(lanes, samples, shapes, seeds, st.floats(-3, 3))
def test_interpolation_has_a_weight_a_sample_is_even_handed_and_moves_with_its_ends(
    lanes: int, samples: int, shape: tuple[int, ...], seed: int, factor: float
) -> None:
    _, batch = drawn(lanes, samples, shape, seed)
    real, fake, weight = batch.real, batch.fake, batch.weight
    points = losses.interpolate(real, fake, weight)
    assert torch.equal(losses.interpolate(real, fake, torch.ones_like(weight)), real)
    assert torch.equal(losses.interpolate(real, fake, torch.zeros_like(weight)), fake)
    share = weight.reshape(lanes, samples, *[1] * len(shape))
    close(points, share * real + (1 - share) * fake, 1e-12)
    close(losses.interpolate(fake, real, 1 - weight), points)
    close(losses.interpolate(factor * real + 2, factor * fake + 2, weight), factor * points + 2)
    apart = (real - fake).flatten(2).norm(dim=2)
    close((points - fake).flatten(2).norm(dim=2), weight * apart)


@pytest.mark.parametrize("slope", [0.0, 1e-30, 0.3, 5.0])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_the_penalty_is_differentiable_everywhere(slope: float, shape: tuple[int, ...]) -> None:
    """d/da (|a| - 1)^2 = 2 (a - 1) for a > 0; at a gradient of zero it is zero, and no NaN."""
    a = torch.tensor([slope], dtype=torch.float64, requires_grad=True)
    _, batch = drawn(1, 4, shape, seed=1)
    unit = batch.fake[:, :1] / batch.fake[:, :1].norm()
    norms = losses.gradient_norms(lambda points: a[:, None] * (points * unit).flatten(2).sum(2), batch.real)
    (gradient,) = torch.autograd.grad(losses.two_sided_penalty(norms).sum(), a)
    assert float(gradient) == pytest.approx(2 * (slope - 1) if slope else 0.0)


def test_second_derivatives_of_the_penalty() -> None:
    """With respect to the critic, against finite differences; none flows into the points, so none to the generator."""
    critics, batch = drawn(2, 3, (4,), seed=1)
    points, leaves = batch.real.requires_grad_(), [each.requires_grad_() for each in critics.tensors]

    def penalty(inner: Tensor, bias: Tensor, outer: Tensor) -> Tensor:
        return losses.two_sided_penalty(losses.gradient_norms(Critics(inner, bias, outer), points))

    assert torch.autograd.gradcheck(penalty, tuple(leaves))
    penalty(*leaves).sum().backward()
    assert points.grad is None
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in leaves)


def test_estimate_and_generator_loss_are_means_a_lane() -> None:
    real, fake = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[-1.0, 0.0], [2.0, 4.0]])
    assert losses.wasserstein_estimate(real, fake).tolist() == [2.5, -3.0]
    assert losses.wasserstein_generator_loss(fake).tolist() == [0.5, -3.0]


scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5)


def in_real(game: str, real: Tensor) -> Tensor:
    """N times the critic loss's derivative in each score of a real sample."""
    if game.startswith("wgan"):
        return -torch.ones_like(real)
    return -(real < 1).double() if game == "hinge" else -torch.sigmoid(-real)


def in_generator(game: str, fake: Tensor) -> Tensor:
    """N times the generator loss's derivative in each score of a generated sample."""
    if game == "gan-saturating":
        return -torch.sigmoid(fake)
    return -torch.sigmoid(-fake) if game.startswith("gan") else -torch.ones_like(fake)


@every_game
@some
@given(scores, st.data())
def test_the_derivatives_of_the_losses_are_known(game: str, given_scores: list[float], data: st.DataObject) -> None:
    """For scores of any size: nothing overflows, and nothing but the saturating game stops pushing the generator."""
    count = len(given_scores)
    others = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=count, max_size=count))
    real, fake = (torch.tensor([each], dtype=torch.float64, requires_grad=True) for each in (given_scores, others))
    # The corner of the hinge has no derivative.
    assume(not (real == 1).any() and not (fake == -1).any())
    loss, generator_loss = LOSSES[game].critic_loss(real, fake), LOSSES[game].generator_loss(fake)
    assert loss.isfinite().all()
    assert generator_loss.isfinite().all()
    of_real, of_fake = torch.autograd.grad(loss.sum(), (real, fake))
    close(of_real, in_real(game, real.detach()) / count)
    # All games treat a real score as they treat the negative of a generated one.
    close(of_fake, -in_real(game, -fake.detach()) / count)
    (of_generator,) = torch.autograd.grad(generator_loss.sum(), fake)
    close(of_generator, in_generator(game, fake.detach()) / count)


@every_game
@some
@given(scores, scores)
def test_a_critic_that_is_turned_round_plays_the_same_game_with_the_sides_changed(
    game: str, real: list[float], fake: list[float]
) -> None:
    first, second = (torch.tensor([each], dtype=torch.float64) for each in (real, fake))
    close(LOSSES[game].critic_loss(-second, -first), LOSSES[game].critic_loss(first, second))


# An update


def structure_of(game: str, optimiser: str, shape: tuple[int, ...], samples: int) -> Structure:
    options: dict[str, dict[str, Any]] = {
        "critic": {"widths": [5, 4]},
        "generator": {"widths": [4, 5, 4], "batch_norm": False},
    }
    return Structure("mlp", shape, 3, samples, 0.9, "float64", loss=game, optimiser=optimiser, network_options=options)


hypers = st.builds(
    Hyper,
    lambda_gp=st.floats(0, 20),
    lr_critic=st.floats(1e-5, 1e-3),
    lr_generator=st.floats(1e-5, 1e-3),
    n_critic=st.integers(1, 3),
    beta1=st.sampled_from([0.0, 0.5, 0.9]),
    beta2=st.sampled_from([0.8, 0.99, 0.999]),
    clip=st.floats(0.01, 0.5),
    decay_updates=st.sampled_from([0, 1, 4, 20]),
)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@settings(max_examples=8)
@given(st.sampled_from(sorted(LOSSES)), st.lists(hypers, min_size=2, max_size=4), shapes, seeds)
def test_each_lane_is_trained_as_torchs_optimiser_and_scheduler_train_it_alone(
    optimiser: str, game: str, hypers: list[Hyper], shape: tuple[int, ...], seed: int
) -> None:
    """Rates, their decay, betas, n_critic, weight and bound of its own in every lane, over six updates."""
    structure = structure_of(game, optimiser, shape, 4)
    data = torch.randn(30, *shape, dtype=torch.float64, generator=generator_of(seed)) + 1
    trials = [Trial(number, seed + number, hyper) for number, hyper in enumerate(hypers)]
    cohort = cohort_of(structure, trials, [6], data=TrainingData(data))
    cohort.advance()
    for trial in trials:
        oracle = textbook(structure, trial, initialise)
        oracle.run(Drawn(structure, data, [trial.seed]), range(6))
        ours = cohort.state_of(trial.number).tensors()
        for name, tensor in oracle.tensors().items():
            # Of a gradient that is zero rounding makes 1e-17, and the optimisers steps of up to 1e-9 times the rate.
            close(ours[name][0], tensor, 1e-9)


@given(st.floats(1e-8, 1), st.integers(1, 1000), st.lists(st.integers(0, 2000), min_size=2, max_size=6))
def test_a_rate_falls_along_a_line_to_zero_and_stays_there(base: float, over: int, at: list[int]) -> None:
    hyper = Hyper(1.0, base, base, 1, 0.0, 0.9, decay_updates=over)

    def rates(updates: int) -> list[float]:
        """Of both networks, where the rates fall and where they stay."""
        trials = [Trial(0, 0, hyper), Trial(1, 0, replace(hyper, decay_updates=0))]
        lanes = Lanes.of(trials, [updates] * 2, CPU)
        critic, generator = lanes.critic_rates().lr.tolist(), lanes.generator_rates().lr.tolist()
        assert critic == generator
        return critic

    assert rates(0) == [base, base]
    for updates in at:
        assert rates(updates) == [pytest.approx(base * max(0, over - updates) / over, abs=1e-15), base]
    falling = [rates(updates)[0] for updates in sorted(at)]
    assert falling == sorted(falling, reverse=True)


# Distances


def sliced(real: Tensor, fake: Tensor) -> float:
    return sliced_wasserstein(directions(real).of(real), directions(real).of(fake)).value


def directions(samples: Tensor) -> Projections:
    return Projections.draw(samples.shape[1], 16, seed=1)


Distance = Callable[[Tensor, Tensor], float]
DISTANCES: dict[str, Distance] = {
    "frechet": lambda real, fake: frechet_distance(real, fake).value,
    "kernel": lambda real, fake: kernel_distance(real, fake).value,
    "sliced": sliced,
    "wasserstein": lambda real, fake: wasserstein(real, fake).value,
}
# The power of the samples' unit in which a distance is measured; the kernel's has none.
DEGREES = {"frechet": 2, "sliced": 1, "wasserstein": 1}
# Sliced distances are of float32 projections; a Fréchet distance has the root of a product's rounding, 1e-16.
TOLERANCE = {"frechet": 1e-6, "kernel": 1e-9, "sliced": 1e-4, "wasserstein": 1e-9}

every_distance = pytest.mark.parametrize("name", DISTANCES)
sizes = st.tuples(st.integers(5, 20), st.integers(1, 4))


def cloud(size: tuple[int, int], seed: int) -> Tensor:
    """Samples (N, D) around a point off the origin, with another spread along each axis, in float64."""
    generator = generator_of(seed)
    spread = 0.5 + torch.rand(size[1], dtype=torch.float64, generator=generator)
    return spread * torch.randn(size, dtype=torch.float64, generator=generator) + 0.3


def clouds(size: tuple[int, int], seed: int, count: int = 2) -> list[Tensor]:
    return [cloud(size, seed + number) for number in range(count)]


@every_distance
@some
@given(sizes, seeds)
def test_a_distance_has_no_direction_and_samples_no_order(name: str, size: tuple[int, int], seed: int) -> None:
    x, y = clouds(size, seed)
    distance, tolerance = DISTANCES[name], TOLERANCE[name]
    expected = distance(x, y)
    close(distance(y, x), expected, tolerance)
    orders = [torch.randperm(len(x), generator=generator_of(seed + n)) for n in range(2)]
    close(distance(x[orders[0]], y[orders[1]]), expected, tolerance)


@every_distance
@some
@given(sizes, seeds)
def test_a_set_is_at_no_distance_from_itself_and_at_some_from_another(
    name: str, size: tuple[int, int], seed: int
) -> None:
    """The kernel's, which is unbiased, is at or below 0: it leaves out of one mean the pairs that are most alike."""
    x, y = clouds(size, seed)
    distance, tolerance = DISTANCES[name], TOLERANCE[name]
    itself = distance(x, x.flip(0))
    if name == "kernel":
        assert itself <= tolerance
        return
    close(itself, 0.0, tolerance)
    assert distance(x, y) > 10 * tolerance


@pytest.mark.parametrize("name", DEGREES)
@some
@given(sizes, seeds, st.floats(0.1, 10), st.floats(-3, 3))
def test_a_distance_has_its_unit_and_no_origin(
    name: str, size: tuple[int, int], seed: int, factor: float, shift: float
) -> None:
    x, y = clouds(size, seed)
    distance, tolerance = DISTANCES[name], TOLERANCE[name]
    expected = distance(x, y)
    power = factor ** DEGREES[name]
    close(distance(factor * x, factor * y) / power, expected, tolerance)
    close(distance(x + shift, y + shift), expected, tolerance)


@pytest.mark.parametrize("name", ["frechet", "kernel", "wasserstein"])
@some
@given(sizes, seeds)
def test_a_distance_has_no_axes(name: str, size: tuple[int, int], seed: int) -> None:
    """It is the same after any rotation; the sliced one has the directions that were drawn."""
    x, y = clouds(size, seed)
    square = torch.randn(size[1], size[1], dtype=torch.float64, generator=generator_of(seed + 9))
    rotation = torch.linalg.qr(square)[0]
    close(DISTANCES[name](x @ rotation, y @ rotation), DISTANCES[name](x, y), TOLERANCE[name])


def shift_read_by(name: str, v: Tensor) -> float:
    """What a distance says of samples and the same samples moved by v (D,)."""
    if name == "sliced":
        along = directions(v[None]).directions.double().T @ v
        return float(along.square().mean().sqrt())
    return float(v.norm()) ** DEGREES[name]


@pytest.mark.parametrize("name", DEGREES)
@some
@given(sizes, seeds, st.floats(0, 10))
def test_a_shift_is_read_as_its_length(name: str, size: tuple[int, int], seed: int, length: float) -> None:
    x = cloud(size, seed)
    v = length * torch.nn.functional.normalize(cloud((1, size[1]), seed + 5), dim=1)[0]
    close(DISTANCES[name](x, x + v), shift_read_by(name, v), 10 * TOLERANCE[name])


@some
@given(sizes, seeds)
def test_a_sliced_distance_along_the_axes_is_the_mean_over_them(size: tuple[int, int], seed: int) -> None:
    """(mean_d W_2^2 of axis d)^(1/2); of a shift v that is |v| / sqrt(D)."""
    x, y = clouds(size, seed)
    axes = Projections(torch.eye(size[1]))
    by_axis = [np.mean((np.sort(x[:, d]) - np.sort(y[:, d])) ** 2) for d in range(size[1])]
    close(sliced_wasserstein(axes.of(x), axes.of(y)).value, math.sqrt(np.mean(by_axis)), 1e-5)
    v = cloud((1, size[1]), seed + 5)
    close(sliced_wasserstein(axes.of(x), axes.of(x + v)).value, float(v.norm()) / math.sqrt(size[1]), 1e-5)


@every_distance
@some
@given(st.tuples(st.integers(30, 40), st.integers(1, 3)), seeds)
def test_a_distance_grows_with_a_shift(name: str, size: tuple[int, int], seed: int) -> None:
    x, y = clouds(size, seed)
    v = torch.nn.functional.normalize(cloud((1, size[1]), seed + 5), dim=1)
    read = [DISTANCES[name](x, y + length * v) for length in (0, 4, 6, 9)]
    assert read == sorted(set(read))


@pytest.mark.parametrize("name", ["frechet", "sliced", "wasserstein"])
@some
@given(sizes, seeds)
def test_a_detour_is_never_shorter(name: str, size: tuple[int, int], seed: int) -> None:
    """The triangle inequality; a Fréchet distance is the square of one that keeps it."""
    x, y, z = clouds(size, seed, 3)
    root = 1 if name != "frechet" else 0.5
    straight, first, second = (DISTANCES[name](*pair) ** root for pair in ((x, z), (x, y), (y, z)))
    assert straight <= first + second + TOLERANCE[name]


@some
@given(sizes, st.integers(5, 20), st.integers(2, 3), seeds)
def test_transport_is_of_shares_and_no_shorter_than_the_means_lie_apart(
    size: tuple[int, int], others: int, times: int, seed: int
) -> None:
    """Samples given several times over have the same shares; by Jensen's inequality |E x - E y| <= W_1."""
    x, y = cloud(size, seed), cloud((others, size[1]), seed + 1)
    expected = wasserstein(x, y).value
    close(wasserstein(x, y.repeat(times, 1)).value, expected, 1e-9)
    assert float((x.mean(0) - y.mean(0)).norm()) <= expected + 1e-9


@some
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 5), seeds, st.integers(1, 5))
def test_the_kernel_distance_is_the_double_loop_however_the_matrix_is_cut(
    real: int, fake: int, columns: int, seed: int, rows: int
) -> None:
    x, y = cloud((real, columns), seed), cloud((fake, columns), seed + 1)

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / columns + 1) ** 3

    def within(samples: Tensor) -> float:
        return math.fsum(k(a, b) for a, b in itertools.permutations(samples, 2)) / (len(samples) * (len(samples) - 1))

    between = math.fsum(k(a, b) for a, b in itertools.product(x, y)) / (real * fake)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "KERNEL_ROWS", rows)
        close(kernel_distance(x, y).value, within(x) + within(y) - 2 * between)


# Modes


@some
@given(st.integers(1, 6), st.integers(0, 60), st.floats(1e-3, 1e3), st.integers(1, 3), seeds)
def test_modes_count_the_samples_that_were_put_there(
    modes: int, count: int, sd: float, dimension: int, seed: int
) -> None:
    """Samples at known distances from centres that lie twenty standard deviations apart, in any order and any unit."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(4**dimension)[:modes]
    centres = 20 * sd * (np.stack(np.unravel_index(places, (4,) * dimension), axis=1) + rng.normal(size=dimension))
    mode = rng.integers(len(centres), size=count)
    inside = rng.random(count) < 0.6
    radius = np.where(inside, rng.uniform(0, 2.99, count), rng.uniform(3.01, 9, count))
    direction = rng.normal(size=(count, dimension))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    samples = centres[mode] + sd * radius[:, None] * direction
    counts = mode_counts(torch.from_numpy(samples), torch.from_numpy(centres), sd)
    assert counts.tolist() == np.bincount(mode[inside], minlength=len(centres)).tolist()
    assert int(counts.sum()) == inside.sum()
    assert modes_captured(counts) == len(set(mode[inside]))


counted = st.lists(st.integers(0, 1000), min_size=1, max_size=10)


@given(counted, seeds, st.integers(2, 5))
def test_the_divergence_of_counts_is_scipys_in_its_range_and_of_shares_alone(
    counts: list[int], seed: int, times: int
) -> None:
    found = kl_to_uniform(torch.tensor(counts))
    most = math.log(len(counts))
    assert -1e-12 <= found <= most + 1e-12
    close(found, entropy(counts, np.ones(len(counts))) if sum(counts) else most)
    assert (abs(found) < 1e-9) == (len(set(counts)) == 1 and (sum(counts) > 0 or len(counts) == 1))
    order = np.random.default_rng(seed).permutation(len(counts))
    close(kl_to_uniform(torch.tensor(counts)[order]), found)
    close(kl_to_uniform(times * torch.tensor(counts)), found)


@given(counted)
def test_the_divergence_falls_when_the_fullest_mode_gives_to_the_emptiest(counts: list[int]) -> None:
    assume(max(counts) - min(counts) >= 2)
    evened = torch.tensor(counts)
    evened[evened.argmax()] -= 1
    evened[evened.argmin()] += 1
    assert kl_to_uniform(evened) < kl_to_uniform(torch.tensor(counts))
