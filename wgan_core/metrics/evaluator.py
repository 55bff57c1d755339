"""Scores of generated samples against held-out real ones, by one fixed protocol for every trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.data.dataset import Dataset, Split, to_model, to_pixels
from wgan_core.data.toy import MIXTURES, Mixture
from wgan_core.errors import UserError
from wgan_core.metrics import specs
from wgan_core.metrics.by_class import ByClass, FeatureView, LabelAgreement, SlicedView
from wgan_core.metrics.features import DigitFeatures, Extractor, load_features, require_finite
from wgan_core.metrics.objective import check_objective, full_name, resolve_objective
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.references import (
    ExactReference,
    FeatureReference,
    ModesReference,
    OwnReference,
    Reference,
    SampleDraw,
    SlicedReference,
    TwoSampleReference,
)

SplitName = Literal["validation", "test"]

REFERENCE_SEED = 1
FLOOR_SEED = 2
# A variance needs at least two samples.
LEAST_SAMPLES = 2
IMAGE_AXES = 3
PLANE = (2,)
# If a held-out split is small, several draws of generated samples are scored, each as large as the real side:
# at most MOST_DRAWS draws and at most ENOUGH samples in all.
ENOUGH, MOST_DRAWS = 1_000, 10
# Below this many real rows, the nearest-neighbour test is preferred to sliced Wasserstein. On few rows, sliced
# Wasserstein is smallest for a generator that varies too little, and may even be below the floor. The
# nearest-neighbour test tells such a generator's rows from real rows.
FEW = 500


@dataclass(frozen=True)
class Evaluator:
    """The metrics of one data set. An evaluator holds tensors, numbers and networks, and is pickled to the workers.

    Scoring runs on the CPU in float32, whatever the device of the samples, and uses no random numbers. The same samples
    have the same score in every process, up to float32 rounding, for any number of threads.

    Attributes:
        names: Full names of the metrics, the preferred objective first.
        sample_size: Number of generated samples in a score, in `draws` equal parts. FID depends on this number, so it
            is fixed.
        draws: Number of draws in a score, each as large as the real side. It is above one only for scarce data.
        sample_shape: Shape of one sample.
        pixels: Whether samples are images. Generated images are rounded to the 256 levels of real ones before scoring.
        coding: The columns that a sample's entries code, for tables and sequences. Generated rows are then rounded as
            on export before scoring.
        references: The held-out side of the metrics.
        own: Declarations of the user's own metrics.
        floors: Scores, by full name, of real training samples in place of generated ones. If a generator reaches the
            floor of a metric, that metric cannot tell its samples from the data.
        protocol: All that a score depends on besides the samples, as values that JSON has.
    """

    names: tuple[str, ...]
    sample_size: int
    draws: int
    sample_shape: tuple[int, ...]
    pixels: bool
    coding: Coding | None
    references: tuple[Reference, ...]
    own: tuple[specs.MetricSpec, ...]
    floors: dict[str, float]
    protocol: dict[str, Any]

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        split: SplitName = "validation",
        names: Sequence[str] | None = None,
        sample_size: int = 5000,
        features: str | None = None,
        classes: int = 0,
        own: Sequence[OwnMetric] = (),
    ) -> Evaluator:
        """Return an evaluator against a held-out split.

        The metrics suit different data:

        - Sliced Wasserstein suits any data.
        - FID and KID on digit features suit MNIST only.
        - The exact W1, on at most 2,048 samples a side, suits data of two axes.
        - The counts of modes suit the mixtures of `data.toy`.
        - The nearest-neighbour test suits tables and sequences. It is preferred to sliced Wasserstein if the score
          takes fewer than 500 real rows.

        If the held-out or the training split is smaller than `sample_size`, both sides take the size of the smaller
        split. If that size is at most 500, several draws of the generated side are scored.

        Args:
            dataset: The data, with its training split and held-out splits.
            split: The held-out split.
            names: Full or short names of the metrics; None for all metrics that suit the data.
            sample_size: Largest number of samples a side.
            features: `inception` or the name of a registered feature extractor (`metrics.features`). FID on these
                features is then preferred, and `fid` and `kid` mean the distances on these features.
            classes: Number of classes that the networks are given; 0 without labels. With classes, distances within
                classes are preferred: a distance between all samples does not show whether a generator heeds the class.
            own: The user's own metrics, which are preferred to all others.

        Raises:
            UserError: A metric is unknown or does not suit the data. Samples are too few. A feature extractor cannot be
                used. One of the user's own metrics fails on real samples.
        """
        held_out = {"validation": dataset.validation, "test": dataset.test}[split]
        size = min(sample_size, len(held_out), len(dataset.train))
        if size < LEAST_SAMPLES:
            raise UserError(
                f"a metric needs at least {LEAST_SAMPLES} samples; {dataset.name} has {len(dataset.train)} to train "
                f"and {len(held_out)} in {split}, and {sample_size} were asked for; give more data or ask for more"
            )
        draws = 1 if size == sample_size else max(1, min(MOST_DRAWS, ENOUGH // size))
        real = draw(held_out, size, REFERENCE_SEED)
        extractors, mixture = extractors_of(dataset, features, real.values), mixture_of(dataset)
        chosen = choose(names, suited_to(dataset, size, extractors, classes, own), tuple(each.spec for each in own))
        references = (
            *(OwnReference(each, real.values) for each in own if each.spec.name in chosen),
            *fit(chosen, real.values, extractors, mixture),
            *fit_classes(chosen, real, extractors, classes),
        )
        floors = measure(references, [draw(dataset.train, size, FLOOR_SEED + part) for part in range(draws)])
        on_features = [floors[name] for name in chosen if specs.ON_FEATURES.fullmatch(name)]
        require_finite(torch.tensor(on_features), features or "digits")
        for each in own:
            if each.spec.name in chosen and not math.isfinite(floors[each.spec.name]):
                raise UserError(
                    f"a metric must be a finite number for real samples on both sides; {each.name!r} is "
                    f"{floors[each.spec.name]}: mend it"
                )
        return cls(
            names=chosen,
            sample_size=size * draws,
            draws=draws,
            sample_shape=dataset.sample_shape,
            pixels=dataset.train.values.dtype == np.uint8,
            coding=dataset.coding,
            references=references,
            own=tuple(each.spec for each in own),
            floors={name: floors[name] for name in chosen},
            protocol=describe(dataset, split, size, draws, references),
        )

    def resolve(self, objective: str) -> str:
        """Return the full name of an objective. Raises `UserError` if a sweep must not minimise this metric."""
        return resolve_objective(objective, self.names, self.own)

    @property
    def objective_default(self) -> str:
        """Return the full name of the default objective.

        Raises:
            UserError: Every measured metric is for diagnosis only.
        """
        known = specs.known_metrics(self.names, self.own)
        if found := next((name for name in self.names if known[name].can_be_objective), None):
            return found
        raise UserError(
            f"a metric that can be minimised must be measured; there is {', '.join(self.names)}; add another"
        )

    def scores(self, samples: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """Return the score of every metric by its full name.

        Args:
            samples: `sample_size` samples as a network returns them; images in [-1, 1].
            labels: The classes (sample_size,) that the samples were asked for. Scores of single classes are then added
                under `class/<class>/...`, in the order of the classes.

        Returns:
            The scores. If any value of the samples is not finite, every metric is NaN.

        Raises:
            UserError: The samples have another number or shape.
        """
        wanted = (self.sample_size, *self.sample_shape)
        if tuple(samples.shape) != wanted:
            raise UserError(
                f"a score takes samples of shape {wanted}; given {tuple(samples.shape)}; "
                "generate as many as the evaluator's sample_size: scores of other sizes do not compare"
            )
        values = samples.detach().to("cpu", torch.float32)
        if not bool(torch.isfinite(values).all()):
            return dict.fromkeys(self.names, math.nan)
        parts = self._as_stored(values).chunk(self.draws)
        asked = labels.cpu().chunk(self.draws) if labels is not None else (None,) * self.draws
        return measure(self.references, [SampleDraw(*each) for each in zip(parts, asked, strict=True)])

    def _as_stored(self, values: Tensor) -> Tensor:
        """Round samples like real and exported ones: finer values alone would tell generated samples apart."""
        if self.pixels:
            return to_model(to_pixels(values), torch.float32)
        return values if self.coding is None else self.coding.as_stored(values)


def extractors_of(dataset: Dataset, features: str | None, real: Tensor) -> tuple[Extractor, ...]:
    """Return the extractors that suit the data: first the one that `--features` names, then the digit classifier.

    Args:
        dataset: The data.
        features: The value of `--features`.
        real: Real samples, on which a registered extractor is tried.

    Raises:
        UserError: The data has no images, or the named extractor cannot be used.
    """
    extractors: list[Extractor] = []
    if features is not None:
        if len(dataset.sample_shape) != IMAGE_AXES:
            raise UserError(
                f"--features is for images (C, H, W); {dataset.name} has samples of shape {dataset.sample_shape}; "
                "leave it out"
            )
        extractors.append(load_features(features, real))
    if dataset.name == "mnist" and dataset.sample_shape == (1, 28, 28):
        extractors.append(DigitFeatures())
    return tuple(extractors)


def names_on(extractor: Extractor) -> tuple[str, ...]:
    return (specs.fid_name(extractor.label), specs.kid_name(extractor.label))


def mixture_of(dataset: Dataset) -> Mixture | None:
    """Return the mixture that toy data was drawn from, or None for other data."""
    return MIXTURES.get(dataset.name) if dataset.sample_shape == PLANE else None


def suited_to(
    dataset: Dataset, size: int, extractors: Sequence[Extractor], classes: int = 0, own: Sequence[OwnMetric] = ()
) -> tuple[str, ...]:
    """Return the full names of the metrics that suit the data, the preferred objective first.

    Args:
        dataset: The data.
        size: Number of real samples in a score.
        extractors: The feature extractors that suit the data.
        classes: Number of classes that the networks are given; 0 without labels.
        own: The user's own metrics.
    """
    two_sample, accuracies = ((specs.C2ST_NAME,), specs.ACCURACY_NAMES) if dataset.coding is not None else ((), ())
    digits = any(isinstance(extractor, DigitFeatures) for extractor in extractors)
    return (
        *(each.spec.name for each in own),
        *(specs.intra_fid_name(extractor.label) for extractor in extractors if classes),
        *((specs.INTRA_SLICED_NAME,) if classes and not extractors else ()),
        *(name for extractor in extractors for name in names_on(extractor)),
        # In many dimensions, W1 between two sets from one distribution is nearly as large as between any two sets.
        *((specs.W1_NAME,) if dataset.sample_shape == PLANE else ()),
        *(two_sample if size < FEW else ()),
        specs.SLICED_NAME,
        *(two_sample if size >= FEW else ()),
        *accuracies,
        *((specs.AS_ASKED_NAME,) if classes and digits else ()),
        *(specs.MODE_NAMES if mixture_of(dataset) else ()),
    )


def choose(
    names: Sequence[str] | None, suited: tuple[str, ...], own: Sequence[specs.MetricSpec] = ()
) -> tuple[str, ...]:
    for name in names or ():
        if full_name(name, suited, own) not in suited:  # a metric for diagnosis is no objective, but can be measured
            check_objective(name, suited, own)
    wanted = {full_name(name, suited, own) for name in names or suited}
    return tuple(name for name in suited if name in wanted)


def draw(split: Split, size: int, seed: int) -> SampleDraw:
    """Draw `size` samples of a split without replacement, as a network sees them."""
    rows = np.random.Generator(np.random.PCG64(seed)).permutation(len(split))[:size]
    labels = None if split.labels is None else torch.from_numpy(split.labels[rows])
    return SampleDraw(to_model(torch.from_numpy(split.values[rows]), torch.float32), labels)


def fit(
    names: tuple[str, ...], values: Tensor, extractors: Sequence[Extractor], mixture: Mixture | None
) -> tuple[Reference, ...]:
    """Return the held-out side of these metrics, from real samples (N, ...)."""
    references: list[Reference] = [
        FeatureReference.fit(values, chosen, extractor)
        for extractor in extractors
        if (chosen := tuple(name for name in names_on(extractor) if name in names))
    ]
    if specs.W1_NAME in names:
        references.append(ExactReference.fit(values))
    if specs.SLICED_NAME in names:
        references.append(SlicedReference.fit(values))
    if tested := tuple(name for name in specs.TWO_SAMPLE_NAMES if name in names):
        references.append(TwoSampleReference.fit(values, tested))
    if mixture is not None and (counted := tuple(name for name in specs.MODE_NAMES if name in names)):
        references.append(ModesReference.of(mixture, counted))
    return tuple(references)


def fit_classes(
    names: tuple[str, ...], real: SampleDraw, extractors: Sequence[Extractor], classes: int
) -> tuple[Reference, ...]:
    """Return the held-out side of these metrics, for the metrics that look at single classes only."""
    references: list[Reference] = [
        ByClass.fit(name, "fid", FeatureView(extractor), real, classes)
        for extractor in extractors
        if (name := specs.intra_fid_name(extractor.label)) in names
    ]
    if specs.INTRA_SLICED_NAME in names:
        view = SlicedView.draw(real.values)
        references.append(ByClass.fit(specs.INTRA_SLICED_NAME, "sliced_wasserstein", view, real, classes))
    if specs.AS_ASKED_NAME in names:
        references.append(LabelAgreement(classes))
    return tuple(references)


def measure(references: tuple[Reference, ...], draws: Sequence[SampleDraw]) -> dict[str, float]:
    return {name: score for reference in references for name, score in reference.scores(draws).items()}


def describe(
    dataset: Dataset, split: SplitName, size: int, draws: int, references: tuple[Reference, ...]
) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.digest,
        "split": split,
        "sample_size": size,
        "draws": draws,
        "rounded_to_8_bits": dataset.train.values.dtype == np.uint8,
        "reference_seed": REFERENCE_SEED,
        "floor_seed": FLOOR_SEED,
        "metrics": {name: entry for reference in references for name, entry in reference.protocol().items()},
    }
