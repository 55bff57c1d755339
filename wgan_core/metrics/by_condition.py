"""Scores within neighbourhoods of the conditions, for generators that take numbers.

A distance between all generated and all real samples does not show whether a generator heeds its conditions. Conditions
are hardly ever equal, so there are no classes to compare within. Instead, the samples of near conditions are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wgan_core.metrics.distances import Estimate
from wgan_core.metrics.features import Extractor
from wgan_core.metrics.metric import LEAST_SAMPLES, HeldOut, Metric, MetricSpec, SampleDraw, mean_of
from wgan_core.metrics.names import error_name
from wgan_core.metrics.on_features import UNKNOWN, is_finite
from wgan_core.metrics.wasserstein import Compact

# Most held-out samples around whose conditions samples are compared.
MOST_ANCHORS = 256
# Neighbourhoods whose distances are computed at once. Their differences stay in the cache of one CPU core.
AT_ONCE = 8


@dataclass(frozen=True)
class Neighbourhoods:
    """The held-out side: real samples, grouped by near conditions.

    Attributes:
        view: Object that represents samples.
        anchors: Conditions (A, C) around which samples are compared.
        near: The k real samples (A, k, D) whose conditions are nearest to each anchor.
        within: Mean distance between two real samples of one neighbourhood.
    """

    view: Extractor | Compact
    anchors: Tensor
    near: Tensor
    within: float

    @classmethod
    def of(cls, view: Extractor | Compact, drawn: SampleDraw) -> Neighbourhoods:
        """Group real samples. A neighbourhood has as many as the root of their number, and at least two."""
        values, conditions = _values(view, drawn), _conditions(drawn)
        anchors = conditions[:MOST_ANCHORS]
        size = max(LEAST_SAMPLES, math.isqrt(len(values)))
        near = values[nearest(anchors, conditions, size)]
        return cls(view, anchors, near, float(mean_distances(near, near).mean()))


def nearest(anchors: Tensor, conditions: Tensor, count: int) -> Tensor:
    """Return the indices (A, count) of the conditions (N, C) that are nearest to each anchor (A, C)."""
    # Exact differences, so that equal conditions are equally near on any processor.
    distances = torch.cdist(anchors, conditions, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.topk(count, dim=1, largest=False).indices


def mean_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean Euclidean distance (A, k) of each sample of x (A, k, D) from those of y (A, k, D).

    The sample of y in the same place is left out: it is the sample itself, or has the same conditions.
    """
    mode = "donot_use_mm_for_euclid_dist"  # equal samples then have a distance of exactly 0
    both = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    found = [torch.cdist(*each, compute_mode=mode).double() for each in both]
    others = x.shape[1] - 1
    return torch.cat([(each.sum(2) - each.diagonal(dim1=1, dim2=2)) / others for each in found])


def energy_within(real: Neighbourhoods, drawn: SampleDraw) -> Estimate:
    """Return the mean over neighbourhoods of the energy distance of generated samples (N, ...) from real ones.

    In each, it is 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely and Rizzo 2013) of the k real samples and the k generated
    samples whose conditions are nearest to the anchor. A generated and a real sample of the same conditions are no
    pair: such pairs lie nearer together than two real samples, whose conditions differ. So the estimate is unbiased,
    and may be below 0. Its error is that of the generated samples for given conditions: it comes from the influence of
    each generated sample on its neighbourhoods, less the mean influence there.
    """
    values, conditions = _values(real.view, drawn), _conditions(drawn)
    if not is_finite(values):
        return UNKNOWN
    size = real.near.shape[1]
    places = nearest(real.anchors, conditions, size)
    fake = values[places]
    across, own = mean_distances(fake, real.near), mean_distances(fake, fake)
    each = 2 * (across - own) / size
    influences = torch.zeros(len(values), dtype=torch.float64)
    influences.index_add_(0, places.flatten(), (each - each.mean(1, keepdim=True)).flatten())
    error = float(influences.square().sum().sqrt()) / len(places) * math.sqrt(size / (size - 1))
    return Estimate(float((2 * across - own).mean()) - real.within, error)


@dataclass(frozen=True)
class ByCondition(Metric[Neighbourhoods]):
    """The mean over neighbourhoods of the conditions of the energy distance within each.

    Samples are generated for the conditions of the held-out samples, so both sides of a neighbourhood have the same
    conditions.

    Attributes:
        label: Label of the feature extractor; "" for the values, or projections of them if they have many axes.
    """

    label: str = ""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        ending, where = (f"_{self.label}", "features") if self.label else ("", "raw values")
        spec = MetricSpec(
            f"eval/intra_energy{ending}",
            "mean over neighbourhoods of the conditions of the energy distance between the samples generated for "
            f"conditions and the real samples of near conditions, in {where}; their units, may be below 0",
            "minimize",
            frozenset({"held-out split", "sample size", "conditions"}),
            "neighbourhoods of continuous conditions: Ding et al. 2021 (CcGAN); the distance: Székely and Rizzo 2013",
            features=self.label,
        )
        return (spec,)

    def suits(self, data: HeldOut) -> bool:
        return data.dataset.conditions is not None and self.label == next(iter(data.extractors), "")

    def fit(self, data: HeldOut) -> Neighbourhoods:
        view = data.extractors[self.label] if self.label else Compact.of_size(data.real.values)
        return Neighbourhoods.of(view, data.real)

    def scores(self, real: Neighbourhoods, draws: Sequence[SampleDraw]) -> dict[str, float]:
        found = mean_of([energy_within(real, drawn) for drawn in draws])
        (spec,) = self.specs
        return {spec.name: found.value, error_name(spec.name): found.error}

    def entry(self, real: Neighbourhoods) -> dict[str, Any]:
        anchors, neighbours = real.near.shape[:2]
        return {**real.view.protocol(), "anchors": anchors, "neighbours": neighbours, "pairs": "of other samples"}


def _values(view: Extractor | Compact, drawn: SampleDraw) -> Tensor:
    return view.of(drawn.values) if isinstance(view, Compact) else drawn.features(view)


def _conditions(drawn: SampleDraw) -> Tensor:
    if drawn.labels is None:
        raise ValueError("scores by condition need the conditions of the samples")
    return drawn.labels
