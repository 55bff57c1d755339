"""Metrics that the user's script defines, in addition to the shipped metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wgan_core.errors import UserError
from wgan_core.metrics.objective import full_name
from wgan_core.metrics.specs import MetricSpec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OwnMetric:
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
