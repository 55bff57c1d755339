"""Writes of holders about their trials: reports, which the pruner judges, and ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum

from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.study.attributes import BESIDE, REASON, SECONDS, TEST, VERDICTS
from sweeps.engine.study.trials import Trials


class Verdict(IntEnum):
    """Verdict on a trial after a report. All but `GO_ON` take the trial off its lane."""

    GO_ON = 0
    STOP = 1
    PAUSE = 2


class Reports:
    """Writer of the reports and ends of all trials."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def totals(
        self, holder: str, values: Mapping[int, tuple[int, float]], seconds: Mapping[int, float]
    ) -> dict[int, float]:
        """Return the new total training time in seconds of each trial whose report is not stored yet."""
        trials = {number: self._trials.fenced(holder, number) for number in values}
        return {
            number: trial.user_attrs.get(SECONDS, 0.0) + seconds.get(number, 0.0)
            for number, trial in trials.items()
            if values[number][0] not in trial.intermediate_values
        }

    def store(
        self,
        values: Mapping[int, tuple[int, float]],
        totals: Mapping[int, float],
        beside: Mapping[int, Mapping[str, float]],
    ) -> dict[int, Verdict]:
        """Store all reports, then judge each trial. Return the verdicts by number."""
        for number, total in totals.items():
            step, value = values[number]
            frozen = self._trials.frozen(number)
            # Write all else first: the report counts as stored once its value is there.
            self._trials.set(frozen, SECONDS, total)
            if value < min(frozen.intermediate_values.values(), default=math.inf) and number in beside:
                self._trials.set(frozen, BESIDE, {"step": step, **beside[number]})
            self._trials.study._storage.set_trial_intermediate_value(frozen._trial_id, step, float(value))
        return {number: self._verdict(self._trials.frozen(number), step) for number, (step, _) in values.items()}

    def _verdict(self, frozen: FrozenTrial, step: int) -> Verdict:
        judged: dict[str, bool] = frozen.user_attrs.get(VERDICTS, {})
        if str(step) not in judged:
            study = self._trials.study
            stop = step < self._trials.plan.budget and study.pruner.prune(study, frozen)
            judged = {**judged, str(step): stop}
            self._trials.set(frozen, VERDICTS, judged)
        return Verdict(judged[str(step)])

    def finish(self, holder: str, number: int, state: str, reason: str, test: Mapping[str, float] | None) -> None:
        """End a trial, unless an earlier identical call has ended it."""
        told = self._trials.frozen(number)
        is_told = told.state.name == state and told.user_attrs.get(REASON) == reason
        if is_told and self._trials.is_held(told, holder):
            return
        frozen = self._trials.fenced(holder, number)
        if test:
            self._trials.set(frozen, TEST, dict(test))
        self._trials.end(frozen, TrialState[state], reason)
