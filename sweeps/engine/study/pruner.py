"""Early stopping as Optuna asks for it, by the rule of `halving`.

Optuna's own halving stores each verdict in the trial and depends on the order in which a cohort reports; this looks
only at the values that all trials of the study reported at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from sweeps.engine.study.halving import rungs, survives


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
