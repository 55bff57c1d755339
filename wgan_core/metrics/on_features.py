"""FID and KID: distances between the features of images.

The full names end with the extractor's label, because scores on different features do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wgan_core.metrics.digits import FEATURES, digits_label
from wgan_core.metrics.distances import frechet_distance, kernel_distance, within_mean
from wgan_core.metrics.features import Extractor, require_finite
from wgan_core.metrics.metric import Distance, HeldOut, MetricSpec, SampleDraw, Side


@dataclass(frozen=True)
class OnFeatures(Distance):
    """A distance between features.

    Attributes:
        label: The extractor's label. The default is that of the shipped digit classifier.
    """

    label: str = field(default_factory=digits_label)

    def suits(self, data: HeldOut) -> bool:
        return self.label in data.extractors

    def view(self, data: HeldOut) -> Extractor:
        return data.extractors[self.label]

    def represent(self, view: Extractor, drawn: SampleDraw) -> Tensor:
        return drawn.features(view)

    def fit(self, data: HeldOut) -> Side:
        """Extract the features of real images. Raises `UserError` if a feature is not finite."""
        side = super().fit(data)
        require_finite(side.real, self.label)
        return side

    def entry(self, real: Side) -> dict[str, Any]:
        protocol: dict[str, Any] = real.view.protocol()
        return protocol

    def check_floor(self, floor: float) -> None:
        require_finite(torch.tensor(floor), self.label.rpartition("_")[0])

    @property
    def described(self) -> tuple[str, str]:
        """Return what declarations call the features, and what they call the extractor in `depends_on`."""
        if self.label == digits_label():
            return f"{FEATURES} features of the shipped digit classifier", "digit classifier"
        return f"the features of the network {self.label}", "feature extractor"


class Fid(OnFeatures):
    """Fréchet distance between features."""

    @property
    def spec(self) -> MetricSpec:
        features, extractor = self.described
        return MetricSpec(
            f"eval/fid_{self.label}",
            f"Fréchet distance of {features}; squared feature units",
            "minimize",
            frozenset({"held-out split", "sample size", extractor}),
            "Heusel et al. 2017, equation 6",
            features=self.label,
        )

    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Return the distance, or NaN if a generated feature is not finite."""
        return frechet_distance(real, fake) if bool(torch.isfinite(fake).all()) else math.nan


@dataclass(frozen=True)
class KernelSide(Side):
    """The held-out side of KID. `within` is the term of KID that needs only the real samples."""

    within: float


class Kid(OnFeatures):
    """Kernel distance between features."""

    @property
    def spec(self) -> MetricSpec:
        features, extractor = self.described
        return MetricSpec(
            f"eval/kid_{self.label}",
            f"unbiased squared MMD, cubic kernel, of {features}; no unit, may be below 0",
            "minimize",
            frozenset({"held-out split", extractor}),
            "Bińkowski et al. 2018, section 4",
            features=self.label,
        )

    def fit(self, data: HeldOut) -> KernelSide:
        side = super().fit(data)
        return KernelSide(side.view, side.real, within_mean(side.real))

    def distance(self, real: Tensor, fake: Tensor, within: float | None = None) -> float:
        """Return the distance, or NaN if a generated feature is not finite."""
        return kernel_distance(real, fake, within) if bool(torch.isfinite(fake).all()) else math.nan

    def value(self, side: Side, drawn: SampleDraw) -> float:
        assert isinstance(side, KernelSide)
        return self.distance(side.real, self.represent(side.view, drawn), side.within)
