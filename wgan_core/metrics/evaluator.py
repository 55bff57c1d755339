"""Scores of generated samples against held-out real ones, by one fixed protocol for every trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.data.dataset import Dataset, Split, to_model, to_pixels
from wgan_core.errors import UserError
from wgan_core.metrics.features import DigitFeatures, Extractor, load_features
from wgan_core.metrics.metric import LEAST_SAMPLES, HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.names import error_name
from wgan_core.metrics.objective import full_name, resolve_objective
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.registry import shipped

SplitName = Literal["validation", "test"]

REFERENCE_SEED = 1
FLOOR_SEED = 2
CRITIC_SEED = 3
# Samples of each split on which a critic is compared.
FOR_CRITIC = 1_000
IMAGE_AXES = 3
# If a held-out split is small, several draws of generated samples are scored, each as large as the real side:
# at most MOST_DRAWS draws and at most ENOUGH samples in all.
ENOUGH, MOST_DRAWS = 1_000, 10
# The fitted metrics, each with its held-out side.
Fitted = tuple[tuple[Metric[Any], Any], ...]


@dataclass(frozen=True)
class Evaluator:
    """The metrics of one data set. An evaluator holds tensors, numbers and networks, and is pickled to the workers.

    Scoring runs on the CPU in float32, whatever the device of the samples, and uses no random numbers. The same samples
    have the same score in every process, up to float32 rounding, for any number of threads.

    Attributes:
        specs: Declarations of the measured metrics, the preferred objective first.
        sample_size: Number of generated samples in a score, in all draws. FID depends on this number, so it is fixed.
            The `sample_size` of `protocol` is that of one draw.
        draws: Number of draws in a score, each as large as the real side. It is above one only for scarce data.
        sample_shape: Shape of one sample.
        pixels: Whether samples are images. Generated images are rounded to the 256 levels of real ones before scoring.
        coding: The columns that a sample's entries code, for tables and sequences. Generated rows are then rounded as
            on export before scoring.
        fitted: The metrics, each with its held-out side.
        floors: Scores and their standard errors, by full name, of real training samples in place of generated ones. If
            a generator reaches the floor of a metric, that metric cannot tell its samples from the data.
        protocol: All that a score depends on besides the samples, as values that JSON has.
        for_critic: At most 1,000 training and 1,000 held-out samples. On them, a trial's critic shows whether it
            overfits.
        conditions: Conditions (sample_size, C) for which samples are generated: those of the held-out samples, once for
            each draw. None if the data has no conditions.
    """

    specs: tuple[MetricSpec, ...]
    sample_size: int
    draws: int
    sample_shape: tuple[int, ...]
    pixels: bool
    coding: Coding | None
    fitted: Fitted
    floors: dict[str, float]
    protocol: dict[str, Any]
    for_critic: tuple[Split, Split] = field(repr=False)
    conditions: Tensor | None = field(default=None, repr=False)

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        split: SplitName = "validation",
        metrics: Sequence[str | OwnMetric] = (),
        sample_size: int = 5000,
        features: str | None = None,
        classes: int = 0,
        objective: str | None = None,
    ) -> Evaluator:
        """Return an evaluator against a held-out split.

        If the held-out or the training split is smaller than `sample_size`, both sides take the size of the smaller
        split. If that size is at most 500, several draws of the generated side are scored.

        Args:
            dataset: The data, with its training split and held-out splits.
            split: The held-out split.
            metrics: The user's own metrics, which are preferred to all others, and full or short names of shipped
                metrics. Without names, all shipped metrics that suit the data are measured.
            sample_size: Largest number of samples a side.
            features: `inception` or the name of a registered feature extractor (`metrics.features`). FID on these
                features is then preferred, and `fid` and `kid` mean the distances on these features.
            classes: Number of classes of a conditional GAN; 0 without labels. With classes, distances within
                classes are preferred: a distance between all samples does not show whether a generator heeds the class.
                If the data has conditions, a distance within neighbourhoods of them is preferred.
            objective: Full or short name of the objective, if it is known. A metric that takes seconds is measured only
                if it is named here or among the metrics.

        Raises:
            UserError: A metric is unknown or does not suit the data. Samples are too few. A feature extractor cannot be
                used. One of the user's own metrics fails on real samples.
        """
        data = hold_out(dataset, split, sample_size, features, classes)
        size = len(data.real.values)
        draws = 1 if size == sample_size else max(1, min(MOST_DRAWS, ENOUGH // size))
        suited, specs = choose(metrics, data, objective)
        fitted = tuple((each, each.fit(data)) for each in suited if not {*specs}.isdisjoint(each.specs))
        floors = measure(fitted, [draw(dataset.train, size, FLOOR_SEED + part) for part in range(draws)])
        for metric, _ in fitted:
            for spec in metric.specs:
                metric.check_floor(floors[spec.name])
        described = {spec: each.spec_on(spec, real) for each, real in fitted for spec in each.specs}
        return cls(
            specs=tuple(described[spec] for spec in specs),
            sample_size=size * draws,
            draws=draws,
            sample_shape=dataset.sample_shape,
            pixels=dataset.train.values.dtype == np.uint8,
            coding=dataset.coding,
            fitted=fitted,
            floors={
                name: floors[name] for spec in specs for name in (spec.name, error_name(spec.name)) if name in floors
            },
            protocol={
                "dataset": dataset.name,
                "dataset_sha256": dataset.digest,
                "split": split,
                "sample_size": size,
                "draws": draws,
                "rounded_to_8_bits": dataset.train.values.dtype == np.uint8,
                "reference_seed": REFERENCE_SEED,
                "floor_seed": FLOOR_SEED,
                "metrics": {
                    spec.name: each.entry(real) for each, real in fitted for spec in each.specs if spec in specs
                },
            },
            for_critic=(part(dataset.train), part({"validation": dataset.validation, "test": dataset.test}[split])),
            conditions=_repeated(data.real.labels, draws) if dataset.conditions is not None else None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the full names of the metrics, the preferred objective first."""
        return tuple(spec.name for spec in self.specs)

    def resolve(self, objective: str) -> str:
        """Return the full name of an objective. Raises `UserError` if a sweep must not minimise this metric."""
        return resolve_objective(objective, self.specs)

    @property
    def objective_default(self) -> str:
        """Return the full name of the default objective.

        Raises:
            UserError: Every measured metric is for diagnosis only.
        """
        if found := next((spec.name for spec in self.specs if spec.can_be_objective), None):
            return found
        raise UserError(
            f"a metric that can be minimised must be measured; there is {', '.join(self.names)}; add another"
        )

    def unscored(self, name: str, labels: Tensor) -> list[int]:
        """Return the classes that a metric leaves out, if samples are generated for these classes (sample_size,)."""
        metric, real = next(each for each in self.fitted if any(spec.name == name for spec in each[0].specs))
        return metric.unscored(real, labels.chunk(self.draws))

    def scores(self, samples: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """Return the score of every metric by its full name.

        Args:
            samples: `sample_size` samples as a network returns them; images in [-1, 1].
            labels: The class (sample_size,), or conditions (sample_size, C), that each sample was generated for. With
                classes, scores of single classes are added under `class/<class>/...`, in the order of the classes.

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
        found = measure(self.fitted, [SampleDraw(*each) for each in zip(parts, asked, strict=True)])
        kept = {*self.names, *map(error_name, self.names)}
        return {name: score for name, score in found.items() if name in kept or name.startswith("class/")}

    def _as_stored(self, values: Tensor) -> Tensor:
        """Round samples as real and exported samples are.

        Without rounding, a metric could recognise generated samples by their finer values.
        """
        if self.pixels:
            return to_model(to_pixels(values), torch.float32)
        return values if self.coding is None else self.coding.as_stored(values)


def _repeated(conditions: Tensor | None, draws: int) -> Tensor:
    assert conditions is not None
    return conditions.repeat(draws, 1)


def hold_out(dataset: Dataset, split: SplitName, sample_size: int, features: str | None, classes: int) -> HeldOut:
    """Draw the held-out samples of a data set, and make its feature extractors. The arguments are those of `build`."""
    held_out = {"validation": dataset.validation, "test": dataset.test}[split]
    size = min(sample_size, len(held_out), len(dataset.train))
    if size < LEAST_SAMPLES:
        raise UserError(
            f"a metric needs at least {LEAST_SAMPLES} samples; {dataset.name} has {len(dataset.train)} to train "
            f"and {len(held_out)} in {split}, and {sample_size} were asked for; give more data or ask for more"
        )
    real = draw(held_out, size, REFERENCE_SEED)
    extractors: list[Extractor] = []
    if features is not None:
        if len(dataset.sample_shape) != IMAGE_AXES:
            raise UserError(
                f"--features is for images (C, H, W); {dataset.name} has samples of shape {dataset.sample_shape}; "
                "leave it out"
            )
        extractors.append(load_features(features, real.values))
    if dataset.name == "mnist" and dataset.sample_shape == (1, 28, 28):
        extractors.append(DigitFeatures())
    return HeldOut(dataset, real, {extractor.label: extractor for extractor in extractors}, classes)


def draw(split: Split, size: int, seed: int) -> SampleDraw:
    """Draw `size` samples of a split without replacement, as a network sees them."""
    rows = np.random.Generator(np.random.PCG64(seed)).permutation(len(split))[:size]
    labels = None if split.labels is None else torch.from_numpy(split.labels[rows])
    return SampleDraw(to_model(torch.from_numpy(split.values[rows]), torch.float32), labels)


def part(split: Split) -> Split:
    """Return at most 1,000 samples of a split, as they are stored."""
    rows = np.random.Generator(np.random.PCG64(CRITIC_SEED)).permutation(len(split))[:FOR_CRITIC]
    return Split(split.values[rows], None if split.labels is None else split.labels[rows])


def choose(
    metrics: Sequence[str | OwnMetric], data: HeldOut, objective: str | None
) -> tuple[Sequence[Metric[Any]], tuple[MetricSpec, ...]]:
    """Return the metrics that suit the data, and the declarations of those to measure.

    Objectives come first, in the order of preference. Metrics for diagnosis follow. The arguments are those of
    `Evaluator.build`.
    """
    own = [each for each in metrics if not isinstance(each, str)]
    asked = {full_name(each) for each in (*metrics, objective) if isinstance(each, str)}
    suited = [
        *own,
        *(
            each
            for each in shipped(data.extractors)
            if each.suits(data) and (not each.on_request or any(spec.name in asked for spec in each.specs))
        ),
    ]
    ranks = {spec: (not spec.can_be_objective, not each.trusted(data)) for each in suited for spec in each.specs}
    specs = sorted(ranks, key=ranks.__getitem__)
    wanted = {each.spec.name for each in own}
    for name in (names := [each for each in metrics if isinstance(each, str)]):
        full = full_name(name, specs)
        # A metric for diagnosis is no objective, but can be measured.
        wanted.add(full if any(spec.name == full for spec in specs) else resolve_objective(name, specs))
    return suited, tuple(spec for spec in specs if not names or spec.name in wanted)


def measure(fitted: Fitted, draws: Sequence[SampleDraw]) -> dict[str, float]:
    return {name: score for metric, real in fitted for name, score in metric.scores(real, draws).items()}
