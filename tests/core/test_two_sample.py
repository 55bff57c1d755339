"""The 1-NN two-sample test, and the metrics that are made of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tests.core.scored import objectives
from wgan_core.data import Dataset, Split
from wgan_core.data.coding import Coding, Column
from wgan_core.errors import UserError
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.metric import HeldOut, SampleDraw
from wgan_core.metrics.objective import resolve_objective
from wgan_core.metrics.two_sample import (
    ACCURACY_FAKE_NAME,
    ACCURACY_REAL_NAME,
    C2ST_NAME,
    TwoSample,
    nearest_neighbour_accuracies,
    null_accuracy,
)
from wgan_core.metrics.wasserstein import SLICED_NAME, SlicedWasserstein


def normal(count: int, seed: int, axes: int = 3) -> Tensor:
    return torch.randn(count, axes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_accuracies_are_those_of_scikit_learn(shift: float) -> None:
    real, fake = normal(60, 0), normal(60, 1) + shift
    labels = np.repeat([1, 0], 60)
    classifier = KNeighborsClassifier(n_neighbors=1)
    found = cross_val_predict(classifier, torch.cat([real, fake]).numpy(), labels, cv=LeaveOneOut()) == labels
    assert nearest_neighbour_accuracies(real, fake) == pytest.approx((found[:60].mean(), found[60:].mean()))


def test_samples_in_one_place_are_seen_though_the_mean_of_both_is_a_half() -> None:
    """Every real sample has the heap for its neighbour, every sample of the heap another of it."""
    heap = 0.01 * normal(200, 1)
    on_real, on_fake = nearest_neighbour_accuracies(2 * torch.nn.functional.normalize(normal(200, 0, 40)), pad(heap))
    assert on_fake > 0.99
    assert on_real < 0.05
    assert (on_real + on_fake) / 2 == pytest.approx(0.5, abs=0.03)


def pad(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (0, 37))


def test_copies_of_the_real_samples_count_as_none_of_the_two() -> None:
    """Each sample's nearest is its copy on the other side: below a half, as of overfitted generators."""
    real = normal(50, 0)
    assert nearest_neighbour_accuracies(real, real.clone()) == (0.0, 0.0)


def test_equal_rows_share_a_neighbour() -> None:
    """All alike: of the 3 nearest to a real row one is real."""
    assert nearest_neighbour_accuracies(torch.ones(2, 4), torch.ones(2, 4)) == pytest.approx((1 / 3, 1 / 3))


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        nearest_neighbour_accuracies(normal(5, 0), normal(6, 0))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    parts = [Split(normal(count, seed, 4).numpy(), None) for seed, count in enumerate((400, 60, 60))]
    return Dataset.of("t", *parts, coding=Coding(tuple(Column(name) for name in "abcd")))


@pytest.fixture(scope="module")
def evaluator(dataset: Dataset) -> Evaluator:
    return Evaluator.build(dataset)


def test_few_rows_are_scored_with_several_draws_by_the_test(evaluator: Evaluator) -> None:
    assert objectives(evaluator) == (C2ST_NAME, SLICED_NAME)
    assert {ACCURACY_REAL_NAME, ACCURACY_FAKE_NAME} < set(evaluator.names)
    assert evaluator.objective_default == evaluator.resolve("c2st") == C2ST_NAME
    assert (evaluator.draws, evaluator.sample_size) == (10, 600)
    assert evaluator.floors[C2ST_NAME] < 0.15


@pytest.mark.parametrize(("shape", "default"), [((3,), C2ST_NAME), ((1, 3), SLICED_NAME)])
def test_many_rows_are_scored_by_the_test_and_many_sequences_by_sliced_wasserstein(
    shape: tuple[int, ...], default: str
) -> None:
    parts = [Split(normal(500, seed).reshape(500, *shape).numpy(), None) for seed in range(3)]
    columns = tuple(Column(name) for name in "abc"[: shape[0]])
    evaluator = Evaluator.build(Dataset.of("t", *parts, coding=Coding(columns)))
    assert set(objectives(evaluator)) == {C2ST_NAME, SLICED_NAME}
    assert evaluator.objective_default == default
    assert (evaluator.draws, evaluator.sample_size) == (2, 1000)


def test_the_test_sees_a_broken_relation_of_columns_that_sliced_wasserstein_does_not() -> None:
    """The third column is the mean of the others. Its noise is small beside its spread, as in tables of measures."""
    parts = [normal(count, seed, 2) for seed, count in enumerate((4000, 2000, 2000))]
    rows = [torch.cat([part, part.mean(1, keepdim=True)], dim=1) for part in parts]
    columns = tuple(Column(name) for name in "abc")
    splits = [Split(part.numpy(), None) for part in rows]
    evaluator = Evaluator.build(Dataset.of("t", *splits, coding=Coding(columns)))
    noisy = rows[2].clone()
    noisy[:, 2] += 0.1 * normal(2000, 9, 1)[:, 0]
    whole, broken = evaluator.scores(rows[2]), evaluator.scores(noisy)
    assert broken[C2ST_NAME] > 0.1 > 3 * whole[C2ST_NAME]
    assert broken[SLICED_NAME] == pytest.approx(whole[SLICED_NAME], rel=0.1)


def test_of_few_rows_a_generator_that_varies_too_little_is_nearest_by_sliced_wasserstein() -> None:
    """Nearer than rows of the right spread, so it is not what is minimised there; the test tells them apart."""
    parts = [Split(normal(count, seed, 30).numpy(), None) for seed, count in enumerate((170, 21, 21))]
    evaluator = Evaluator.build(Dataset.of("t", *parts, coding=Coding(tuple(Column(str(n)) for n in range(30)))))
    shrunk, good = (evaluator.scores(scale * normal(210, 9, 30)) for scale in (0.9, 1.0))
    assert shrunk[SLICED_NAME] < good[SLICED_NAME]
    assert shrunk[C2ST_NAME] > 2 * good[C2ST_NAME]


@pytest.mark.parametrize("count", [1, 2, 5, 21])
def test_the_null_is_the_mean_accuracy_between_samples_of_one_law(count: int) -> None:
    """A sample has one neighbour less on its own side, so the mean of few samples is below a half."""
    found = [nearest_neighbour_accuracies(normal(count, seed), normal(count, 10_000 + seed)) for seed in range(1000)]
    close = 4 * np.std(found, axis=0) / math.sqrt(len(found))
    assert (abs(np.mean(found, axis=0) - null_accuracy(count)) <= close).all()
    assert (null_accuracy(1), null_accuracy(2), null_accuracy(21)) == pytest.approx((0, 1 / 3, 20 / 41))


@pytest.mark.parametrize("count", [2, 5, 21])
def test_few_rows_that_cannot_be_told_apart_score_zero(count: int) -> None:
    """All alike: the nearest of a row is any other row, as for a perfect generator."""
    alike, metric = torch.ones(count, 3), TwoSample()
    assert metric.scores(alike, [SampleDraw(alike)])[C2ST_NAME] == pytest.approx(0, abs=1e-12)
    assert metric.entry(alike)["null"] == null_accuracy(count)


def test_the_score_is_the_mean_distance_of_both_accuracies_from_their_null(evaluator: Evaluator) -> None:
    good, heap = normal(600, 9, 4), 0.01 * normal(600, 9, 4)
    scores = evaluator.scores(heap)
    distances = [abs(scores[name] - null_accuracy(60)) for name in (ACCURACY_REAL_NAME, ACCURACY_FAKE_NAME)]
    assert scores[C2ST_NAME] == pytest.approx(sum(distances) / 2)
    assert scores[C2ST_NAME] > 0.4 > 0.15 > evaluator.scores(good)[C2ST_NAME]


def test_draws_are_averaged_before_the_distance_from_the_null_is_taken(dataset: Dataset, evaluator: Evaluator) -> None:
    """So that noise that goes both ways cancels: the score is at most the mean over draws of the single scores."""
    samples = normal(600, 11, 4)
    (real,) = (real for metric, real in evaluator.fitted if isinstance(metric, TwoSample))
    found = [nearest_neighbour_accuracies(real, part) for part in samples.chunk(10)]
    on_real, on_fake = np.mean(found, axis=0)
    scores = evaluator.scores(samples)
    assert scores[ACCURACY_REAL_NAME] == pytest.approx(on_real)
    null = null_accuracy(len(real))
    assert scores[C2ST_NAME] == pytest.approx((abs(on_real - null) + abs(on_fake - null)) / 2)
    assert scores[C2ST_NAME] < np.mean([(abs(one - null) + abs(other - null)) / 2 for one, other in found])


def test_an_accuracy_is_no_objective(evaluator: Evaluator) -> None:
    with pytest.raises(UserError, match=r"for diagnosis: it says nothing of the real samples.*choose from: eval/c2st"):
        evaluator.resolve("nn_accuracy_fake")
    with pytest.raises(UserError, match="eval/c2st is not; choose from"):
        resolve_objective("c2st", SlicedWasserstein().specs)


def test_what_is_not_finite_scores_nan(evaluator: Evaluator) -> None:
    samples = normal(600, 0, 4)
    samples[3, 2] = math.nan
    assert all(math.isnan(value) for value in evaluator.scores(samples).values())


def test_samples_are_scored_as_rows_that_are_written_out() -> None:
    """Shares of one-hot entries become one-hot, and whole numbers whole, before any distance is taken."""
    rng = np.random.default_rng(0)
    kinds = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 90)]
    counts = (rng.poisson(4, (90, 1)) - 4) / 2
    values = np.concatenate([counts.astype(np.float32), kinds], axis=1)
    coding = Coding((Column("count", 4.0, 2.0, whole=True), Column("kind", values=("a", "b", "c"))))
    parts = [Split(values[at], None) for at in (slice(50), slice(50, 70), slice(70, 90))]
    evaluator = Evaluator.build(Dataset.of("t", *parts, coding=coding))
    exact = torch.from_numpy(values[50:70]).repeat(evaluator.draws, 1)
    blurred = exact * 0.7 + 0.1
    blurred[:, 0] = exact[:, 0] + 0.2  # less than half a count
    assert evaluator.scores(blurred) == pytest.approx(evaluator.scores(exact), abs=1e-6)


@pytest.mark.parametrize(("axes", "count"), [(256, 2048), (1024, 1024), (20_000, 231)])
def test_wide_samples_are_compared_in_smaller_numbers(axes: int, count: int) -> None:
    real = SampleDraw(torch.zeros(2048, axes))
    assert len(TwoSample().fit(HeldOut(None, real, {}, 0))) == count  # type: ignore[arg-type]
