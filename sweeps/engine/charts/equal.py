"""Trials at one equal step, as an Optuna study in memory, and what it says of the hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState, create_trial

from sweeps.engine.plan.space import Range
from sweeps.engine.study.claims import as_distribution

LEAST_TRIALS = 4
# Optuna takes 64. The report is made again and again, and shows shares in whole per cent.
TREES = 24


@dataclass(frozen=True)
class Point:
    """A trial at the equal step: its searched hyper-parameters and its score; `score` is None if it is left out."""

    params: Mapping[str, float]
    score: float | None


def equal_study(ranges: Mapping[str, Range], points: Sequence[Point]) -> optuna.Study:
    """A study of these points, all COMPLETE but those without a score, so that the numbers of trials stay.

    Distributions have the space's log flags, which Optuna's charts take their axes from.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it says that it made a study
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    distributions = {name: as_distribution(bounds) for name, bounds in ranges.items()}
    for point in points:
        if point.score is None:
            study.add_trial(create_trial(state=TrialState.FAIL))
        else:
            params = {name: point.params[name] for name in ranges}
            study.add_trial(create_trial(params=params, distributions=distributions, value=point.score))
    return study


def importances(ranges: Mapping[str, Range], points: Sequence[Point]) -> dict[str, float]:
    """Share of each hyper-parameter in the variance of the score: fANOVA (Hutter et al. 2014), largest first.

    The forest is given a hyper-parameter as the space searches it, its logarithm if on a log scale: fANOVA weighs equal
    lengths equally, and of [1e-5, 1e-2] nine tenths lie above 1e-3. Empty for fewer than `LEAST_TRIALS` trials, and
    where the forest finds no difference.
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
    except RuntimeError:  # no variance at all
        return {}
    shares = {name: float(share) for name, share in found.items()}
    return shares if all(map(math.isfinite, shares.values())) else {}


def ends(bounds: Range) -> tuple[float, float]:
    """A range's ends on the scale that it is searched on."""
    return on_scale(bounds, bounds.low), on_scale(bounds, bounds.high)


def on_scale(bounds: Range, value: float) -> float:
    """A value as its range is searched: the logarithm to base 10 on a log scale."""
    return math.log10(value) if bounds.log else float(value)
