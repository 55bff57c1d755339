"""Scores of samples that were asked for as a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.core.scored import objectives, values
from wgan_core.data import Dataset, Split, to_model
from wgan_core.data.dataset import count_classes
from wgan_core.errors import UserError
from wgan_core.metrics.by_class import AS_ASKED_NAME, ByClass
from wgan_core.metrics.digits import classify
from wgan_core.metrics.distances import frechet_distance
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.features import DigitFeatures
from wgan_core.metrics.metric import HeldOut, SampleDraw
from wgan_core.metrics.names import error_name
from wgan_core.metrics.on_features import Fid, Kid
from wgan_core.metrics.registry import known_metrics
from wgan_core.metrics.wasserstein import SLICED_NAME, SlicedWasserstein

SIZE = 1000
FID, KID, INTRA_FID = Fid().spec.name, Kid().spec.name, ByClass(Fid()).specs[0].name
INTRA_SLICED_NAME = "eval/intra_sliced_wasserstein"


@pytest.fixture(scope="module")
def evaluator(mnist: Dataset) -> Evaluator:
    return Evaluator.build(mnist, sample_size=SIZE, classes=10)


@pytest.fixture(scope="module")
def digits(mnist: Dataset) -> tuple[Tensor, Tensor]:
    """Real test digits in place of generated ones, and what they are."""
    assert mnist.test.labels is not None
    return to_model(torch.from_numpy(mnist.test.values[:SIZE]), torch.float32), torch.from_numpy(
        mnist.test.labels[:SIZE]
    )


def points(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes of points in the plane, around (-3, 0) and (3, 0)."""
    noise = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    return torch.randn(count, 2, generator=noise) + torch.stack([6.0 * labels - 3, 0.0 * labels], dim=1), labels


def scored(values: Tensor, labels: Tensor, classes: int) -> set[str]:
    """The names of the scores of these samples within classes, as real and as generated ones."""
    split, drawn = Split(values.numpy(), labels.numpy()), SampleDraw(values, labels)
    metric = ByClass(SlicedWasserstein())
    return set(metric.scores(metric.fit(HeldOut(Dataset.of("d", split, split, split), drawn, {}, classes)), [drawn]))


def test_a_generator_that_is_told_classes_is_scored_within_them_first(evaluator: Evaluator) -> None:
    assert objectives(evaluator)[:3] == (INTRA_FID, FID, KID)
    assert evaluator.objective_default == evaluator.resolve("intra_fid") == INTRA_FID
    assert values(evaluator.floors) == set(evaluator.names) == set(evaluator.protocol["metrics"])
    known = known_metrics(evaluator.specs)
    assert next(iter(known)) == INTRA_FID
    assert not known[AS_ASKED_NAME].can_be_objective


def test_real_digits_are_as_asked_and_each_class_has_its_scores(
    evaluator: Evaluator, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    scores = evaluator.scores(images, labels)
    assert scores[AS_ASKED_NAME] == float((classify(images) == labels).double().mean()) > 0.97
    by_class = [scores[f"class/{label}/fid"] for label in range(10)]
    assert scores[INTRA_FID] == pytest.approx(np.mean(by_class))
    heeded = [scores[f"class/{label}/as_asked"] for label in range(10)]
    assert min(heeded) > 0.9
    assert values(scores) == set(evaluator.names)
    assert set(scores) >= {f"class/{n}/{key}" for n in range(10) for key in ("fid", "as_asked", "coverage")}


def test_a_class_has_the_distance_of_its_samples_from_the_real_ones_of_it(
    evaluator: Evaluator, mnist: Dataset, digits: tuple[Tensor, Tensor]
) -> None:
    from wgan_core.metrics.evaluator import REFERENCE_SEED, draw

    images, labels = digits
    real, extractor = draw(mnist.validation, SIZE, REFERENCE_SEED), DigitFeatures()
    assert real.labels is not None
    sevens = [extractor.features(side[at == 7]) for side, at in ((real.values, real.labels), (images, labels))]
    assert evaluator.scores(images, labels)["class/7/fid"] == pytest.approx(frechet_distance(*sevens).value, rel=1e-3)


def test_a_generator_that_does_not_heed_the_class_is_seen_by_these_scores_only(
    evaluator: Evaluator, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    heeding, not_heeding = evaluator.scores(images, labels), evaluator.scores(images, labels.roll(1))
    assert not_heeding[FID] == heeding[FID]
    assert not_heeding[AS_ASKED_NAME] < 0.2
    assert not_heeding[INTRA_FID] > 5 * heeding[INTRA_FID]


def test_other_labelled_data_has_the_sliced_distance_within_classes() -> None:
    parts = [points(count, seed) for seed, count in enumerate((300, 100, 100))]
    dataset = Dataset.of("two", *(Split(values.numpy(), labels.numpy()) for values, labels in parts))
    evaluator = Evaluator.build(dataset, classes=2)
    assert evaluator.objective_default == INTRA_SLICED_NAME
    assert evaluator.draws == 10
    samples, labels = points(1000, 9)
    scores, swapped = evaluator.scores(samples, labels), evaluator.scores(samples, 1 - labels)
    assert scores[INTRA_SLICED_NAME] < 0.5
    # A shift by 6 along the first axis, of which a direction sees its share: 6 (1/2)^(1/2) in the mean square.
    assert swapped[INTRA_SLICED_NAME] == pytest.approx(6 * 0.5**0.5, rel=0.1)
    assert swapped[SLICED_NAME] == scores[SLICED_NAME]
    assert scores[INTRA_SLICED_NAME] == pytest.approx(
        (scores["class/0/sliced_wasserstein"] + scores["class/1/sliced_wasserstein"]) / 2
    )


def test_a_class_without_two_samples_on_a_side_is_left_out() -> None:
    values, labels = points(41, 0)
    labels[-1] = 2
    single = {f"class/{label}/sliced_wasserstein" for label in (0, 1)}
    assert scored(values, labels, 3) == {INTRA_SLICED_NAME, error_name(INTRA_SLICED_NAME), *single}


def test_more_classes_than_can_be_looked_at_have_their_mean_only() -> None:
    values, labels = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 25
    assert scored(values, labels, 25) == {INTRA_SLICED_NAME, error_name(INTRA_SLICED_NAME)}


def test_held_out_samples_without_two_of_a_class_are_refused() -> None:
    values, labels = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    with pytest.raises(UserError, match="needs a class with 2 held-out samples; of 5 in 5 classes none has: give more"):
        scored(values, labels, 5)


def test_a_split_without_labels_beside_a_labelled_one_is_refused() -> None:
    values = np.zeros((4, 2), dtype=np.float32)
    labelled = Split(values, np.array([0, 1, 0, 1]))
    with pytest.raises(UserError, match="the validation split of d has none: add the column 'label'"):
        count_classes(Dataset.of("d", labelled, Split(values, None), labelled))


def uneven(*counts: int) -> Dataset:
    """Points of as many classes, with these numbers of samples in each split."""
    labels = np.repeat(np.arange(len(counts)), counts)
    values = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    return Dataset.of("uneven", *(Split(values, labels) for _ in range(3)))


@pytest.mark.parametrize(
    ("counts", "left_out", "preferred"),
    [((20, 30), (), True), ((20, 30, 1), (2,), True), ((20, 1, 1), (1, 2), False), ((20, 0), (1,), False)],
)
def test_classes_too_small_to_score_are_named(
    counts: tuple[int, ...], left_out: tuple[int, ...], preferred: bool
) -> None:
    """And a mean over classes that is of one class alone is not the objective unless it is asked for."""
    dataset = uneven(*counts)
    evaluator = Evaluator.build(dataset, classes=len(counts))
    assert (evaluator.objective_default == INTRA_SLICED_NAME) == preferred
    assert evaluator.resolve("intra_sliced_wasserstein") == INTRA_SLICED_NAME
    (spec,) = (each for each in evaluator.specs if each.name == INTRA_SLICED_NAME)
    said = f"{len(left_out)} of {len(counts)} classes"
    named = f"with fewer than 2 held-out or generated samples: {', '.join(map(str, left_out))}"
    assert (said in spec.meaning and named in spec.meaning) == bool(left_out)
    drawn = torch.arange(evaluator.sample_size) % len(counts)
    assert evaluator.unscored(INTRA_SLICED_NAME, drawn) == list(left_out)
    assert evaluator.unscored(SLICED_NAME, drawn) == []


def test_classes_that_are_hardly_generated_are_named_too() -> None:
    evaluator = Evaluator.build(uneven(20, 20, 20), classes=3)
    drawn = torch.zeros(evaluator.sample_size, dtype=torch.int64)
    drawn[:5] = 1  # in one draw, the first, which suffices
    drawn[-1] = 2
    assert evaluator.draws > 1
    assert evaluator.unscored(INTRA_SLICED_NAME, drawn) == [2]
