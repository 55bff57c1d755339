"""Optuna pruner that applies the rule of `halving`.

Optuna's own successive halving stores each verdict in the trial and depends on the order in which a cohort reports.
This pruner compares a value with those that other trials have reported at that step so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from sweeps.engine.study.attributes import REASON, copied
from sweeps.engine.study.halving import rungs, survives


class HalvingPruner(optuna.pruners.BasePruner):
    """Pruner that applies `survives` to the intermediate values of all trials at each of `rungs`.

    Trials that failed because they copy training data are left out.
    """

    def __init__(self, grid: Sequence[int], eta: int) -> None:
        self._rungs, self._eta = rungs(grid, eta), eta

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step not in self._rungs:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and step in other.intermediate_values
            and not copied(other.state.name, str(other.user_attrs.get(REASON, "")))
        ]
        return not survives(trial.intermediate_values[step], others, self._eta)
