"""Early stopping: asynchronous successive halving (Li et al., MLSys 2020) without a memory of its own.

Optuna's own halving stores each verdict in the trial and depends on the order in which a cohort
reports. This rule looks only at the values that all trials reported at the same step, so any process
may ask at any time and a crash loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna


def rungs(grid: Sequence[int], eta: int) -> tuple[int, ...]:
    """The steps of the report grid at which trials are judged: its last one over eta, eta^2, ..., never the last.

    Where the reports are 1 to 9 and eta is 3, the rungs are the reports 1 and 3.
    """
    found = set()
    share = len(grid) / eta
    while share >= 1:
        found.add(grid[math.floor(share) - 1])
        share /= eta
    return tuple(sorted(found))


def survives(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether a value is in the best eta-th of all values at a rung, or the best of fewer; smaller is better."""
    places = max(1, (len(others) + 1) // eta)
    return not math.isnan(value) and sum(other < value for other in others) < places


class HalvingPruner(optuna.pruners.BasePruner):
    """`survives` at each of `rungs`, over the intermediate values of all trials of the study."""

    def __init__(self, grid: Sequence[int], eta: int) -> None:
        self._rungs, self._eta = rungs(grid, eta), eta

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step not in self._rungs:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and step in other.intermediate_values
        ]
        return not survives(trial.intermediate_values[step], others, self._eta)
