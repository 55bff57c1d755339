"""FID and KID: distances between the features of images.

The full names end with the extractor's label, because scores on different features do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wgan_core.metrics.digits import FEATURES, digits_label
from wgan_core.metrics.distances import (
    Estimate,
    Gaussian,
    frechet_distance,
    frechet_value,
    kernel_distance,
    kernel_means,
)
from wgan_core.metrics.features import Extractor, require_finite
from wgan_core.metrics.metric import EXACT_SAMPLES, Distance, HeldOut, MetricSpec, SampleDraw, Side

# Samples that FID without bias needs for each feature.
SAMPLES_PER_FEATURE = 16


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


@dataclass(frozen=True)
class GaussianSide(Side):
    """The held-out side of FID: the real features, and the Gaussian fitted to them."""

    fitted: Gaussian


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

    def fit(self, data: HeldOut) -> GaussianSide:
        side = super().fit(data)
        return GaussianSide(side.view, side.real, Gaussian.fit(side.real))

    def distance(self, real: Tensor | Gaussian, fake: Tensor) -> Estimate:
        """Return the distance, or NaN if a generated feature is not finite."""
        return frechet_distance(real, fake) if is_finite(fake) else UNKNOWN

    def value(self, side: Side, drawn: SampleDraw) -> Estimate:
        assert isinstance(side, GaussianSide)
        return self.distance(side.fitted, self.represent(side.view, drawn))


@dataclass(frozen=True)
class HalvedSide(GaussianSide):
    """The held-out side of FID without its bias: the Gaussians of all real samples and of each half."""

    halves: tuple[Gaussian, Gaussian]


class UnbiasedFid(Fid):
    """Fréchet distance between features, extrapolated to infinitely many samples.

    FID has a bias that falls as one over the number of samples. So FID of whole and of half sets, on both sides, give
    the value of infinitely many: 2 FID(N) - FID(N / 2). The latter is the mean over two halves. The line in 1 / N holds
    only for many more samples than features, so the metric is measured from 16 samples a feature on. Its standard error
    is that of FID. Near the floor it is too small, as it leaves out the noise of the halves.
    """

    @property
    def spec(self) -> MetricSpec:
        biased = super().spec
        return replace(
            biased,
            name=biased.name.replace("fid", "fid_infinity", 1),
            meaning=f"{biased.meaning}; without the bias of few samples, so it may be below 0",
            source="Chong and Forsyth 2020, section 4: a line in 1/N, here through two sizes of both sides",
        )

    def suits(self, data: HeldOut) -> bool:
        if not super().suits(data):
            return False
        features = data.real.features(data.extractors[self.label])
        return len(features) >= SAMPLES_PER_FEATURE * features.shape[1]

    def fit(self, data: HeldOut) -> HalvedSide:
        side = super().fit(data)
        first, second = side.real.chunk(2)
        return HalvedSide(side.view, side.real, side.fitted, (Gaussian.fit(first), Gaussian.fit(second)))

    def value(self, side: Side, drawn: SampleDraw) -> Estimate:
        assert isinstance(side, HalvedSide)
        fake = self.represent(side.view, drawn)
        whole = self.distance(side.fitted, fake)
        if whole is UNKNOWN:
            return whole
        halves = [frechet_value(*each) for each in zip(side.halves, fake.chunk(2), strict=True)]
        return Estimate(2 * whole.value - sum(halves) / 2, whole.error)


@dataclass(frozen=True)
class KernelSide(Side):
    """The held-out side of KID. `within` is the term of KID that needs only the real samples."""

    within: float


class Kid(OnFeatures):
    """Kernel distance between features of the first 2,048 samples of each side, or all if there are fewer."""

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
        real = side.real[:EXACT_SAMPLES]
        return KernelSide(side.view, real, float(kernel_means(real).mean()))

    def distance(self, real: Tensor, fake: Tensor, within: float | None = None) -> Estimate:
        """Return the distance, or NaN if a generated feature is not finite."""
        return kernel_distance(real, fake, within) if is_finite(fake) else UNKNOWN

    def value(self, side: Side, drawn: SampleDraw) -> Estimate:
        assert isinstance(side, KernelSide)
        return self.distance(side.real, self.represent(side.view, drawn)[:EXACT_SAMPLES], side.within)

    def entry(self, real: Side) -> dict[str, Any]:
        return {**super().entry(real), "samples": len(real.real)}


UNKNOWN = Estimate(math.nan, math.nan)


def is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
