"""Precision, recall, density and coverage: how far generated samples are among real ones, and real among generated.

Each set of samples is taken for the union of balls around its members. A ball reaches to the member's k-th nearest
neighbour in its own set (Kynkäänniemi et al. 2019, section 2; Naeem et al. 2020, section 3).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgan_core.metrics.features import Extractor
from wgan_core.metrics.metric import Direction, HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.wasserstein import Compact

# Samples a side. At this number, the standard error of a share is at most .016.
SAMPLES = 1_024
# Neighbours that define a ball, as the authors chose them.
FOR_PRECISION, FOR_COVERAGE = 3, 5
# With more classes than this, coverage is not reported by class.
MOST_CLASSES = 20
# Equal rows have a distance that rounding lifts above 0. Distances are told apart above this share of the mean.
ROUNDING = 1e-6
_DEPENDS = frozenset({"held-out split", "sample size"})


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) between the rows of (N, D) and of (M, D), in float64."""
    return torch.cdist(x.double(), y.double())


def radii(within: Tensor, neighbour: int) -> Tensor:
    """Return the distance (N,) of each member to its k-th nearest other member, from distances (N, N) within a set.

    If the set has fewer other members, the farthest one counts.
    """
    # The nearest member is the member itself. NumPy's selection is several times as fast as torch's.
    at = min(neighbour, len(within) - 1)
    return torch.from_numpy(np.partition(within.numpy(), at, axis=1)[:, at].copy())


@dataclass(frozen=True)
class Manifold:
    """A set of samples, and the balls around its members.

    Attributes:
        values: The samples (N, D).
        near: The radius of each ball for precision and recall (N,).
        wide: The radius of each ball for density and coverage (N,).
        spread: Mean distance between two members.
    """

    values: Tensor
    near: Tensor
    wide: Tensor
    spread: float

    @classmethod
    def of(cls, values: Tensor) -> Manifold:
        within = distances(values, values).fill_diagonal_(0)
        spread = float(within.sum()) / (len(values) * (len(values) - 1))
        # Equal members would have balls that no rounded distance reaches.
        least = ROUNDING * spread
        return cls(values, radii(within, FOR_PRECISION) + least, radii(within, FOR_COVERAGE) + least, spread)


@dataclass(frozen=True)
class Overlap:
    """Overlap of two sets of samples. All values but `covered` are shares or ratios.

    Attributes:
        precision: Share of the fake samples in a ball of the real set (Kynkäänniemi et al. 2019, equation 2).
        recall: Share of the real samples in a ball of the fake set (the same, equation 3).
        density: Balls of the real set around a fake sample, on average, over k (Naeem et al. 2020, equation 3).
        coverage: Share of the real samples with a fake sample in their ball (the same, equation 4).
        spread: Mean distance between two fake samples, over that between two real ones.
        covered: Whether each real sample has a fake sample in its ball (N,).
    """

    precision: float
    recall: float
    density: float
    coverage: float
    spread: float
    covered: Tensor

    @classmethod
    def of(cls, real: Manifold, values: Tensor) -> Overlap:
        """Compare fake samples (M, D) with the real set."""
        fake, across = Manifold.of(values), distances(real.values, values)
        covered = across.min(1).values <= real.wide
        neighbours = min(FOR_COVERAGE, max(1, len(real.values) - 1))
        return cls(
            precision=_share((across <= real.near[:, None]).any(0)),
            recall=_share((across <= fake.near).any(1)),
            density=float((across <= real.wide[:, None]).double().sum(0).mean()) / neighbours,
            coverage=_share(covered),
            spread=fake.spread / real.spread if real.spread > 0 else 1.0,
            covered=covered,
        )


def _share(are: Tensor) -> float:
    return float(are.double().mean())


@dataclass(frozen=True)
class RealSide:
    """The held-out side: the view of samples, the real set, and its classes (N,) if the data has few classes."""

    view: Extractor | Compact
    real: Manifold
    labels: Tensor | None


@dataclass(frozen=True)
class Coverage(Metric[RealSide]):
    """The overlap of the first 1,024 samples of each side, in features or in the values themselves.

    If the held-out samples have classes, the coverage of each class shows which class the samples lack.

    Attributes:
        label: Label of the feature extractor; "" for the values, or projections of them if they have many axes.
    """

    label: str = ""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        where = f"the features {self.label}" if self.label else "the raw values"
        kynkaanniemi, naeem = "Kynkäänniemi et al. 2019, section 2", "Naeem et al. 2020, section 3"
        told: tuple[tuple[str, str, Direction, str, str], ...] = (
            (
                "precision",
                f"share of the samples among the real ones in {where}; 0 to 1",
                "maximize",
                kynkaanniemi,
                "what the samples lack",
            ),
            (
                "recall",
                f"share of the real samples among the generated ones in {where}; 0 to 1",
                "maximize",
                kynkaanniemi,
                "samples that are like no real one",
            ),
            (
                "density",
                f"how many real samples have a sample near them in {where}, over what is expected; 1 for real samples",
                "none",
                naeem,
                "what the samples lack",
            ),
            (
                "coverage",
                f"share of the real samples that have a sample near them in {where}; 0 to 1",
                "maximize",
                naeem,
                "samples that are like no real one",
            ),
            (
                "spread",
                f"mean distance between two samples over that between two real ones in {where}; 1 for real samples",
                "none",
                "the energy distance of Székely and Rizzo 2013 has both terms",
                "where the samples are",
            ),
        )
        ending = f"_{self.label}" if self.label else ""
        return tuple(
            MetricSpec(f"eval/{name}{ending}", meaning, direction, _DEPENDS, source, blind, self.label)
            for name, meaning, direction, source, blind in told
        )

    def suits(self, data: HeldOut) -> bool:
        return self.label == next(iter(data.extractors), "")

    def fit(self, data: HeldOut) -> RealSide:
        view = data.extractors[self.label] if self.label else Compact.of_size(data.real.values)
        labels = data.real.labels
        if data.dataset.conditions is not None:
            labels = None
        if labels is not None:
            labels = labels[:SAMPLES] if len(labels.unique()) <= MOST_CLASSES and int(labels.min()) >= 0 else None
        return RealSide(view, Manifold.of(_values(view, data.real)), labels)

    def scores(self, real: RealSide, draws: Sequence[SampleDraw]) -> dict[str, float]:
        found = [Overlap.of(real.real, _values(real.view, drawn)) for drawn in draws]
        names = ("precision", "recall", "density", "coverage", "spread")
        shares = {
            spec.name: statistics.fmean(getattr(each, name) for each in found)
            for spec, name in zip(self.specs, names, strict=True)
        }
        return shares | {f"class/{label}/coverage": share for label, share in _by_class(real, found).items()}

    def entry(self, real: RealSide) -> dict[str, Any]:
        return {
            **real.view.protocol(),
            "samples": len(real.real.values),
            "neighbours": [FOR_PRECISION, FOR_COVERAGE],
        }


def _values(view: Extractor | Compact, drawn: SampleDraw) -> Tensor:
    values = view.of(drawn.values) if isinstance(view, Compact) else drawn.features(view)
    return values[:SAMPLES]


def _by_class(real: RealSide, found: Sequence[Overlap]) -> dict[int, float]:
    """Return the coverage of each class that has held-out samples; empty without classes, or with one alone."""
    if real.labels is None:
        return {}
    covered = torch.stack([each.covered for each in found]).double().mean(0)
    present = real.labels.unique().tolist()
    return {label: float(covered[real.labels == label].mean()) for label in present} if len(present) > 1 else {}
