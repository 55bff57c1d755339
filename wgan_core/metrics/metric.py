"""The base classes of metrics on held-out data, and the declaration of a reported quantity."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor

from wgan_core.config import PARAMETERS, STRUCTURAL
from wgan_core.data.dataset import Dataset
from wgan_core.metrics.distances import Estimate
from wgan_core.metrics.features import Extractor
from wgan_core.metrics.names import error_name

Direction = Literal["minimize", "maximize", "none"]
Real = TypeVar("Real")

# Dependencies that may differ between the trials of a sweep: their networks, each hyper-parameter, and each setting of
# a structure that can be searched. A value that depends on one of them does not compare across trials, whatever the
# quality of the samples.
_SEARCHED = (name for name, about in STRUCTURAL.items() if not (about.of_data or about.of_sweep))
TRIAL_OWN = frozenset({"critic", "generator", "networks", *PARAMETERS, *_SEARCHED})
# Samples a side for W1 and the nearest-neighbour test. W1 takes half a second on one core, and the loss of one mode of
# eight still scores well above the floor.
EXACT_SAMPLES = 2_048
# A variance needs at least two samples.
LEAST_SAMPLES = 2


@dataclass(frozen=True)
class MetricSpec:
    """One reported quantity.

    Attributes:
        name: The full name, `eval/...` or `train/...`.
        meaning: One sentence that says what is measured, with its unit.
        direction: Whether a smaller value is better ("minimize"), a larger one ("maximize") or neither ("none").
        depends_on: Dependencies of the value besides the samples.
        source: The publication.
        blind_to: Properties of samples that a metric for diagnosis does not see; "" for other metrics.
        features: Label of the feature extractor, with which the name ends; "" without features.
    """

    name: str
    meaning: str
    direction: Direction
    depends_on: frozenset[str]
    source: str
    blind_to: str = ""
    features: str = ""

    @property
    def comparable(self) -> bool:
        """Return whether values of different trials can be compared."""
        return not self.depends_on & TRIAL_OWN

    @property
    def can_be_objective(self) -> bool:
        """Return whether a sweep may minimise this metric."""
        return self.comparable and self.direction == "minimize" and not self.blind_to

    @property
    def stem(self) -> str:
        """Return the name without the extractor's label: `eval/fid` for FID on any features."""
        return self.name.removesuffix(f"_{self.features}") if self.features else self.name


@dataclass(frozen=True)
class SampleDraw:
    """One draw of samples (N, ...), with their classes, int64 (N,), or conditions (N, C), if the data has some."""

    values: Tensor
    labels: Tensor | None = None
    _features: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def features(self, extractor: Extractor) -> Tensor:
        """Return the features (N, D) of the samples. Several metrics share them, so they are computed once."""
        if extractor.label not in self._features:
            self._features[extractor.label] = extractor.features(self.values)
        return self._features[extractor.label]


@dataclass(frozen=True)
class HeldOut:
    """The held-out samples of a data set, and facts by which a metric decides whether it suits the data.

    Attributes:
        dataset: The data.
        real: The held-out samples that scores compare with.
        extractors: The feature extractors that suit the data, by label. The one that `--features` names comes first.
        classes: Number of classes of a conditional GAN; 0 without labels.
    """

    dataset: Dataset
    real: SampleDraw
    extractors: Mapping[str, Extractor]
    classes: int


class Metric(ABC, Generic[Real]):
    """A metric: its declaration, the data that it suits, its held-out side, its scores and its entry in the protocol.

    A metric holds no samples. `fit` prepares the held-out samples once. A score then prepares only the generated
    samples. The metric and its held-out side are pickled to the workers. Several threads may use them at once.

    Attributes:
        on_request: Whether the metric is measured only if it is named, because a score takes seconds.
    """

    on_request: ClassVar[bool] = False

    @property
    @abstractmethod
    def specs(self) -> tuple[MetricSpec, ...]:
        """Return the declarations of the reported quantities. There are several if one computation gives them all."""

    def suits(self, data: HeldOut) -> bool:
        """Return whether the metric can be measured on this data, and means something there."""
        return True

    def trusted(self, data: HeldOut) -> bool:
        """Return whether the metric orders trials well on this data. If not, other objectives are preferred."""
        return True

    @abstractmethod
    def fit(self, data: HeldOut) -> Real:
        """Return the held-out side. Raises `UserError` if the metric cannot be measured on it."""

    @abstractmethod
    def scores(self, real: Real, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Return the score of each quantity by its full name.

        A quantity that can be an objective has its standard error under `error_name`. It covers the choice of the
        generated samples. A metric may add scores of single classes under `class/<class>/...`.

        Args:
            real: The held-out side.
            draws: Draws of generated samples, each as large as the real side.
        """

    def spec_on(self, spec: MetricSpec, real: Real) -> MetricSpec:
        """Return a declaration with what the held-out side adds to its meaning."""
        return spec

    def unscored(self, real: Real, labels: Sequence[Tensor]) -> list[int]:
        """Return the classes that no score counts, if the draws of generated samples have these classes (N,)."""
        return []

    @abstractmethod
    def entry(self, real: Real) -> dict[str, Any]:
        """Return the entry in the protocol: all that a score depends on besides samples, as values that JSON has."""

    def check_floor(self, floor: float) -> None:
        """Raise `UserError` if the score of real samples shows that the metric cannot be used."""


@dataclass(frozen=True)
class Side:
    """The held-out side of a distance.

    Attributes:
        view: Object that represents samples, such as a feature extractor.
        real: The real samples (N, ...) in that representation.
    """

    view: Any
    real: Tensor


class Distance(Metric[Side]):
    """A metric of one quantity, which compares generated with real samples. A score is the mean over draws."""

    @property
    @abstractmethod
    def spec(self) -> MetricSpec:
        """Return the declaration of the quantity."""

    def view(self, data: HeldOut) -> Any:
        """Return the object that `represent` needs; None if there is none."""
        return None

    def represent(self, view: Any, drawn: SampleDraw) -> Tensor:
        """Return the samples (N, ...) in the representation that is compared."""
        return drawn.values

    @abstractmethod
    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        """Return the distance between two sets in that representation."""

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        return (self.spec,)

    def fit(self, data: HeldOut) -> Side:
        view = self.view(data)
        return Side(view, self.represent(view, data.real))

    def scores(self, real: Side, draws: Sequence[SampleDraw]) -> dict[str, float]:
        found = mean_of([self.value(real, drawn) for drawn in draws])
        return {self.spec.name: found.value, error_name(self.spec.name): found.error}

    def value(self, side: Side, drawn: SampleDraw) -> Estimate:
        return self.distance(side.real, self.represent(side.view, drawn))


def mean_of(found: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, with its standard error."""
    values, errors = zip(*found, strict=True)
    return Estimate(statistics.fmean(values), math.hypot(*errors) / len(errors))
