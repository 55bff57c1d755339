"""What the held-out side of each metric keeps, so that scoring works out only the generated side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from wgan_core.metrics import specs
from wgan_core.metrics.digits import digit_features, weights_hash
from wgan_core.metrics.distances import (
    Projections,
    frechet_distance,
    kernel_distance,
    sliced_wasserstein,
    within_mean,
)

PROJECTIONS = 128
PROJECTION_SEED = 2_015


class Reference(Protocol):
    """Metrics that share one view of the real samples."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def scores(self, values: Tensor) -> dict[str, float]: ...

    def protocol(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class DigitReference:
    """FID and KID: features (N, 128) of the real images, and the half of KID that depends on them only."""

    names: tuple[str, ...]
    real: Tensor
    real_within: float

    @classmethod
    def fit(cls, values: Tensor, names: tuple[str, ...]) -> DigitReference:
        real = digit_features(values)
        return cls(names, real, within_mean(real))

    def scores(self, values: Tensor) -> dict[str, float]:
        fake = digit_features(values)
        result = {}
        if specs.fid_name() in self.names:
            result[specs.fid_name()] = frechet_distance(self.real, fake)
        if specs.kid_name() in self.names:
            result[specs.kid_name()] = kernel_distance(self.real, fake, self.real_within)
        return result

    def protocol(self) -> dict[str, Any]:
        return {name: {"features": "digit classifier", "weights_sha256_8": weights_hash()} for name in self.names}


@dataclass(frozen=True)
class SlicedReference:
    """Sliced Wasserstein: fixed directions and the real samples on them, (N, 128)."""

    names: tuple[str, ...]
    projections: Projections
    real: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> SlicedReference:
        projections = Projections.draw(values[0].numel(), PROJECTIONS, PROJECTION_SEED)
        return cls((specs.SLICED_NAME,), projections, projections.of(values))

    def scores(self, values: Tensor) -> dict[str, float]:
        return {specs.SLICED_NAME: sliced_wasserstein(self.real, self.projections.of(values))}

    def protocol(self) -> dict[str, Any]:
        return {specs.SLICED_NAME: {"order": 2, "projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}}
