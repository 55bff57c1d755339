"""A metric of a person's own, beside those that are shipped."""

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
