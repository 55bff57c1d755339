"""Metrics that the user's script defines, in addition to the shipped metrics."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wgan_core.errors import UserError, one_line
from wgan_core.metrics.distances import Estimate, standard_error
from wgan_core.metrics.metric import LEAST_SAMPLES, Distance, MetricSpec, Side
from wgan_core.metrics.objective import full_name
from wgan_core.source import source_of

# The standard error is taken from the scores of so many parts of the generated samples.
PARTS = 4


@dataclass(frozen=True)
class OwnMetric(Distance):
    """A metric that the user's script defines. A smaller score is better.

    Attributes:
        name: At most 40 lower-case letters, digits and `_`, the first a letter. The full name is `eval/<name>`.
        measure: Takes real samples and equally many generated samples, each (N, ...) as a network sees them, and
            returns the score. It must draw random numbers from a constant seed only, so that the same samples score the
            same in every process. Several threads may call it at once, so it must change no shared state.
        meaning: One sentence that says what is measured, with its unit.

    Raises:
        UserError: The name has another form, or is that of a shipped metric.
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

    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        """Call the user's function. Raises `UserError` if the function fails or returns no number.

        The standard error is that of the mean of the scores of four equal parts. It is NaN for fewer than 8 samples, or
        if the function fails for a part.
        """
        size = len(fake) // PARTS
        if size < LEAST_SAMPLES:
            return Estimate(self._measured(real, fake), math.nan)
        value = self._measured(real, fake)
        try:
            parts = [self._measured(real[:size], part) for part in fake[: size * PARTS].split(size)]
        except UserError:  # a metric may need more samples than a part has
            return Estimate(value, math.nan)
        return Estimate(value, standard_error(torch.tensor(parts)))

    def _measured(self, real: Tensor, fake: Tensor) -> float:
        try:
            return float(self.measure(real, fake))
        except Exception as error:  # the user's code may raise any exception
            raise UserError(
                f"a metric must give a number for real and generated samples of shape {tuple(fake.shape)}; "
                f"{self.name!r} fails: {one_line(error)}: mend it"
            ) from error

    def entry(self, real: Side) -> dict[str, Any]:
        return {"meaning": self.meaning, "source_sha256": _digest(self.measure)}

    def check_floor(self, floor: float) -> None:
        if not math.isfinite(floor):
            raise UserError(
                f"a metric must be a finite number for real samples on both sides; {self.name!r} is {floor}: mend it"
            )


def _digest(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of a function's source: no sweep must go on with another function of the same name."""
    return hashlib.sha256(source_of(function).encode()).hexdigest()
