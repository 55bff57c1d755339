"""An in-memory Optuna study of the trials at one equal step, and the importance of the hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.trial import TrialState, create_trial

from sweeps.engine.plan.space import Range
from sweeps.engine.study.sampling import as_distribution

LEAST_TRIALS = 4
# Optuna's default is 64 trees. The report is redrawn often and shows whole per cents, so fewer trees are enough.
TREES = 24


@dataclass(frozen=True)
class Point:
    """A trial at the equal step: its hyper-parameters and its score. A trial whose score is None is left out."""

    params: Mapping[str, float | str]
    score: float | None


def equal_study(ranges: Mapping[str, Range], points: Sequence[Point]) -> optuna.Study:
    """Return an in-memory study of the points.

    Points without a score become FAIL trials, all others COMPLETE, so every trial keeps its number. The distributions
    keep the log flags of the ranges, as Optuna's charts choose their axes by them.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Suppress Optuna's message that it created a study.
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    # The charts show a list of numbers on the axis of a range, and of texts their places in the list.
    distributions = {name: as_distribution(replace(bounds, among=())) for name, bounds in ranges.items()}
    for point in points:
        if point.score is None:
            study.add_trial(create_trial(state=TrialState.FAIL))
        else:
            params = {name: bounds.number(point.params[name]) for name, bounds in ranges.items()}
            study.add_trial(create_trial(params=params, distributions=distributions, value=point.score))
    return study


def importances(ranges: Mapping[str, Range], points: Sequence[Point]) -> dict[str, float]:
    """Return each hyper-parameter's share in the variance of the score, largest first (fANOVA, Hutter et al. 2014).

    The forest gets the logarithm of each hyper-parameter that is searched on a log scale. Otherwise nine tenths of
    [1e-5, 1e-2] would lie above 1e-3, as fANOVA weighs equal lengths equally.

    Returns:
        Shares by name. Empty for fewer than `LEAST_TRIALS` trials, and if the forest finds no difference.
    """
    known = [point for point in points if point.score is not None]
    if len(known) < LEAST_TRIALS or not ranges:
        return {}
    straight = {name: Range(*ends(bounds)) for name, bounds in ranges.items()}
    scaled = [
        Point({name: on_scale(bounds, point.params[name]) for name, bounds in ranges.items()}, point.score)
        for point in known
    ]
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    try:
        found = optuna.importance.get_param_importances(equal_study(straight, scaled), evaluator=evaluator)
    except RuntimeError:  # The scores have no variance.
        return {}
    shares = {name: float(share) for name, share in found.items()}
    return shares if all(map(math.isfinite, shares.values())) else {}


def ends(bounds: Range) -> tuple[float, float]:
    """Return both ends of a range on its search scale (see `on_scale`)."""
    return on_scale(bounds, bounds.low), on_scale(bounds, bounds.high)


def on_scale(bounds: Range, value: float | str) -> float:
    """Return a value on its range's search scale: log10 of the value for a log scale, else the value as a number."""
    number = bounds.number(value)
    return math.log10(number) if bounds.log else float(number)
