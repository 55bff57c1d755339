"""What the held-out side of each metric keeps, so that scoring works out only the generated side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wgan_core.metrics import specs
from wgan_core.metrics.distances import (
    Projections,
    frechet_distance,
    in_order,
    kernel_distance,
    sliced_wasserstein,
    within_mean,
)
from wgan_core.metrics.features import Extractor, require_finite

PROJECTIONS = 128
PROJECTION_SEED = 2_015


class Reference(Protocol):
    """Metrics that share one view of the real samples."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def scores(self, values: Tensor) -> dict[str, float]: ...

    def protocol(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class FeatureReference:
    """FID and KID: features (N, D) of the real images, and the half of KID that depends on them only."""

    names: tuple[str, ...]
    extractor: Extractor
    real: Tensor
    real_within: float

    @classmethod
    def fit(cls, values: Tensor, names: tuple[str, ...], extractor: Extractor) -> FeatureReference:
        """Raises `UserError` for features that are not finite."""
        real = extractor.features(values)
        require_finite(real, extractor.label)
        return cls(names, extractor, real, within_mean(real))

    def scores(self, values: Tensor) -> dict[str, float]:
        """NaN for both if a feature is not finite."""
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
class SlicedReference:
    """Sliced Wasserstein: fixed directions and the real samples on them, (N, 128), in order."""

    names: tuple[str, ...]
    projections: Projections
    real: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> SlicedReference:
        projections = Projections.draw(values[0].numel(), PROJECTIONS, PROJECTION_SEED)
        return cls((specs.SLICED_NAME,), projections, in_order(projections.of(values)))

    def scores(self, values: Tensor) -> dict[str, float]:
        return {specs.SLICED_NAME: sliced_wasserstein(self.real, self.projections.of(values))}

    def protocol(self) -> dict[str, Any]:
        return {specs.SLICED_NAME: {"order": 2, "projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}}
