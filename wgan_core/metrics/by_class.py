"""Scores within classes, for generators that take labels.

A distance between all generated and all real samples does not show whether a generator heeds its labels.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wgan_core.errors import UserError
from wgan_core.metrics import specs
from wgan_core.metrics.digits import classify
from wgan_core.metrics.distances import Projections, frechet_distance, in_order, sliced_wasserstein
from wgan_core.metrics.features import Extractor
from wgan_core.metrics.references import PROJECTION_SEED, PROJECTIONS, SampleDraw

# A distance needs at least two samples on both sides, so that each side has a spread.
LEAST = 2
# With more classes than this, only the mean over classes is reported.
MOST_SHOWN = 20


class View(Protocol):
    """A representation of samples, and a distance between two sets in that representation."""

    def of(self, values: Tensor) -> Tensor: ...

    def distance(self, real: Tensor, fake: Tensor) -> float: ...

    def protocol(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class FeatureView:
    """The Fréchet distance between features."""

    extractor: Extractor

    def of(self, values: Tensor) -> Tensor:
        return self.extractor.features(values)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Return the distance, or NaN if a generated feature is not finite."""
        return frechet_distance(real, fake) if bool(torch.isfinite(fake).all()) else math.nan

    def protocol(self) -> dict[str, Any]:
        return self.extractor.protocol()


@dataclass(frozen=True)
class SlicedView:
    """The sliced 2-Wasserstein distance, with both sets cut to the size of the smaller set."""

    projections: Projections

    @classmethod
    def draw(cls, values: Tensor) -> SlicedView:
        return cls(Projections.draw(values[0].numel(), PROJECTIONS, PROJECTION_SEED))

    def of(self, values: Tensor) -> Tensor:
        return self.projections.of(values)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        count = min(len(real), len(fake))
        return sliced_wasserstein(in_order(real[:count]), fake[:count])

    def protocol(self) -> dict[str, Any]:
        return {"order": 2, "projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}


@dataclass(frozen=True)
class ByClass:
    """A distance within each class, and its mean over classes.

    Attributes:
        names: The full name of the mean.
        short: Name of the distance within one class, reported as `class/<class>/<short>`.
        view: The representation of samples, and its distance.
        real: The real samples of each class, in that representation.
    """

    names: tuple[str, ...]
    short: str
    view: View
    real: tuple[Tensor, ...]

    @classmethod
    def fit(cls, name: str, short: str, view: View, real: SampleDraw, classes: int) -> ByClass:
        """Split the real samples by class. Raises `UserError` if no class has two held-out samples."""
        seen = view.of(real.values)
        parts = tuple(seen[_labels(real) == label] for label in range(classes))
        if max(map(len, parts)) < LEAST:
            raise UserError(
                f"a score within classes needs a class with {LEAST} held-out samples; of {len(real.values)} in "
                f"{classes} classes none has: give more data, or another --objective"
            )
        return cls((name,), short, view, parts)

    def scores(self, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Return the mean over classes, and the distance within each class if there are at most 20 classes.

        Only classes with two samples on both sides count, so the labels alone decide which classes count. The mean is
        NaN if no class counts.
        """
        by_class: dict[int, list[float]] = {}
        for drawn in draws:
            seen, labels = self.view.of(drawn.values), _labels(drawn)
            for label, real in enumerate(self.real):
                fake = seen[labels == label]
                if min(len(real), len(fake)) >= LEAST:
                    by_class.setdefault(label, []).append(self.view.distance(real, fake))
        means = {label: statistics.fmean(found) for label, found in by_class.items()}
        (name,) = self.names
        return {
            name: statistics.fmean(means.values()) if means else math.nan,
            **_shown(means, self.short, len(self.real)),
        }

    def protocol(self) -> dict[str, Any]:
        return {name: {"classes": len(self.real), **self.view.protocol()} for name in self.names}


@dataclass(frozen=True)
class LabelAgreement:
    """The share of samples that the shipped classifier takes for the requested digit, overall and for each digit."""

    classes: int
    names: tuple[str, ...] = (specs.AS_ASKED_NAME,)

    def scores(self, draws: Sequence[SampleDraw]) -> dict[str, float]:
        labels = torch.cat([_labels(drawn) for drawn in draws])
        heeded = (torch.cat([classify(drawn.values) for drawn in draws]) == labels).double()
        means = {label: float(heeded[labels == label].mean()) for label in labels.unique().tolist()}
        return {specs.AS_ASKED_NAME: float(heeded.mean()), **_shown(means, "as_asked", self.classes)}

    def protocol(self) -> dict[str, Any]:
        return {specs.AS_ASKED_NAME: {"classes": self.classes}}


def _labels(drawn: SampleDraw) -> Tensor:
    if drawn.labels is None:
        raise ValueError("scores of classes need the labels of the samples")
    return drawn.labels


def _shown(values: dict[int, float], short: str, classes: int) -> dict[str, float]:
    return {f"class/{label}/{short}": value for label, value in values.items()} if classes <= MOST_SHOWN else {}
