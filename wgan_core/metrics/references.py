"""The held-out side of each metric, computed once, so that a score computes the generated side only.

A score takes one or more draws of generated samples. Some metrics need draws that are as large as the real side.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wgan_core.data.toy import Mixture
from wgan_core.errors import UserError, one_line
from wgan_core.metrics import specs
from wgan_core.metrics.distances import (
    Projections,
    frechet_distance,
    in_order,
    kernel_distance,
    sliced_wasserstein,
    wasserstein,
    within_mean,
)
from wgan_core.metrics.features import Extractor, require_finite
from wgan_core.metrics.modes import WITHIN_SD, kl_to_uniform, mode_counts, modes_captured
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.two_sample import nearest_neighbour_accuracies

PROJECTIONS = 128
PROJECTION_SEED = 2_015
# Samples a side for W1 and the nearest-neighbour test. W1 takes half a second on one core, and the loss of one mode of
# eight still scores well above the floor.
EXACT_SAMPLES = 2_048


@dataclass(frozen=True)
class SampleDraw:
    """One draw of samples (N, ...), with their classes, int64 (N,), if the data has classes."""

    values: Tensor
    labels: Tensor | None = None


class Reference(Protocol):
    """Metrics that share one representation of the real samples."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def scores(self, draws: Sequence[SampleDraw]) -> dict[str, float]: ...

    def protocol(self) -> dict[str, Any]: ...


class MeanReference(ABC):
    """A reference that scores each draw by itself and returns the mean over draws."""

    def scores(self, draws: Sequence[SampleDraw]) -> dict[str, float]:
        found = [self.score(drawn.values) for drawn in draws]
        return {name: statistics.fmean(scores[name] for scores in found) for name in found[0]}

    @abstractmethod
    def score(self, values: Tensor) -> dict[str, float]: ...


@dataclass(frozen=True)
class FeatureReference(MeanReference):
    """FID and KID: features (N, D) of the real images, and `real_within`, the term of KID that needs only them."""

    names: tuple[str, ...]
    extractor: Extractor
    real: Tensor
    real_within: float

    @classmethod
    def fit(cls, values: Tensor, names: tuple[str, ...], extractor: Extractor) -> FeatureReference:
        """Extract the features of real images. Raises `UserError` if a feature is not finite."""
        real = extractor.features(values)
        require_finite(real, extractor.label)
        return cls(names, extractor, real, within_mean(real))

    def score(self, values: Tensor) -> dict[str, float]:
        """Return FID and KID of generated images; both are NaN if a feature is not finite."""
        fake = self.extractor.features(values)
        if not bool(torch.isfinite(fake).all()):
            return dict.fromkeys(self.names, math.nan)
        fid, kid = specs.fid_name(self.extractor.label), specs.kid_name(self.extractor.label)
        result = {}
        if fid in self.names:
            result[fid] = frechet_distance(self.real, fake)
        if kid in self.names:
            result[kid] = kernel_distance(self.real, fake, self.real_within)
        return result

    def protocol(self) -> dict[str, Any]:
        return {name: self.extractor.protocol() for name in self.names}


@dataclass(frozen=True)
class SlicedReference(MeanReference):
    """Sliced Wasserstein: fixed directions, and the real samples projected on them, (N, 128), sorted."""

    names: tuple[str, ...]
    projections: Projections
    real: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> SlicedReference:
        projections = Projections.draw(values[0].numel(), PROJECTIONS, PROJECTION_SEED)
        return cls((specs.SLICED_NAME,), projections, in_order(projections.of(values)))

    def score(self, values: Tensor) -> dict[str, float]:
        return {specs.SLICED_NAME: sliced_wasserstein(self.real, self.projections.of(values))}

    def protocol(self) -> dict[str, Any]:
        return {specs.SLICED_NAME: {"order": 2, "projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}}


@dataclass(frozen=True)
class ExactReference(MeanReference):
    """Exact 1-Wasserstein distance between the first 2,048 samples of each side, or all if there are fewer."""

    names: tuple[str, ...]
    real: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> ExactReference:
        return cls((specs.W1_NAME,), values[:EXACT_SAMPLES].clone())

    def score(self, values: Tensor) -> dict[str, float]:
        return {specs.W1_NAME: wasserstein(self.real, values[: len(self.real)])}

    def protocol(self) -> dict[str, Any]:
        return {specs.W1_NAME: {"order": 1, "cost": "euclidean", "samples": len(self.real)}}


@dataclass(frozen=True)
class ModesReference(MeanReference):
    """Counts of samples around the centres (M, 2) of a mixture. They need no real samples."""

    names: tuple[str, ...]
    centres: Tensor
    sd: float

    @classmethod
    def of(cls, mixture: Mixture, names: tuple[str, ...]) -> ModesReference:
        return cls(names, torch.from_numpy(mixture.centres), mixture.sd)

    def score(self, values: Tensor) -> dict[str, float]:
        counts = mode_counts(values, self.centres, self.sd)
        measured = {
            specs.MODES_NAME: float(modes_captured(counts)),
            specs.HIGH_QUALITY_NAME: int(counts.sum()) / len(values),
            specs.KL_NAME: kl_to_uniform(counts),
        }
        return {name: measured[name] for name in self.names}

    def protocol(self) -> dict[str, Any]:
        return {name: {"modes": len(self.centres), "sd": self.sd, "within_sd": WITHIN_SD} for name in self.names}


@dataclass(frozen=True)
class TwoSampleReference:
    """The 1-nearest-neighbour test against the first 2,048 real samples (N, D), or all if there are fewer."""

    names: tuple[str, ...]
    real: Tensor

    @classmethod
    def fit(cls, values: Tensor, names: tuple[str, ...]) -> TwoSampleReference:
        return cls(names, values[:EXACT_SAMPLES].flatten(1).clone())

    def scores(self, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Average accuracies over draws, then take their distance from a half, which noise would enlarge otherwise."""
        found = [nearest_neighbour_accuracies(self.real, drawn.values.flatten(1)[: len(self.real)]) for drawn in draws]
        on_real, on_fake = (statistics.fmean(side) for side in zip(*found, strict=True))
        measured = {
            specs.C2ST_NAME: (abs(on_real - 0.5) + abs(on_fake - 0.5)) / 2,
            specs.ACCURACY_REAL_NAME: on_real,
            specs.ACCURACY_FAKE_NAME: on_fake,
        }
        return {name: measured[name] for name in self.names}

    def protocol(self) -> dict[str, Any]:
        return {name: {"neighbours": 1, "samples": len(self.real)} for name in self.names}


@dataclass(frozen=True)
class OwnReference(MeanReference):
    """One of the user's own metrics, with the real samples (N, ...)."""

    metric: OwnMetric
    real: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return (self.metric.spec.name,)

    def score(self, values: Tensor) -> dict[str, float]:
        """Call the user's function. Raises `UserError` if the function fails or returns no number."""
        try:
            return {self.metric.spec.name: float(self.metric.measure(self.real, values))}
        except Exception as error:  # the user's code may raise any exception
            raise UserError(
                f"a metric must give a number for real and generated samples of shape {tuple(values.shape)}; "
                f"{self.metric.name!r} fails: {one_line(error)}: mend it"
            ) from error

    def protocol(self) -> dict[str, Any]:
        return {self.metric.spec.name: {"meaning": self.metric.meaning, "source_sha256": _digest(self.metric.measure)}}


def _digest(function: Callable[..., Any]) -> str | None:
    """Return the SHA-256 of a function's source, or None without source: no sweep must go on with another function."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return None
