"""Samples that fool a distance, each named by a metric; standard errors against repeated draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.data.toy import load_toy
from wgan_core.errors import UserError
from wgan_core.metrics.copied import Copied, nearest
from wgan_core.metrics.distances import (
    Estimate,
    Projections,
    frechet_distance,
    kernel_distance,
    sliced_wasserstein,
    wasserstein,
)
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.manifold import FOR_COVERAGE, FOR_PRECISION, Coverage, Manifold, Overlap
from wgan_core.metrics.names import COPIED_NAME, MOST_COPIED, error_name
from wgan_core.metrics.on_features import Fid
from wgan_core.metrics.own import OwnMetric

SIZE = 1000


@pytest.fixture(scope="module")
def evaluator(mnist: Dataset) -> Evaluator:
    return Evaluator.build(mnist, sample_size=SIZE)


def images(split: Split, rows: np.ndarray | slice) -> Tensor:
    return to_model(torch.from_numpy(split.values[rows]), torch.float32)


def normal(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def stem(evaluator: Evaluator, name: str) -> str:
    return next(spec.name for spec in evaluator.specs if spec.stem == f"eval/{name}")


# Copies


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_replayed_training_images_are_named_though_their_fid_is_low(
    mnist: Dataset, evaluator: Evaluator, share: float
) -> None:
    fresh = images(mnist.test, slice(SIZE))
    replayed = fresh.clone()
    # Every tenth or every sample is one of 500 training images.
    at = torch.arange(0, SIZE, round(1 / share))
    replayed[at] = images(mnist.train, slice(500))[at % 500]
    scores, honest = evaluator.scores(replayed), evaluator.scores(fresh)
    assert scores[COPIED_NAME] == pytest.approx(share, abs=0.02)
    assert honest[COPIED_NAME] < MOST_COPIED / 2 < MOST_COPIED < scores[COPIED_NAME]
    assert scores[Fid().spec.name] < 12


def test_noise_on_a_replayed_image_hides_nothing_and_noise_on_a_fresh_one_is_no_copy(
    mnist: Dataset, evaluator: Evaluator
) -> None:
    noise = 0.1 * normal(SIZE, 784, 0).reshape(SIZE, 1, 28, 28)
    found = [
        evaluator.scores((images(split, slice(SIZE)) + noise).clamp(-1, 1))[COPIED_NAME]
        for split in (mnist.train, mnist.test)
    ]
    assert found[0] > 0.9
    assert found[1] < MOST_COPIED


@pytest.mark.parametrize("columns", [2, 10, 40])
def test_copies_of_points_and_rows_are_seen_on_any_number_of_axes(columns: int) -> None:
    parts = [normal(count, columns, seed) for seed, count in enumerate((3000, 500, 500))]
    dataset = Dataset.of("rows", *(Split(part.numpy(), None) for part in parts))
    evaluator = Evaluator.build(dataset)
    fresh, copied = (part.repeat(2, 1)[: evaluator.sample_size] for part in (parts[2], parts[0]))
    assert evaluator.scores(fresh)[COPIED_NAME] < MOST_COPIED
    assert evaluator.scores(copied)[COPIED_NAME] == 1.0


def test_samples_of_the_law_itself_are_no_copies_on_fifty_thousand_close_points() -> None:
    eight = load_toy("8gaussians")
    evaluator = Evaluator.build(eight)
    assert evaluator.scores(torch.from_numpy(eight.test.values[:5000]))[COPIED_NAME] < MOST_COPIED
    replayed = torch.from_numpy(eight.train.values[:500]).repeat(10, 1)
    assert evaluator.scores(replayed)[COPIED_NAME] > 0.4  # about half of the points are among those compared


def test_a_quotient_is_that_of_the_two_nearest_distances() -> None:
    values, training = normal(70, 20, 0), normal(300, 20, 1)
    distances, indices = NearestNeighbors(n_neighbors=2).fit(training).kneighbors(values)
    found, at = nearest(values, training)
    np.testing.assert_allclose(found.numpy(), distances[:, 0] / distances[:, 1], rtol=1e-4)
    np.testing.assert_array_equal(at.numpy(), indices[:, 0])


def test_equal_training_rows_count_once() -> None:
    rows = normal(400, 5, 0).repeat(3, 1)
    parts = [rows, normal(300, 5, 1), normal(300, 5, 2)]
    evaluator = Evaluator.build(Dataset.of("rows", *(Split(part.numpy(), None) for part in parts)))
    assert evaluator.protocol["metrics"][COPIED_NAME]["training_samples"] == 400
    assert evaluator.scores(rows[: evaluator.sample_size])[COPIED_NAME] == 1.0


def test_copies_of_rows_far_from_zero_are_seen_and_near_twins_give_no_nan() -> None:
    parts = [1e3 + 0.1 * normal(count, 40, seed) for seed, count in enumerate((1000, 500, 500))]
    evaluator = Evaluator.build(Dataset.of("far", *(Split(part.numpy(), None) for part in parts)))
    assert evaluator.scores(parts[0][: evaluator.sample_size])[COPIED_NAME] > 0.95
    rows = normal(200, 40, 0)
    found, _ = nearest(rows, torch.cat([rows, rows + 1e-6]))
    assert not found.isnan().any()


@pytest.mark.parametrize("points", [2, 4])
def test_a_generator_collapsed_to_a_few_training_points_does_not_copy(
    evaluator: Evaluator, mnist: Dataset, points: int
) -> None:
    scores = evaluator.scores(images(mnist.train, slice(points)).repeat(SIZE // points, 1, 1, 1))
    assert scores[COPIED_NAME] < MOST_COPIED
    # Two points may be far apart, so the spread does not show it.
    assert scores[stem(evaluator, "spread")] > 0.3
    assert scores[stem(evaluator, "coverage")] < 0.05


def test_where_rows_are_equal_by_chance_copies_are_not_measured() -> None:
    few = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2000, 2)).astype(np.float32))
    dataset = Dataset.of("codes", *(Split(part.numpy(), None) for part in few.split([1000, 500, 500])))
    assert COPIED_NAME not in Evaluator.build(dataset).names


def test_copying_is_no_objective(evaluator: Evaluator) -> None:
    for name in ("copied", "precision", "coverage"):
        with pytest.raises(UserError, match="for diagnosis"):
            evaluator.resolve(name)


# What is missing


def test_a_lost_digit_is_named_and_lowers_recall_and_coverage(mnist: Dataset, evaluator: Evaluator) -> None:
    assert mnist.test.labels is not None
    without = evaluator.scores(images(mnist.test, np.flatnonzero(mnist.test.labels != 4)[:SIZE]))
    whole = evaluator.scores(images(mnist.test, slice(SIZE)))
    by_digit = {digit: without[f"class/{digit}/coverage"] for digit in range(10)}
    assert min(by_digit, key=by_digit.__getitem__) == 4
    assert by_digit[4] < 0.3 < 0.8 < min(share for digit, share in by_digit.items() if digit != 4)
    for name in ("recall", "coverage"):
        assert without[stem(evaluator, name)] < whole[stem(evaluator, name)] - 0.03


def test_a_generator_that_varies_too_little_has_precision_but_little_spread_and_recall() -> None:
    parts = [normal(count, 6, seed) for seed, count in enumerate((2000, 1000, 1000))]
    evaluator = Evaluator.build(Dataset.of("rows", *(Split(part.numpy(), None) for part in parts)), sample_size=SIZE)
    whole, shrunk = evaluator.scores(parts[2]), evaluator.scores(0.5 * parts[2])
    assert whole[stem(evaluator, "spread")] == pytest.approx(1, abs=0.03)
    assert shrunk[stem(evaluator, "spread")] == pytest.approx(0.5, abs=0.02)
    assert shrunk[stem(evaluator, "precision")] > whole[stem(evaluator, "precision")]
    assert shrunk[stem(evaluator, "recall")] < whole[stem(evaluator, "recall")] / 2


def test_precision_recall_density_and_coverage_are_the_published_ones() -> None:
    real, fake = normal(120, 3, 0), normal(90, 3, 1) * 1.5 + 0.4

    def radii(values: Tensor, neighbour: int) -> np.ndarray:
        distances, _ = NearestNeighbors(n_neighbors=neighbour + 1).fit(values).kneighbors(values)
        return distances[:, -1]

    across = np.linalg.norm(real[:, None].numpy() - fake[None].numpy(), axis=-1)
    near, wide = radii(real, FOR_PRECISION), radii(real, FOR_COVERAGE)
    found = Overlap.of(Manifold.of(real), fake)
    assert found.precision == pytest.approx((across <= near[:, None]).any(0).mean())
    assert found.recall == pytest.approx((across <= radii(fake, FOR_PRECISION)).any(1).mean())
    assert found.density == pytest.approx((across <= wide[:, None]).sum(0).mean() / FOR_COVERAGE)
    assert found.coverage == pytest.approx((across.min(1) <= wide).mean())


def test_equal_rows_lie_in_each_others_balls() -> None:
    """As rows of a few categories do: all radii are 0 there, but for rounding."""
    rows = torch.eye(4).repeat(30, 1) * 1000
    found = Overlap.of(Manifold.of(rows), rows[:80])
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert Overlap.of(Manifold.of(rows), rows[:80] + 1).precision == 0


def test_one_point_alone_has_no_spread_and_covers_next_to_nothing() -> None:
    found = Overlap.of(Manifold.of(normal(200, 4, 0)), torch.zeros(200, 4))
    assert found.spread == pytest.approx(0, abs=1e-6)
    assert found.coverage < 0.1
    assert math.isfinite(found.density)


def test_the_raw_values_are_measured_only_without_features(evaluator: Evaluator) -> None:
    names = {spec.name for spec in Coverage().specs}
    assert names.isdisjoint(evaluator.names)
    assert {spec.stem for spec in evaluator.specs} >= names


# Standard errors


def sliced(real: Tensor, fake: Tensor) -> Estimate:
    projections = Projections.draw(real.shape[1], 32, seed=0)
    return sliced_wasserstein(projections.of(real), projections.of(fake))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, sliced, wasserstein])
def test_a_standard_error_is_the_deviation_over_many_draws(distance: Callable[[Tensor, Tensor], Estimate]) -> None:
    real = normal(400, 3, 0)
    found = [distance(real, normal(400, 3, seed) * torch.tensor([1.0, 1.5, 0.7]) + 0.4) for seed in range(1, 121)]
    deviation = float(np.std([each.value for each in found], ddof=1))
    # The deviation over 120 draws is itself known to 7 %.
    assert float(np.mean([each.error for each in found])) == pytest.approx(deviation, rel=0.25)


def test_the_frechet_error_is_the_gradient_of_the_closed_form() -> None:
    """In one dimension the distance is (m - n)^2 + (s - t)^2, whose influence is 2(m - n) x + (1 - t/s) x^2."""
    real, fake = normal(5000, 1, 0).double(), 2 * normal(5000, 1, 1).double() + 0.5
    x = fake - fake.mean()
    influences = 2 * (fake.mean() - real.mean()) * x + (1 - real.std() / fake.std()) * x**2
    expected = float(influences.std()) / math.sqrt(5000)
    assert frechet_distance(real, fake).error == pytest.approx(expected, rel=1e-6)


def test_every_objective_has_a_standard_error_and_so_has_its_floor(evaluator: Evaluator, mnist: Dataset) -> None:
    scores = evaluator.scores(images(mnist.test, slice(SIZE)))
    for spec in evaluator.specs:
        if spec.can_be_objective:
            assert 0 < scores[error_name(spec.name)] < math.inf
            assert 0 < evaluator.floors[error_name(spec.name)] < math.inf


def test_an_own_metric_has_the_error_of_its_parts() -> None:
    own = OwnMetric("mean", lambda real, fake: float(fake.mean()), "mean; data units")
    fake = normal(4000, 1, 0)
    assert own.distance(normal(4000, 1, 1), fake).error == pytest.approx(1 / math.sqrt(4000), rel=1)
    assert math.isnan(own.distance(fake[:4], fake[:4]).error)

    def picky(real: Tensor, fake: Tensor) -> float:
        if len(fake) < 500:
            raise ValueError("needs 500")
        return 1.0

    found = OwnMetric("picky", picky, "nothing").distance(fake[:600], fake[:600])
    assert found.value == 1.0
    assert math.isnan(found.error)


def test_the_mean_over_draws_has_a_smaller_error() -> None:
    parts = [normal(count, 2, seed) for seed, count in enumerate((300, 100, 100))]
    evaluator = Evaluator.build(Dataset.of("rows", *(Split(part.numpy(), None) for part in parts)))
    assert evaluator.draws == 10
    name = stem(evaluator, "w1")
    alone = wasserstein(parts[1], normal(100, 2, 7)).error
    assert evaluator.scores(normal(1000, 2, 8))[error_name(name)] == pytest.approx(alone / math.sqrt(10), rel=0.4)


# The bias of few samples


def test_fid_at_infinity_has_not_the_bias_of_few_samples(mnist: Dataset) -> None:
    evaluator = Evaluator.build(mnist, sample_size=2048)
    biased, unbiased = (stem(evaluator, name) for name in ("fid", "fid_infinity"))
    real = evaluator.scores(images(mnist.train, slice(10_000, 12_048)))
    assert real[biased] > 1
    assert abs(real[unbiased]) < real[biased] / 2
    noisy = (images(mnist.train, slice(2048)) + 0.3 * normal(2048, 784, 0).reshape(2048, 1, 28, 28)).clamp(-1, 1)
    scores = evaluator.scores(noisy)
    assert scores[unbiased] < scores[biased]


def test_fid_at_infinity_is_not_measured_on_few_samples_for_its_features(mnist: Dataset, evaluator: Evaluator) -> None:
    assert "eval/fid_infinity" not in {spec.stem for spec in evaluator.specs}
    few = Dataset.of("mnist", *(Split(part.values[:3], None) for part in (mnist.train, mnist.validation, mnist.test)))
    assert Evaluator.build(few).objective_default == Fid().spec.name


def test_copies_are_not_measured_on_few_rows() -> None:
    few = Dataset.of("few", *(Split(normal(150, 4, seed).numpy(), None) for seed in range(3)))
    assert COPIED_NAME not in Evaluator.build(few).names
    assert Copied().specs[0].blind_to
