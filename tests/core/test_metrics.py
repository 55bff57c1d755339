"""The held-out metrics are what their papers say, repeatable, comparable, and no trial can choose its own ruler."""

import dataclasses
import itertools
import json
import math
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import ot
import psutil
import pytest
import scipy.linalg
import scipy.optimize
import torch
from ot.sliced import get_random_projections
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from tests.core.scored import objectives, values
from wgan_core.config import PARAMETERS
from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.data.toy import MIXTURES, load_toy
from wgan_core.errors import UserError
from wgan_core.metrics import evaluator as evaluator_module
from wgan_core.metrics import registry
from wgan_core.metrics.by_class import AS_ASKED_NAME, ByClass
from wgan_core.metrics.by_condition import ByCondition
from wgan_core.metrics.digits import (
    WEIGHTS,
    classify,
    digit_features,
    digits_label,
    load_digit_classifier,
    weights_hash,
)
from wgan_core.metrics.distances import (
    Estimate,
    Projections,
    frechet_distance,
    kernel_distance,
    kernel_means,
    sliced_wasserstein,
    wasserstein,
)
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.independent_critic import CRITIC_NAME
from wgan_core.metrics.manifold import Coverage
from wgan_core.metrics.metric import Distance, HeldOut, MetricSpec, Side
from wgan_core.metrics.modes import (
    HIGH_QUALITY_NAME,
    KL_NAME,
    MODE_NAMES,
    MODES_NAME,
    kl_to_uniform,
    mode_counts,
    modes_captured,
)
from wgan_core.metrics.names import COPIED_NAME
from wgan_core.metrics.objective import resolve_objective
from wgan_core.metrics.on_features import Fid, Kid
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.registry import known_metrics, shipped
from wgan_core.metrics.training import TRAINING
from wgan_core.metrics.two_sample import ACCURACY_NAMES, C2ST_NAME
from wgan_core.metrics.wasserstein import SLICED_NAME, W1_NAME, SlicedWasserstein

SIZE = 1000
FID, KID = Fid().spec.name, Kid().spec.name


@pytest.fixture(scope="module")
def evaluator(mnist: Dataset) -> Evaluator:
    return Evaluator.build(mnist, sample_size=SIZE)


@pytest.fixture(scope="module")
def eight() -> Dataset:
    return load_toy("8gaussians")


@pytest.fixture(scope="module")
def on_eight(eight: Dataset) -> Evaluator:
    return Evaluator.build(eight)


@pytest.fixture(scope="module")
def digits(mnist: Dataset) -> Tensor:
    """Real images that no reference holds: from the test split."""
    return to_model(torch.from_numpy(mnist.test.values[-SIZE:]), torch.float32)


def gaussian(rows: int, columns: int, seed: int, mean: float = 0.0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) + mean


def colour_images(rows: int = 100, side: int = 5) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 3, side, side), np.uint8)
    return Dataset.of("images:t", Split(pixels[:60], None), Split(pixels[60:80], None), Split(pixels[80:], None))


# The distances


def test_frechet_distance_is_the_formula_of_heusel() -> None:
    real, fake = gaussian(400, 6, 0) @ gaussian(6, 6, 1), gaussian(300, 6, 2, mean=0.5)
    x, y = real.double().numpy(), fake.double().numpy()
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(real, fake).value == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_a_shift_and_of_a_scale_is_known() -> None:
    real = gaussian(500, 4, 0).double()
    assert frechet_distance(real, real).value == pytest.approx(0.0, abs=1e-10)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    assert frechet_distance(real, real + shift).value == pytest.approx(float(shift.square().sum()), rel=1e-9)
    centred = real - real.mean(0)
    # sqrt(C . 9C) = 3C, so the distance is tr(C + 9C - 6C).
    assert frechet_distance(centred, 3 * centred).value == pytest.approx(4 * float(centred.T.cov().trace()), rel=1e-9)


def test_frechet_distance_bears_fewer_samples_than_features_and_a_constant_generator() -> None:
    real, point = gaussian(20, 50, 0), torch.ones(20, 50)
    expected = float((real.mean(0) - 1).square().sum() + real.T.cov().trace())
    assert frechet_distance(real, point).value == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_is_the_textbook_double_loop() -> None:
    x, y = gaussian(7, 5, 0).double(), gaussian(9, 5, 1).double()

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 5 + 1) ** 3)

    def within(z: Tensor) -> float:
        return sum(k(a, b) for a, b in itertools.permutations(z, 2)) / (len(z) * (len(z) - 1))

    between = sum(k(a, b) for a, b in itertools.product(x, y)) / (len(x) * len(y))
    expected = within(x) + within(y) - 2 * between
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(x, y, float(kernel_means(x).mean())).value == kernel_distance(x, y).value


def test_the_kernel_is_computed_in_double_precision() -> None:
    """Features far from zero: the kernel is near 1e6 and the distance near 1, so float32 would keep no digit of it."""
    x, y = gaussian(300, 64, 0, mean=10.0), gaussian(300, 64, 1, mean=10.0)
    assert x.dtype == torch.float32
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(x.double(), y.double()), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
@pytest.mark.parametrize("rows", [600, 500, 250])
def test_kernel_distance_does_not_depend_on_how_it_is_cut(rows: int) -> None:
    x, y = gaussian(rows, 16, 0), gaussian(rows, 16, 1, mean=0.3)
    metric = KernelInceptionDistance(feature=IdentityFeatures(16), subsets=1, subset_size=rows)
    metric.update(x.double(), real=True)
    metric.update(y.double(), real=False)
    assert kernel_distance(x, y).value == pytest.approx(float(metric.compute()[0]), rel=1e-5)


class IdentityFeatures(torch.nn.Identity):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def test_kernel_distance_is_unbiased() -> None:
    x = [gaussian(50, 8, seed) for seed in range(200)]
    scores = [kernel_distance(a, b).value for a, b in zip(x[::2], x[1::2], strict=True)]
    assert abs(np.mean(scores)) < 3 * np.std(scores) / math.sqrt(len(scores))
    assert min(scores) < 0


def test_sliced_wasserstein_of_a_shift_is_its_length_along_the_directions() -> None:
    samples = gaussian(300, 12, 0)
    shift = torch.linspace(-1, 2, 12)
    projections = Projections.draw(12, 40, seed=3)
    expected = float((shift @ projections.directions).square().mean().sqrt())
    score = sliced_wasserstein(projections.of(samples), projections.of(samples + shift)).value
    assert score == pytest.approx(expected, rel=1e-5)


def test_sliced_wasserstein_is_the_distance_of_sorted_projections_and_pots() -> None:
    x, y = gaussian(200, 3 * 4, 0).reshape(200, 3, 4), 2 * gaussian(200, 3 * 4, 1).reshape(200, 3, 4)
    projections = Projections.draw(12, 30, seed=3)
    a, b = (np.sort(projections.of(z).numpy(), axis=0) for z in (x, y))
    score = sliced_wasserstein(projections.of(x), projections.of(y)).value
    assert score == pytest.approx(float(np.sqrt(((a - b) ** 2).mean())), rel=1e-5)
    theirs = ot.sliced_wasserstein_distance(x.flatten(1), y.flatten(1), projections=projections.directions, p=2)
    assert score == pytest.approx(float(theirs), rel=1e-5)


def test_directions_are_unit_vectors_fixed_by_the_seed() -> None:
    first, again, other = (Projections.draw(12, 30, seed).directions for seed in (1, 1, 2))
    torch.testing.assert_close(first.norm(dim=0), torch.ones(30))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [(1, 1), (784, 128), (30_001, 128)])
def test_directions_have_the_bits_of_pots(size: tuple[int, int]) -> None:
    """They are drawn in blocks of 10,000 rows, and a continued sweep must measure as before."""
    theirs = torch.from_numpy(get_random_projections(*size, seed=5)).float()
    assert torch.equal(Projections.draw(*size, seed=5).directions, theirs)


def test_directions_take_at_most_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * 4 * 12 * 40))
    Projections.draw(12, 40, seed=3)
    with pytest.raises(UserError, match="for samples of 13 entries they take 2,080 bytes: give smaller samples"):
        Projections.draw(13, 40, seed=3)


def test_wasserstein_of_a_shift_is_its_length() -> None:
    samples = gaussian(300, 2, 0)
    assert wasserstein(samples, samples[torch.randperm(300)]).value == pytest.approx(0.0, abs=1e-12)
    assert wasserstein(samples, samples + torch.tensor([0.3, -0.4])).value == pytest.approx(0.5, rel=1e-6)


def test_wasserstein_on_a_line_is_that_of_sorted_samples() -> None:
    x, y = gaussian(200, 1, 0), 2 * gaussian(200, 1, 1) + 0.3
    expected = float((x.sort(dim=0)[0].double() - y.sort(dim=0)[0].double()).abs().mean())
    assert wasserstein(x, y).value == pytest.approx(expected, rel=1e-9)


def test_wasserstein_is_the_best_assignment_of_scipy() -> None:
    x, y = gaussian(150, 3, 0), 2 * gaussian(150, 3, 1)
    cost = torch.cdist(x.double(), y.double()).numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    assert wasserstein(x, y).value == pytest.approx(float(cost[rows, columns].mean()), rel=1e-6)


def test_wasserstein_to_a_point_is_the_mean_distance_and_sizes_may_differ() -> None:
    samples, point = gaussian(300, 2, 0), torch.tensor([[1.0, 2.0]])
    expected = float((samples - point).double().norm(dim=1).mean())
    assert wasserstein(samples, point).value == pytest.approx(expected, rel=1e-6)
    assert wasserstein(samples, point.expand(2048, 2)).value == pytest.approx(expected, rel=1e-6)


# Modes

CORNERS = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], dtype=torch.float64)


def test_samples_within_three_sd_are_counted_for_the_nearest_centre() -> None:
    offsets = torch.tensor([[0.0, 0.0], [0.29, 0.0], [0.0, -0.31], [0.25, 0.25], [0.2, 0.2], [0.8, 0.8]])
    samples = torch.cat([CORNERS[:1] + offsets, CORNERS[2:3] - 0.1])
    assert mode_counts(samples, CORNERS, sd=0.1).tolist() == [3, 0, 1, 0]


def test_a_gaussian_has_its_known_share_within_three_sd() -> None:
    samples = CORNERS.repeat(25_000, 1) + 0.01 * gaussian(100_000, 2, 0)
    counts = mode_counts(samples, CORNERS, sd=0.01)
    assert float(counts.sum()) / 100_000 == pytest.approx(1 - math.exp(-9 / 2), abs=0.0015)


@pytest.mark.parametrize(
    ("counts", "captured", "divergence"),
    [
        ([5, 5, 5, 5], 4, 0.0),
        ([7, 0, 7, 0], 2, math.log(2)),
        ([0, 0, 9, 0], 1, math.log(4)),
        ([0, 0, 0, 0], 0, math.log(4)),
        ([1, 3, 0, 0], 2, math.log(4) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)),
    ],
)
def test_modes_captured_and_the_divergence_of_known_counts(counts: list[int], captured: int, divergence: float) -> None:
    assert modes_captured(torch.tensor(counts)) == captured
    assert kl_to_uniform(torch.tensor(counts)) == pytest.approx(divergence, abs=1e-12)


# The classifier


def test_the_classifier_knows_its_digits(mnist: Dataset) -> None:
    images = to_model(torch.from_numpy(mnist.test.values), torch.float32)
    labels = classify(images)
    assert labels.dtype == torch.int64
    assert mnist.test.labels is not None
    assert float((labels.numpy() == mnist.test.labels).mean()) >= 0.99
    logits = load_digit_classifier()(images[:100])
    assert torch.equal(logits.argmax(1), labels[:100])


def test_the_shipped_weights_are_small_and_their_features_all_alive(digits: Tensor) -> None:
    assert WEIGHTS.stat().st_size < 2_000_000
    features = digit_features(digits)
    assert features.shape == (SIZE, 128)
    assert features.dtype == torch.float32
    assert float(features.std(0).min()) > 0.01
    assert not any(parameter.requires_grad for parameter in load_digit_classifier().parameters())


# The evaluator


def test_mnist_has_all_three_metrics_and_fid_is_the_objective(evaluator: Evaluator) -> None:
    assert objectives(evaluator) == (FID, KID, SLICED_NAME)
    assert evaluator.names[0] == f"eval/fid_digits_{weights_hash()}"
    assert evaluator.objective_default == FID
    assert values(evaluator.floors) == set(evaluator.names) <= set(known_metrics())


def test_the_floor_is_low_real_digits_are_near_it_and_noise_is_far_above(evaluator: Evaluator, digits: Tensor) -> None:
    real = evaluator.scores(digits)
    noise = evaluator.scores(torch.rand(digits.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    one_digit = evaluator.scores(digits[:1].expand_as(digits))
    fid, kid, sliced = objectives(evaluator)
    assert evaluator.floors[fid] < 6  # 0.6 at the default 5,000 samples
    assert abs(evaluator.floors[kid]) < 0.05
    assert evaluator.floors[sliced] < 0.1
    assert real[fid] < 5 * evaluator.floors[fid]
    for name in (fid, kid, sliced):
        for bad in (noise, one_digit):
            assert bad[name] > 10 * abs(evaluator.floors[name])
            assert bad[name] > 5 * real[name]


def test_a_lost_digit_shows_in_every_metric(mnist: Dataset, evaluator: Evaluator) -> None:
    assert mnist.test.labels is not None
    without = mnist.test.values[mnist.test.labels != 7][-SIZE:]
    scores = evaluator.scores(to_model(torch.from_numpy(without), torch.float32))
    whole = evaluator.scores(to_model(torch.from_numpy(mnist.test.values[-SIZE:]), torch.float32))
    for name in evaluator.names[:2]:
        assert scores[name] > whole[name]


def test_scores_are_those_of_the_published_formulas_on_the_protocols_samples(
    mnist: Dataset, evaluator: Evaluator, digits: Tensor
) -> None:
    rows = np.random.Generator(np.random.PCG64(evaluator.protocol["reference_seed"])).permutation(10_000)[:SIZE]
    real = to_model(torch.from_numpy(mnist.validation.values[rows]), torch.float32)
    metric = FrechetInceptionDistance(feature=IdentityFeatures(128))
    metric.update(digit_features(real), real=True)
    metric.update(digit_features(digits), real=False)
    scores = evaluator.scores(digits)
    assert scores[FID] == pytest.approx(float(metric.compute()), rel=1e-4)
    assert scores[KID] == pytest.approx(kernel_distance(digit_features(real), digit_features(digits)).value, rel=1e-6)


def test_scoring_leaves_the_random_state_and_the_samples_alone(mnist: Dataset, digits: Tensor) -> None:
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    given = digits.clone().requires_grad_()
    scores = Evaluator.build(mnist, sample_size=SIZE).scores(given)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state  # noqa: NPY002
    assert torch.equal(given, digits)
    assert given.grad is None
    assert all(type(score) is float for score in scores.values())


def test_a_pickled_evaluator_gives_the_same_scores(evaluator: Evaluator, digits: Tensor) -> None:
    packed = pickle.dumps(evaluator)
    assert len(packed) < 40_000_000  # 25.6 MB are the training samples that may be copied
    again = pickle.loads(packed)
    assert again.scores(digits) == evaluator.scores(digits) == evaluator.scores(digits)
    assert again.protocol == evaluator.protocol


def test_the_score_does_not_depend_on_the_number_of_threads(evaluator: Evaluator, digits: Tensor) -> None:
    alone = evaluator.scores(digits)
    torch.set_num_threads(2)
    try:
        together = evaluator.scores(digits)
    finally:
        torch.set_num_threads(1)
    assert together == pytest.approx(alone, rel=1e-5)


def test_samples_are_scored_as_the_pixels_they_would_be_saved_as(evaluator: Evaluator, digits: Tensor) -> None:
    assert evaluator.scores(digits + 0.4 / 127.5) == evaluator.scores(digits)
    assert evaluator.scores(digits.double()) == evaluator.scores(digits)
    assert evaluator.scores(torch.where(digits < -0.99, -9.0, digits)) == pytest.approx(
        evaluator.scores(torch.where(digits < -0.99, -1.0, digits)), rel=1e-6
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_score_nan(value: float, evaluator: Evaluator, digits: Tensor) -> None:
    broken = digits.clone()
    broken[3, 0, 5, 5] = value
    scores = evaluator.scores(broken)
    assert values(scores) == set(evaluator.names)
    assert all(math.isnan(score) for score in scores.values())


def test_another_number_or_shape_of_samples_is_refused(evaluator: Evaluator, digits: Tensor) -> None:
    for samples in (digits[:-1], digits.flatten(1)):
        with pytest.raises(UserError, match=r"of shape \(1000, 1, 28, 28\); given .*sample_size"):
            evaluator.scores(samples)


def test_the_test_split_is_another_reference(mnist: Dataset, evaluator: Evaluator, digits: Tensor) -> None:
    on_test = Evaluator.build(mnist, split="test", metrics=["fid"], sample_size=SIZE)
    assert on_test.protocol["split"] == "test"
    assert on_test.scores(digits)[FID] != evaluator.scores(digits)[FID]


def test_the_metrics_can_be_chosen(mnist: Dataset) -> None:
    chosen = Evaluator.build(mnist, metrics=["sliced_wasserstein", "kid"], sample_size=100)
    assert chosen.names == (KID, SLICED_NAME)
    assert values(chosen.floors) == set(chosen.names)
    assert Evaluator.build(mnist, metrics=["eval/sliced_wasserstein"], sample_size=100).names == (SLICED_NAME,)


def test_other_images_have_sliced_wasserstein_only_and_take_what_there_is() -> None:
    dataset = colour_images()
    evaluator = Evaluator.build(dataset)
    assert objectives(evaluator) == (SLICED_NAME,)
    assert evaluator.objective_default == SLICED_NAME
    assert (evaluator.draws, evaluator.sample_size) == (10, 200)
    assert (evaluator.protocol["draws"], evaluator.protocol["sample_size"]) == (10, 20)
    real = to_model(torch.from_numpy(dataset.validation.values), torch.float32).repeat(10, 1, 1, 1)
    assert evaluator.scores(real)[SLICED_NAME] == pytest.approx(0.0, abs=1e-6)
    assert evaluator.scores(torch.ones_like(real))[SLICED_NAME] > evaluator.floors[SLICED_NAME] > 0
    with pytest.raises(UserError, match="measured on the data"):
        Evaluator.build(dataset, metrics=["fid"])


def test_a_table_of_floats_is_scored_as_it_is() -> None:
    values = gaussian(90, 7, 0).numpy()
    dataset = Dataset.of("t", Split(values[:50], None), Split(values[50:70], None), Split(values[70:], None))
    evaluator = Evaluator.build(dataset)
    assert not evaluator.pixels
    held_out = torch.from_numpy(values[50:70]).repeat(evaluator.draws, 1)
    assert evaluator.scores(held_out)[SLICED_NAME] == pytest.approx(0.0, abs=1e-6)
    assert evaluator.scores(held_out + 9)[SLICED_NAME] > 1


def test_images_called_mnist_of_another_shape_get_no_digit_features() -> None:
    assert objectives(Evaluator.build(dataclasses.replace(colour_images(), name="mnist"))) == (SLICED_NAME,)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UserError, match=r"at least 2 samples.*1 were asked for"):
        Evaluator.build(colour_images(), sample_size=1)


def test_the_protocol_can_be_written_and_names_what_a_score_depends_on(mnist: Dataset, evaluator: Evaluator) -> None:
    protocol = json.loads(json.dumps(evaluator.protocol))
    assert protocol == evaluator.protocol
    assert protocol["dataset_sha256"] == mnist.digest
    assert protocol["metrics"][FID]["weights_sha256_8"] == weights_hash()
    assert protocol["metrics"][SLICED_NAME]["projections"] == 128


# Data of two axes


def test_a_mixture_is_scored_by_exact_w1_and_the_modes_are_counted(on_eight: Evaluator) -> None:
    assert objectives(on_eight) == (W1_NAME, SLICED_NAME)
    assert set(MODE_NAMES) < set(on_eight.names)
    assert on_eight.objective_default == W1_NAME
    assert values(on_eight.floors) == set(on_eight.names) <= set(known_metrics(on_eight.specs))
    assert on_eight.sample_size == 5000
    assert on_eight.protocol["metrics"][W1_NAME] == {"order": 1, "cost": "euclidean", "samples": 2048}
    assert on_eight.protocol["metrics"][MODES_NAME] == {"modes": 8, "sd": MIXTURES["8gaussians"].sd, "within_sd": 3.0}
    assert json.loads(json.dumps(on_eight.protocol)) == on_eight.protocol
    assert not on_eight.pixels


def test_the_floors_of_a_mixture_are_those_of_its_law(on_eight: Evaluator) -> None:
    """Another real sample of 2,048 is about .055 away by W1; 98.9 % lie within 3 sd of eight captured modes."""
    assert 0.03 < on_eight.floors[W1_NAME] < 0.09
    assert on_eight.floors[SLICED_NAME] < 0.2
    assert on_eight.floors[MODES_NAME] == 8
    assert on_eight.floors[HIGH_QUALITY_NAME] == pytest.approx(1 - math.exp(-9 / 2), abs=0.006)
    assert 0 < on_eight.floors[KL_NAME] < 0.005


def test_a_lost_mode_shows(eight: Dataset, on_eight: Evaluator) -> None:
    """An eighth of the mass, moved to the seven other modes: W1 is far above its floor."""
    labels = eight.test.labels
    assert labels is not None
    scores = on_eight.scores(torch.from_numpy(eight.test.values[labels != 3][:5000]))
    assert scores[MODES_NAME] == 7
    assert scores[KL_NAME] == pytest.approx(math.log(8 / 7), abs=0.005)
    assert scores[HIGH_QUALITY_NAME] == pytest.approx(on_eight.floors[HIGH_QUALITY_NAME], abs=0.01)
    assert scores[W1_NAME] > 3 * on_eight.floors[W1_NAME]


def test_samples_between_the_modes_show(eight: Dataset, on_eight: Evaluator) -> None:
    """Half of the samples at the origin, radius 1.414 away from all modes: W1 grows by half of that."""
    samples = torch.from_numpy(eight.test.values[:5000]).clone()
    samples[::2] = 0
    scores = on_eight.scores(samples)
    assert scores[HIGH_QUALITY_NAME] == pytest.approx(0.5 * 0.989, abs=0.006)
    assert scores[MODES_NAME] == 8
    assert scores[W1_NAME] == pytest.approx(0.5 * 2 / 1.414, abs=0.05)


def test_a_collapsed_generator_is_scored_in_time(on_eight: Evaluator) -> None:
    """All samples in one point at a centre: the plan is forced, and its cost the mean distance."""
    centre = torch.tensor(MIXTURES["8gaussians"].centres[0], dtype=torch.float32)
    scores = on_eight.scores(centre.expand(5000, 2))
    # Chords of the ring: the mean over the eight centres.
    expected = 2 / 1.414 * np.mean([2 * math.sin(math.pi * k / 8) for k in range(8)])
    assert scores[W1_NAME] == pytest.approx(expected, abs=0.05)
    assert (scores[MODES_NAME], scores[HIGH_QUALITY_NAME]) == (1, 1.0)
    assert scores[KL_NAME] == pytest.approx(math.log(8))


def test_w1_is_of_the_first_samples_where_there_are_more(eight: Dataset, on_eight: Evaluator) -> None:
    samples = torch.from_numpy(eight.test.values[:5000])
    moved = samples.clone()
    moved[2048:] += 9
    assert on_eight.scores(moved)[W1_NAME] == on_eight.scores(samples)[W1_NAME]
    small = Evaluator.build(eight, sample_size=500)
    assert small.protocol["metrics"][W1_NAME]["samples"] == 500
    assert small.floors[W1_NAME] > on_eight.floors[W1_NAME]  # the fewer the samples, the higher


def test_other_points_in_the_plane_have_w1_and_no_modes() -> None:
    roll = Evaluator.build(load_toy("swissroll"), sample_size=500)
    assert objectives(roll) == (W1_NAME, SLICED_NAME)
    assert set(MODE_NAMES).isdisjoint(roll.names)
    renamed = dataclasses.replace(load_toy("8gaussians"), name="table:8gaussians")
    assert set(MODE_NAMES).isdisjoint(Evaluator.build(renamed, sample_size=100).names)


def test_the_modes_can_be_counted_alone_and_are_then_no_objective(eight: Dataset) -> None:
    counted = Evaluator.build(eight, metrics=["modes_captured", KL_NAME], sample_size=100)
    assert counted.names == (MODES_NAME, KL_NAME)
    with pytest.raises(UserError, match=r"can be minimised must be measured; there is eval/modes_captured, .* add"):
        _ = counted.objective_default
    with pytest.raises(UserError, match="for diagnosis"):
        Evaluator.build(colour_images(), metrics=["modes_captured"])


def test_a_pickled_evaluator_of_points_gives_the_same_scores(eight: Dataset, on_eight: Evaluator) -> None:
    samples = torch.from_numpy(eight.test.values[:5000])
    assert pickle.loads(pickle.dumps(on_eight)).scores(samples) == on_eight.scores(samples)


def test_points_that_are_not_finite_score_nan(on_eight: Evaluator) -> None:
    samples = torch.zeros(5000, 2)
    samples[7, 1] = math.inf
    scores = on_eight.scores(samples)
    assert values(scores) == set(on_eight.names)
    assert all(math.isnan(score) for score in scores.values())


# Objectives

AVAILABLE = SlicedWasserstein().specs


def test_every_metric_is_declared_and_only_held_out_ones_are_comparable() -> None:
    known = known_metrics()
    within = {f"eval/intra_{name.removeprefix('eval/')}" for name in (FID, SLICED_NAME)}
    shares = [spec.name for label in ("", digits_label()) for spec in Coverage(label).specs]
    diagnoses = {AS_ASKED_NAME, *ACCURACY_NAMES, *MODE_NAMES, *shares, COPIED_NAME}
    within |= {spec.name for label in ("", digits_label()) for spec in ByCondition(label).specs}
    objectives = {*within, FID, KID, FID.replace("fid", "fid_infinity"), W1_NAME, SLICED_NAME, C2ST_NAME, CRITIC_NAME}
    assert set(known) == {*objectives, *diagnoses, *(spec.name for spec in TRAINING)}
    for name, spec in known.items():
        assert spec.name == name
        assert spec.meaning
        assert spec.source
        assert spec.depends_on
        assert spec.comparable == name.startswith("eval/")
        two_sided = name in ACCURACY_NAMES or spec.stem in ("eval/density", "eval/spread")
        assert (spec.direction == "none") == (not spec.comparable or two_sided)
        assert spec.can_be_objective == (name in objectives)
    assert [known[name].direction for name in MODE_NAMES] == ["maximize", "maximize", "minimize"]


@pytest.mark.parametrize("name", ["modes_captured", "eval/high_quality", KL_NAME])
def test_a_diagnosis_is_refused_with_what_it_does_not_see(name: str, on_eight: Evaluator) -> None:
    with pytest.raises(UserError) as caught:
        on_eight.resolve(name)
    for part in ("for diagnosis", "says nothing of", f"choose from: {W1_NAME}, {SLICED_NAME}"):
        assert part in str(caught.value)
    assert on_eight.resolve("w1") == W1_NAME
    with pytest.raises(UserError, match=r"measured on the data of the sweep; eval/w1 is not; choose from"):
        resolve_objective("w1", AVAILABLE)


@pytest.mark.parametrize("name", ["fid", "eval/fid"])
def test_short_names_are_resolved(name: str, evaluator: Evaluator) -> None:
    assert evaluator.resolve(name) == FID
    assert evaluator.resolve(FID.removeprefix("eval/")) == FID
    assert resolve_objective("sliced_wasserstein", AVAILABLE) == SLICED_NAME


@pytest.mark.parametrize("name", [name for name in known_metrics() if name.startswith("train/")])
def test_a_training_quantity_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_objective(name, (*AVAILABLE, known_metrics()[name]))
    law = ("at least W + W^2/(2 lambda)", "to just that for pure shifts only")
    for part in (name, "comparable across trials", *law, "weakest critic", SLICED_NAME):
        assert part in str(caught.value)


def test_an_objective_that_is_not_known_or_not_measured_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        resolve_objective("fid_inception", AVAILABLE)
    known = "known are fid, kid, intra_fid, sliced_wasserstein"
    for part in ("'fid_inception'", known, "train/critic_loss", SLICED_NAME):
        assert part in str(caught.value)
    with pytest.raises(UserError, match=r"measured on the data.*choose from: eval/sliced_wasserstein"):
        resolve_objective("kid", AVAILABLE)


class Deviation(Distance):
    """How far the standard deviations of all values are apart."""

    spec = MetricSpec(
        "eval/deviation",
        "difference of standard deviations; data units",
        "minimize",
        frozenset({"held-out split"}),
        "-",
    )

    def suits(self, data: HeldOut) -> bool:
        return data.dataset.coding is None

    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        return Estimate(abs(float(real.std() - fake.std())), math.nan)

    def entry(self, real: Side) -> dict[str, Any]:
        return {"samples": len(real.real)}


class OfCritic(Deviation):
    """A metric that depends on what each trial has of its own."""

    spec = dataclasses.replace(Deviation.spec, name="eval/of_critic", depends_on=frozenset({"critic"}))


def test_a_metric_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs a place in the registry besides, which is its rank as the objective."""
    for module in (evaluator_module, registry):
        monkeypatch.setattr(
            module, "shipped", lambda labels: (OfCritic(), ByClass(Deviation()), Deviation(), *shipped(labels))
        )
    images = colour_images()
    measured = Evaluator.build(images)
    assert objectives(measured) == ("eval/deviation", SLICED_NAME)
    assert "eval/of_critic" in measured.names
    assert measured.objective_default == measured.resolve("deviation") == "eval/deviation"
    assert measured.protocol["metrics"]["eval/deviation"] == {"samples": 20}
    scores = measured.scores(torch.zeros(measured.sample_size, *images.sample_shape))
    assert scores["eval/deviation"] > 10 * measured.floors["eval/deviation"]
    with pytest.raises(UserError, match=r"comparable across trials; eval/of_critic is not: it depends on .*\(critic\)"):
        measured.resolve("of_critic")
    with pytest.raises(UserError, match=r"eval/intra_deviation is not; .* whose networks are told classes"):
        measured.resolve("intra_deviation")
    with pytest.raises(UserError, match="'spread' is a shipped one"):
        OwnMetric("spread", lambda real, fake: 0.0, "m")


@pytest.mark.parametrize("name", ["critic", "generator", *PARAMETERS])
def test_a_metric_that_depends_on_what_may_be_searched_is_no_objective(name: str) -> None:
    """Any hyper-parameter of the table may differ between trials, as `--search` takes all of them."""
    spec = dataclasses.replace(Deviation.spec, depends_on=frozenset({"held-out split", name}))
    assert Deviation.spec.can_be_objective
    assert not spec.comparable
    assert not spec.can_be_objective


def test_the_package_is_imported_without_pot_and_torchmetrics() -> None:
    code = "import sys; sys.modules.update(ot=None, torchmetrics=None); import wgan_core.metrics.evaluator"
    subprocess.run([sys.executable, "-c", code], check=True)
