"""Scores within neighbourhoods of conditions, on transports whose distance is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.core.scored import objectives, values
from wgan_core.data.coding import Coding, Column
from wgan_core.data.dataset import Dataset, Split
from wgan_core.metrics.by_condition import ByCondition, Neighbourhoods, energy_within, mean_distances
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.metric import SampleDraw
from wgan_core.metrics.names import error_name
from wgan_core.metrics.objective import resolve_objective
from wgan_core.metrics.wasserstein import SLICED_NAME, Compact

NAME = "eval/intra_energy"
SLOPE, NOISE = 2.0, 0.5
RAW = Compact(None)
CONDITIONS = Coding((Column("dose", 5.0, 2.0),))


def numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(conditions: Tensor, seed: int, noise: float = NOISE, shift: float = 0.0) -> Tensor:
    """Draw y = SLOPE c + shift + noise, (N, 1), for conditions (N, 1)."""
    return SLOPE * conditions + shift + noise * torch.randn(conditions.shape, generator=numbers(seed))


@pytest.fixture(scope="module")
def real() -> tuple[Neighbourhoods, Tensor]:
    conditions = torch.randn(5000, 1, generator=numbers(0))
    return Neighbourhoods.of(RAW, SampleDraw(linear(conditions, 1), conditions)), conditions


def of_shift(shift: float) -> float:
    """Return the energy distance between N(0, NOISE^2) and N(shift, NOISE^2)."""
    sd = NOISE * math.sqrt(2)
    across = sd * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * sd**2)) + shift * math.erf(shift / sd / 2**0.5)
    return 2 * across - 2 * sd * math.sqrt(2 / math.pi)


def test_the_right_conditional_has_a_distance_of_zero(real: tuple[Neighbourhoods, Tensor]) -> None:
    found = energy_within(real[0], SampleDraw(linear(real[1], 2), real[1]))
    assert abs(found.value) < 3 * found.error + 0.003


def test_a_generator_that_ignores_its_conditions_has_the_distance_of_the_closed_form(
    real: tuple[Neighbourhoods, Tensor],
) -> None:
    """Over conditions from N(0, 1), 2 E|X - Y| - E|X - X'| - E|Y - Y'| is 2 / sqrt(pi) (sqrt(a^2 + s^2) - s)."""
    ignoring = linear(real[1][torch.randperm(5000, generator=numbers(3))], 4)
    expected = 2 / math.sqrt(math.pi) * (math.hypot(SLOPE, NOISE) - NOISE)
    assert energy_within(real[0], SampleDraw(ignoring, real[1])).value == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("shift", [0.25, 1.0])
def test_a_shift_has_the_distance_of_the_closed_form(real: tuple[Neighbourhoods, Tensor], shift: float) -> None:
    found = energy_within(real[0], SampleDraw(linear(real[1], 5, shift=shift), real[1]))
    assert found.value == pytest.approx(of_shift(shift), rel=0.1, abs=3 * found.error)


def test_less_and_more_noise_than_the_datas_are_both_seen(real: tuple[Neighbourhoods, Tensor]) -> None:
    for noise in (0.5 * NOISE, 2 * NOISE):
        found = energy_within(real[0], SampleDraw(linear(real[1], 6, noise), real[1]))
        assert found.value > 10 * found.error


@pytest.mark.parametrize(("axes", "count"), [(1, 44), (3, 150), (6, 500)])
def test_the_score_is_unbiased_and_rises_with_each_fault(axes: int, count: int) -> None:
    """Over many held-out sets. A generator with half the noise must not be better than the right one."""

    def sample(given: Tensor, seed: int, noise: float = NOISE, shift: float = 0.0) -> SampleDraw:
        mean = given.sum(1, keepdim=True) / math.sqrt(axes)
        return SampleDraw(linear(mean, seed, noise, shift), given)

    right, less, shifted, floor = [], [], [], []
    for seed in range(0, 200, 5):
        given, others = (torch.randn(count, axes, generator=numbers(seed + at)) for at in (0, 1))
        side = Neighbourhoods.of(RAW, sample(given, seed + 2))
        right.append(energy_within(side, sample(given, seed + 3)).value)
        less.append(energy_within(side, sample(given, seed + 3, 0.5 * NOISE)).value)
        shifted.append(energy_within(side, sample(given, seed + 3, shift=0.5)).value)
        floor.append(energy_within(side, sample(others, seed + 4)).value)
    error = float(np.std(right)) / math.sqrt(len(right))
    assert abs(np.mean(right)) < 4 * error
    assert abs(np.mean(floor)) < 4 * float(np.std(floor)) / math.sqrt(len(floor))
    assert np.mean(less) - np.mean(right) > 2 * float(np.std(np.subtract(less, right))) / math.sqrt(len(right))
    assert np.mean(shifted) > np.mean(right) + 10 * error


@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_the_error_is_the_spread_over_draws(wrong: float) -> None:
    conditions = torch.randn(500, 1, generator=numbers(0))
    side = Neighbourhoods.of(RAW, SampleDraw(linear(conditions, 1), conditions))
    draws = [energy_within(side, SampleDraw(linear(conditions, n, shift=wrong), conditions)) for n in range(9, 69)]
    spread = float(np.std([each.value for each in draws]))
    assert 0.8 * spread < np.mean([each.error for each in draws]) < 1.8 * spread


def test_the_distance_is_that_of_plain_loops() -> None:
    conditions, given = torch.randn(30, 2, generator=numbers(0)), torch.randn(30, 2, generator=numbers(1))
    known, made = torch.randn(30, 3, generator=numbers(2)), torch.randn(30, 3, generator=numbers(3))
    total = 0.0
    for anchor in conditions:
        x, y = (
            side[(at - anchor).norm(dim=1).argsort()[:5]].double() for side, at in ((known, conditions), (made, given))
        )
        pairs = [(at, other) for at in range(5) for other in range(5) if at != other]
        for sign, (one, two) in ((2, (x, y)), (-1, (x, x)), (-1, (y, y))):
            total += sign * sum(float((one[at] - two[other]).norm()) for at, other in pairs) / len(pairs)
    side = Neighbourhoods.of(RAW, SampleDraw(known, conditions))
    assert side.near.shape == (30, 5, 3)
    assert energy_within(side, SampleDraw(made, given)).value == pytest.approx(total / 30, rel=1e-5)
    assert mean_distances(side.near, side.near).shape == (30, 5)


def test_samples_that_are_not_finite_have_no_distance() -> None:
    conditions = torch.randn(9, 1, generator=numbers(0))
    side = Neighbourhoods.of(RAW, SampleDraw(linear(conditions, 1), conditions))
    assert math.isnan(energy_within(side, SampleDraw(torch.full((9, 1), math.nan), conditions)).value)


def dataset(count: int = 100) -> Dataset:
    def split(rows: int, seed: int) -> Split:
        conditions = torch.randn(rows, 1, generator=numbers(seed))
        both = torch.cat([linear(conditions, seed + 1), -linear(conditions, seed + 2)], dim=1)
        return Split(both.numpy(), conditions.numpy())

    whole = Dataset.of("line", split(1000, 0), split(count, 10), split(count, 20))
    return replace(whole, conditions=CONDITIONS)


def test_it_is_the_default_objective_of_data_with_conditions() -> None:
    evaluator = Evaluator.build(dataset())
    assert objectives(evaluator)[0] == evaluator.objective_default == evaluator.resolve("intra_energy") == NAME
    assert evaluator.protocol["metrics"][NAME] == {"anchors": 100, "neighbours": 10, "pairs": "of other samples"}
    assert {NAME, error_name(NAME)} <= evaluator.floors.keys()
    assert values(evaluator.floors) == set(evaluator.names)
    without = Evaluator.build(replace(dataset(), conditions=None), classes=0)
    assert NAME not in without.names
    with pytest.raises(ValueError, match="it is for networks that are told numbers, as by"):
        resolve_objective("intra_energy", without.specs)


def test_samples_are_scored_at_the_conditions_of_held_out_samples() -> None:
    data = dataset()
    evaluator = Evaluator.build(data)
    assert evaluator.draws == 10
    assert evaluator.conditions is not None
    assert evaluator.conditions.shape == (1000, 1)
    given = evaluator.conditions
    assert data.validation.labels is not None
    assert sorted(given[:100, 0].tolist()) == sorted(data.validation.labels[:, 0].tolist())
    assert torch.equal(given[:100], given[900:])
    heeding = torch.cat([linear(given, 30), -linear(given, 31)], dim=1)
    scores = evaluator.scores(heeding, given)
    # Within each draw, so that all other metrics have the same samples.
    mixed = torch.cat([part[torch.randperm(100, generator=numbers(5))] for part in heeding.chunk(10)])
    ignoring = evaluator.scores(mixed, given)
    assert ignoring[SLICED_NAME] == pytest.approx(scores[SLICED_NAME], rel=1e-4)
    assert abs(scores[NAME]) < 0.2
    assert ignoring[NAME] > 10 * abs(scores[NAME])
    assert ignoring[NAME] > 1 > evaluator.floors[NAME]
    assert not any(name.startswith("class/") for name in scores)


def test_conditions_of_samples_are_needed() -> None:
    metric = ByCondition()
    with pytest.raises(ValueError, match="need the conditions of the samples"):
        metric.scores(
            Neighbourhoods.of(RAW, SampleDraw(torch.zeros(4, 1), torch.zeros(4, 1))), [SampleDraw(torch.zeros(4, 1))]
        )
