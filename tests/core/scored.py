"""What an evaluator measures, as several tests compare it."""

from __future__ import annotations

from collections.abc import Iterable

from wgan_core.metrics.evaluator import Evaluator


def objectives(evaluator: Evaluator) -> tuple[str, ...]:
    """The full names of the metrics that a sweep may minimise, the preferred one first."""
    return tuple(spec.name for spec in evaluator.specs if spec.can_be_objective)


def values(names: Iterable[str]) -> set[str]:
    """The names of scores without those of standard errors and of single classes."""
    return {name for name in names if not name.startswith(("error/", "class/"))}
