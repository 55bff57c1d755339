"""Access to the trials of a plan in the study's storage.

Nothing here waits for a storage that is away: `Study` waits and then retries the call.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.attributes import HOLDER, REASON
from sweeps.engine.study.rows import best
from wgan_core.errors import UserError


class Trials:
    """Trials of a plan, seen from one driver session."""

    def __init__(self, plan: Plan, session: str, study: optuna.Study) -> None:
        self.plan, self.session, self.study = plan, session, study

    def all(self) -> list[FrozenTrial]:
        """Return the plan's trials, without the surplus trial that a lost database connection can leave."""
        return self.study.get_trials(deepcopy=False)[: self.plan.trials]

    def check(self) -> None:
        """Raise `UserError` unless the trials are numbered 0, 1, ... in order, as Optuna numbers them.

        In a study that somebody else changed, other numbers could keep the sweep waiting for ever.
        """
        numbers = [trial.number for trial in self.study.get_trials(deepcopy=False)]
        if numbers != list(range(len(numbers))):
            raise UserError(
                f"the trials of a study must be numbered from 0 on; {self.study.study_name!r} has others: use a backup "
                "of its database, or give another --name"
            )

    def running(self) -> list[FrozenTrial]:
        return [trial for trial in self.all() if trial.state is TrialState.RUNNING]

    def held(self, holder: str) -> list[FrozenTrial]:
        """Return the unfinished trials of this holder."""
        return [trial for trial in self.running() if self.is_held(trial, holder)]

    def frozen(self, number: int) -> FrozenTrial:
        # Read only this trial: `get_trials` would read every unfinished trial from the database again.
        storage = self.study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def fenced(self, holder: str, number: int) -> FrozenTrial:
        """Return a trial that the holder holds. Raises `PermissionError` if the holder does not hold it any more."""
        frozen = self.frozen(number)
        if frozen.state.is_finished() or not self.is_held(frozen, holder):
            label = self.plan.label(number)
            raise PermissionError(f"trial {label} is no longer held by {holder}: it was handed to another process")
        return frozen

    def by(self, holder: str) -> str:
        """Return the holder's name as the study stores it, with this session."""
        return f"{self.session}/{holder}"

    def is_held(self, frozen: FrozenTrial, holder: str | None = None) -> bool:
        """Return whether this holder holds the trial; for None, whether any holder of this session does."""
        held_by = str(frozen.user_attrs.get(HOLDER, ""))
        return held_by == self.by(holder) if holder is not None else held_by.startswith(f"{self.session}/")

    def set(self, frozen: FrozenTrial, attribute: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(frozen._trial_id, attribute, value)

    def end(self, frozen: FrozenTrial, state: TrialState, reason: str) -> None:
        """End a trial: as COMPLETE with its best value, or in another state without a value."""
        self.set(frozen, REASON, reason)
        self.study.tell(self.open(frozen), best(frozen)[1] if state is TrialState.COMPLETE else None, state)

    def open(self, frozen: FrozenTrial) -> optuna.Trial:
        """Return the trial as an Optuna trial that accepts parameters and an end."""
        return optuna.Trial(self.study, frozen._trial_id)
