"""Scores of generated samples against held-out real ones, by one fixed protocol for every trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wgan_core.data.dataset import Dataset, Split, to_model, to_pixels
from wgan_core.data.toy import MIXTURES, Mixture
from wgan_core.errors import UserError
from wgan_core.metrics import specs
from wgan_core.metrics.features import DigitFeatures, Extractor, read_features, require_finite
from wgan_core.metrics.objective import check_objective, full_name
from wgan_core.metrics.references import (
    ExactReference,
    FeatureReference,
    ModesReference,
    Reference,
    SlicedReference,
)

SplitName = Literal["validation", "test"]

REFERENCE_SEED = 1
FLOOR_SEED = 2
# Two are the fewest that have a variance.
LEAST_SAMPLES = 2
IMAGE_AXES = 3
PLANE = (2,)


@dataclass(frozen=True)
class Evaluator:
    """The metrics of one data set. Holds tensors, numbers and the bytes of a program, so it is pickled as it is.

    Scoring runs on the CPU in float32 wherever the samples are, and uses no random numbers: the same
    samples have the same score in every process (to float32 rounding, whatever the number of threads).

    Attributes:
        names: full names of what is measured, the preferred objective first.
        sample_size: how many samples a score takes. FID depends on it, so it is fixed.
        sample_shape: shape of one sample.
        pixels: whether samples are images, which are rounded to the 256 levels of the real ones first.
        references: the held-out side of the metrics.
        floors: scores of that many real training samples in place of generated ones, by full name. A
            generator that reaches its floor cannot be told from the data by this metric.
        protocol: all that a score depends on besides the samples; can be written as JSON.
    """

    names: tuple[str, ...]
    sample_size: int
    sample_shape: tuple[int, ...]
    pixels: bool
    references: tuple[Reference, ...]
    floors: dict[str, float]
    protocol: dict[str, Any]

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        split: SplitName = "validation",
        names: Sequence[str] | None = None,
        sample_size: int = 5000,
        features: Path | None = None,
    ) -> Evaluator:
        """An evaluator against `split`, of the metrics in `names` (full or short), or of all that suit the data.

        Digit features suit MNIST only; sliced Wasserstein suits any data; the exact W1, on up to 2,048 of the samples,
        data of two axes; the counts of modes, the mixtures of `data.toy`. `features` is the file of a feature
        extractor for these images (`metrics.features` says what it must be); FID on it is then the default objective,
        and `fid` and `kid` mean those on it. Where a split is smaller than `sample_size`, both sides take as many
        samples as the smaller of it and the training split has.

        Raises `UserError` for a metric that is unknown or does not suit the data, for too few samples, and for a
        feature extractor that cannot be used.
        """
        held_out = {"validation": dataset.validation, "test": dataset.test}[split]
        size = min(sample_size, len(held_out), len(dataset.train))
        if size < LEAST_SAMPLES:
            raise UserError(
                f"a metric needs at least {LEAST_SAMPLES} samples; {dataset.name} has {len(dataset.train)} to train "
                f"and {len(held_out)} in {split}, and {sample_size} were asked for; give more data or ask for more"
            )
        real = draw(held_out, size, REFERENCE_SEED)
        extractors, mixture = extractors_of(dataset, features, real), mixture_of(dataset)
        chosen = choose(names, suited_to(dataset, extractors))
        references = fit(chosen, real, extractors, mixture)
        floors = measure(references, draw(dataset.train, size, FLOOR_SEED))
        on_features = [floors[name] for name in chosen if specs.ON_FEATURES.fullmatch(name)]
        require_finite(torch.tensor(on_features), "the program")
        return cls(
            names=chosen,
            sample_size=size,
            sample_shape=dataset.sample_shape,
            pixels=dataset.train.values.dtype == np.uint8,
            references=references,
            floors=floors,
            protocol=describe(dataset, split, size, references),
        )

    @property
    def objective_default(self) -> str:
        """The metric that a sweep minimises unless told otherwise.

        Raises `UserError` if all that is measured is for diagnosis.
        """
        known = specs.known_metrics(self.names)
        if found := next((name for name in self.names if known[name].can_be_objective), None):
            return found
        raise UserError(
            f"a metric that can be minimised must be measured; there is {', '.join(self.names)}; add another"
        )

    def scores(self, samples: Tensor) -> dict[str, float]:
        """Every metric, by full name, of `sample_size` samples as a network gives them: images in [-1, 1].

        NaN for every metric if any value is not finite. Raises `UserError` for another number or shape.
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
        return measure(self.references, to_model(to_pixels(values), torch.float32) if self.pixels else values)


def extractors_of(dataset: Dataset, features: Path | None, real: Tensor) -> tuple[Extractor, ...]:
    """Whose features mean something on this data: a person's own, tried on these real samples, before the digits'."""
    extractors: list[Extractor] = []
    if features is not None:
        if len(dataset.sample_shape) != IMAGE_AXES:
            raise UserError(
                f"--features is for images (C, H, W); {dataset.name} has samples of shape {dataset.sample_shape}; "
                "leave it out"
            )
        extractors.append(read_features(features, real))
    if dataset.name == "mnist" and dataset.sample_shape == (1, 28, 28):
        extractors.append(DigitFeatures())
    return tuple(extractors)


def names_on(extractor: Extractor) -> tuple[str, ...]:
    return (specs.fid_name(extractor.label), specs.kid_name(extractor.label))


def mixture_of(dataset: Dataset) -> Mixture | None:
    """The mixture that the data was drawn from, if it is one of the toy data."""
    return MIXTURES.get(dataset.name) if dataset.sample_shape == PLANE else None


def suited_to(dataset: Dataset, extractors: Sequence[Extractor]) -> tuple[str, ...]:
    """Full names of the metrics that mean something on the data, the preferred objective first."""
    return (
        *(name for extractor in extractors for name in names_on(extractor)),
        # In many dimensions W1 between two samples of the same law is nearly as large as between any two.
        *((specs.W1_NAME,) if dataset.sample_shape == PLANE else ()),
        specs.SLICED_NAME,
        *(specs.MODE_NAMES if mixture_of(dataset) else ()),
    )


def choose(names: Sequence[str] | None, suited: tuple[str, ...]) -> tuple[str, ...]:
    for name in names or ():
        if full_name(name, suited) not in suited:  # what is for diagnosis is no objective, but can be measured
            check_objective(name, suited)
    wanted = {full_name(name, suited) for name in names or suited}
    return tuple(name for name in suited if name in wanted)


def draw(split: Split, size: int, seed: int) -> Tensor:
    """`size` samples of a split without replacement, as a network sees them."""
    rows = np.random.Generator(np.random.PCG64(seed)).permutation(len(split))[:size]
    return to_model(torch.from_numpy(split.values[rows]), torch.float32)


def fit(
    names: tuple[str, ...], values: Tensor, extractors: Sequence[Extractor], mixture: Mixture | None
) -> tuple[Reference, ...]:
    """The held-out side of these metrics, from real samples (N, ...)."""
    references: list[Reference] = [
        FeatureReference.fit(values, chosen, extractor)
        for extractor in extractors
        if (chosen := tuple(name for name in names_on(extractor) if name in names))
    ]
    if specs.W1_NAME in names:
        references.append(ExactReference.fit(values))
    if specs.SLICED_NAME in names:
        references.append(SlicedReference.fit(values))
    if mixture is not None and (counted := tuple(name for name in specs.MODE_NAMES if name in names)):
        references.append(ModesReference.of(mixture, counted))
    return tuple(references)


def measure(references: tuple[Reference, ...], values: Tensor) -> dict[str, float]:
    return {name: score for reference in references for name, score in reference.scores(values).items()}


def describe(dataset: Dataset, split: SplitName, size: int, references: tuple[Reference, ...]) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.digest,
        "split": split,
        "sample_size": size,
        "rounded_to_8_bits": dataset.train.values.dtype == np.uint8,
        "reference_seed": REFERENCE_SEED,
        "floor_seed": FLOOR_SEED,
        "metrics": {name: entry for reference in references for name, entry in reference.protocol().items()},
    }
