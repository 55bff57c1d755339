"""Scores within classes, for generators that take labels.

A distance between all generated and all real samples does not show whether a generator heeds its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wgan_core.errors import UserError
from wgan_core.metrics.digits import classify, digits_label
from wgan_core.metrics.distances import Estimate
from wgan_core.metrics.metric import Distance, HeldOut, Metric, MetricSpec, SampleDraw, Side, mean_of
from wgan_core.metrics.names import LEAST, error_name, unscored_text
from wgan_core.metrics.on_features import UNKNOWN

AS_ASKED_NAME = "eval/as_asked"
# With more classes than this, only the mean over classes is reported.
MOST_SHOWN = 20


@dataclass(frozen=True)
class ClassSide:
    """The held-out side of a distance within classes.

    Attributes:
        whole: The held-out side of the same distance between all samples.
        labels: The classes of its real samples (N,).
        classes: Number of classes.
    """

    whole: Side
    labels: Tensor
    classes: int


@dataclass(frozen=True)
class ByClass(Metric[ClassSide]):
    """The mean over classes of a distance within each class.

    Attributes:
        whole: The same distance between all samples.
    """

    whole: Distance

    @property
    def specs(self) -> tuple[MetricSpec, ...]:
        whole = self.whole.spec
        measured, _, unit = whole.meaning.partition("; ")
        spec = MetricSpec(
            f"eval/intra_{whole.name.removeprefix('eval/')}",
            f"mean over the classes of the {measured}, of the samples asked for as a class from real ones of that "
            f"class; {unit}",
            whole.direction,
            whole.depends_on | {"classes"},
            f"Miyato and Koyama 2018, section 4, of the FID; the distance: {whole.source}",
            features=whole.features,
        )
        return (spec,)

    def suits(self, data: HeldOut) -> bool:
        # If the data has features, distances on features are measured instead of others.
        return data.classes > 0 and self.whole.suits(data) and bool(self.whole.spec.features or not data.extractors)

    def trusted(self, data: HeldOut) -> bool:
        # The mean over classes must not mean one class of several.
        return data.classes - len(_scarce(_labels(data.real), data.classes)) > 1 or data.classes == 1

    def fit(self, data: HeldOut) -> ClassSide:
        """Return the held-out side. Raises `UserError` if no class has two held-out samples."""
        labels = _labels(data.real)
        if len(_scarce(labels, data.classes)) == data.classes:
            raise UserError(
                f"a score within classes needs a class with {LEAST} held-out samples; of {len(labels)} in "
                f"{data.classes} classes none has: give more data, or another --objective"
            )
        return ClassSide(self.whole.fit(data), labels, data.classes)

    def scores(self, real: ClassSide, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Return the mean over classes, and the distance within each class if there are at most 20 classes.

        Only classes with two samples on both sides count, so the labels alone decide which classes count. The mean is
        NaN if no class counts.
        """
        by_class: dict[int, list[Estimate]] = {}
        for drawn in draws:
            seen, labels = self.whole.represent(real.whole.view, drawn), _labels(drawn)
            for label in range(real.classes):
                sides = real.whole.real[real.labels == label], seen[labels == label]
                if min(map(len, sides)) >= LEAST:
                    by_class.setdefault(label, []).append(self.whole.distance(*sides))
        means = {label: mean_of(found) for label, found in by_class.items()}
        (spec,) = self.specs
        short = self.whole.spec.stem.removeprefix("eval/")
        mean = mean_of([*means.values()]) if means else UNKNOWN
        shown = {label: each.value for label, each in means.items()}
        return {spec.name: mean.value, error_name(spec.name): mean.error, **_shown(shown, short, real.classes)}

    def spec_on(self, spec: MetricSpec, real: ClassSide) -> MetricSpec:
        """Return the declaration with the classes that the held-out samples are too few for."""
        left_out = _scarce(real.labels, real.classes)
        return replace(spec, meaning=f"{spec.meaning}; {unscored_text(left_out, real.classes)}") if left_out else spec

    def unscored(self, real: ClassSide, labels: Sequence[Tensor]) -> list[int]:
        """Return the classes that no score counts, if the draws of generated samples have these classes (N,)."""
        drawn = set.intersection(*(set(_scarce(each, real.classes)) for each in labels))
        return sorted(drawn.union(_scarce(real.labels, real.classes)))

    def entry(self, real: ClassSide) -> dict[str, Any]:
        return {"classes": real.classes, **self.whole.entry(real.whole)}

    def check_floor(self, floor: float) -> None:
        self.whole.check_floor(floor)


class AsAsked(Metric[int]):
    """The share of samples that the shipped classifier takes for the requested digit, overall and for each digit.

    The held-out side is the number of classes alone.
    """

    specs = (
        MetricSpec(
            AS_ASKED_NAME,
            "share of the samples that the shipped digit classifier takes for the digit that was asked for; 0 to 1",
            "maximize",
            frozenset({"digit classifier"}),
            "Shmelkov et al. 2018, GAN-train and GAN-test",
            blind_to="the variety within each class",
        ),
    )

    def suits(self, data: HeldOut) -> bool:
        return data.classes > 0 and digits_label() in data.extractors

    def fit(self, data: HeldOut) -> int:
        return data.classes

    def scores(self, real: int, draws: Sequence[SampleDraw]) -> dict[str, float]:
        labels = torch.cat([_labels(drawn) for drawn in draws])
        heeded = (torch.cat([classify(drawn.values) for drawn in draws]) == labels).double()
        means = {label: float(heeded[labels == label].mean()) for label in labels.unique().tolist()}
        return {AS_ASKED_NAME: float(heeded.mean()), **_shown(means, "as_asked", real)}

    def entry(self, real: int) -> dict[str, Any]:
        return {"classes": real}


def _scarce(labels: Tensor, classes: int) -> list[int]:
    """Return the classes with too few samples for a distance."""
    counts = torch.bincount(labels, minlength=classes)
    return torch.nonzero(counts[:classes] < LEAST).flatten().tolist()


def _labels(drawn: SampleDraw) -> Tensor:
    if drawn.labels is None:
        raise ValueError("scores of classes need the labels of the samples")
    return drawn.labels


def _shown(values: dict[int, float], short: str, classes: int) -> dict[str, float]:
    return {f"class/{label}/{short}": value for label, value in values.items()} if classes <= MOST_SHOWN else {}
