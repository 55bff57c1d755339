"""A metric of a person's own, beside those that are shipped."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wgan_core.errors import UserError, one_line
from wgan_core.metrics.objective import full_name
from wgan_core.metrics.references import OfOne
from wgan_core.metrics.specs import MetricSpec


@dataclass(frozen=True)
class OwnMetric:
    """A function of real and of as many generated samples, each (N, ...) as a network sees them; less is better.

    It must use no random numbers but from a constant seed: the same samples are to score the same in every process.
    It may be called from several threads of a process at once, so it must change nothing that its calls share.
    name: of lower-case letters, digits and `_`; the metric is called `eval/<name>`. meaning: in one sentence, with its
    unit.

    Raises `UserError` for another name, and for that of a shipped metric.
    """

    name: str
    measure: Callable[[Tensor, Tensor], float]
    meaning: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.name):
            raise UserError(
                "a metric's name must be up to 40 lower-case letters, digits and '_', the first a letter; given "
                f"{self.name!r}: rename it"
            )
        if full_name(self.name) != self.name:
            raise UserError(f"a metric must have a name of its own; {self.name!r} is a shipped one: rename it")

    @property
    def spec(self) -> MetricSpec:
        depends_on = frozenset({"held-out split", "sample size"})
        return MetricSpec(f"eval/{self.name}", self.meaning, "minimize", depends_on, "the sweep's script")


@dataclass(frozen=True)
class OwnReference(OfOne):
    """A metric of a person's own, and the real samples (N, ...)."""

    metric: OwnMetric
    real: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return (self.metric.spec.name,)

    def score(self, values: Tensor) -> dict[str, float]:
        """Raises `UserError` if the function fails, or gives no number."""
        try:
            return {self.metric.spec.name: float(self.metric.measure(self.real, values))}
        except Exception as error:  # a person's own code may raise whatever it likes
            raise UserError(
                f"a metric must give a number for real and generated samples of shape {tuple(values.shape)}; "
                f"{self.metric.name!r} fails: {one_line(error)}: mend it"
            ) from error

    def protocol(self) -> dict[str, Any]:
        return {self.metric.spec.name: {"meaning": self.metric.meaning, "source_sha256": _digest(self.metric.measure)}}


def _digest(function: Callable[..., Any]) -> str | None:
    """Of a function's own text, so that a sweep is not continued with another one; None where there is no text."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return None
