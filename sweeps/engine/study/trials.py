"""The trials of a plan as the study's storage has them: read, held and ended.

Nothing here waits for a storage that is away: `Study` does, and then does again what it was about.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.attributes import HOLDER, REASON
from sweeps.engine.study.rows import best


class Trials:
    """Those of a plan, for the driver of one session."""

    def __init__(self, plan: Plan, session: str, study: optuna.Study) -> None:
        self.plan, self.session, self.study = plan, session, study

    def all(self) -> list[FrozenTrial]:
        """Those of the plan: where a database went away, there may be one more."""
        return self.study.get_trials(deepcopy=False)[: self.plan.trials]

    def running(self) -> list[FrozenTrial]:
        return [trial for trial in self.all() if trial.state is TrialState.RUNNING]

    def held(self, holder: str) -> list[FrozenTrial]:
        """The unfinished ones of this holder."""
        return [trial for trial in self.running() if self.is_held(trial, holder)]

    def frozen(self, number: int) -> FrozenTrial:
        # Not out of all of them: of those that have not ended, each would be read from the database again.
        storage = self.study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def fenced(self, holder: str, number: int) -> FrozenTrial:
        """Raises `PermissionError` if the holder does not hold it, or no longer."""
        frozen = self.frozen(number)
        if frozen.state.is_finished() or not self.is_held(frozen, holder):
            label = self.plan.label(number)
            raise PermissionError(f"trial {label} is no longer held by {holder}: it was handed to another process")
        return frozen

    def by(self, holder: str) -> str:
        """The holder of this session, as the study keeps it."""
        return f"{self.session}/{holder}"

    def is_held(self, frozen: FrozenTrial, holder: str | None = None) -> bool:
        """Whether this session's holder holds it; None: whoever of this session."""
        held_by: str = frozen.user_attrs.get(HOLDER, "")
        return held_by == self.by(holder) if holder is not None else held_by.startswith(f"{self.session}/")

    def set(self, frozen: FrozenTrial, attribute: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(frozen._trial_id, attribute, value)

    def end(self, frozen: FrozenTrial, state: TrialState, reason: str) -> None:
        """COMPLETE with its best value, or another state without one."""
        self.set(frozen, REASON, reason)
        self.study.tell(self.open(frozen), best(frozen)[1] if state is TrialState.COMPLETE else None, state)

    def open(self, frozen: FrozenTrial) -> optuna.Trial:
        """The trial as one that can be asked and told."""
        return optuna.Trial(self.study, frozen._trial_id)
