"""Assignment of trials to holders: waiting trials first, then new ones at points that the sampler draws."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.plan.settings import is_setting
from sweeps.engine.study.attributes import DEATH, HOLDER
from sweeps.engine.study.deaths import death_of, is_suspected
from sweeps.engine.study.narrowing import Narrowing
from sweeps.engine.study.sampling import Sampling
from sweeps.engine.study.trials import Trials
from wgan_core.config import Trial


@dataclass(frozen=True)
class Claim:
    """A trial for a holder to train.

    Attributes:
        trial: Number, seed and hyper-parameters.
        params: Point of the space, with the settings of the trial's structure if they are searched.
        alone: The trial is suspected of ending its process, so it must train alone.
        step: Critic updates at its last report; 0 before the first.
    """

    trial: Trial
    params: dict[str, float | str]
    alone: bool
    step: int = 0


class Claims:
    """Assignment of a plan's trials to holders."""

    def __init__(self, trials: Trials, narrowing: Narrowing) -> None:
        self._trials, self._narrowing, self._plan = trials, narrowing, trials.plan
        self._sampling = Sampling(self._plan)

    def held(self, holder: str) -> list[Claim]:
        return [self._claim(trial) for trial in self._trials.held(holder)]

    def more(self, holder: str, count: int, processes: int, before: Collection[int]) -> list[Claim]:
        """Return trials for a holder: those that it holds outside `before`, then waiting trials, then new ones.

        All trials of a holder have the same structure, which the first one decides. A new trial of another structure
        waits for another holder. New ones are drawn only while fewer wait than the holder has lanes.

        Args:
            holder: The holder.
            count: Most trials to return. A holder without trials may get fewer, see `Study.claim`.
            processes: Number of processes that share the remaining trials.
            before: Numbers of the trials that the holder already trains.
        """
        most = count if before else min(count, math.ceil(self._left(holder) / processes))
        running = self._trials.running()
        held = [trial for trial in running if self._trials.is_held(trial, holder)]
        claims = [self._hold(trial, holder) for trial in held if trial.number not in before]
        if any(is_suspected(trial) for trial in held):
            return claims
        waiting = [trial for trial in running if not self._trials.is_held(trial)]
        suspects = [trial for trial in waiting if is_suspected(trial)]
        if suspects and not held:
            return [self._hold(suspects[0], holder)]
        sound = [trial for trial in waiting if not is_suspected(trial)]
        cohort, apart = (self._settings(held[0]) if held else None), 0
        if cohort is not None and not before:  # a call whose answer was lost
            most = min(most, self._narrowing.lanes(count, cohort))
        rest, lanes = iter(sound), len(before) + count
        while len(claims) < most:
            trial = next(rest, None) or (self._ask() if apart < lanes else None)
            if trial is None:
                break
            settings = self._settings(trial)
            if cohort is None:
                cohort, most = settings, min(most, self._narrowing.lanes(count, settings))
            if settings == cohort:
                claims.append(self._hold(trial, holder))
            else:
                apart += 1
        return claims

    def _settings(self, frozen: FrozenTrial) -> dict[str, float | str]:
        """Return the settings of a trial's structure; none if the sweep searches no settings."""
        is_searched = any(map(is_setting, self._sampling.distributions))
        return self._plan.space.settings(self._complete(frozen).params) if is_searched else {}

    def _left(self, holder: str) -> int:
        """Return the number of trials that have not ended and that no other holder holds."""
        trials = self._trials.all()
        taken = [each for each in trials if each.state is TrialState.RUNNING and self._trials.is_held(each)]
        others = [each for each in taken if not self._trials.is_held(each, holder)]
        return self._plan.trials - sum(each.state.is_finished() for each in trials) - len(others)

    def _hold(self, frozen: FrozenTrial, holder: str) -> Claim:
        held_by, death = self._trials.by(holder), death_of(frozen)
        if death.by == held_by:  # the holder's next death is a new one
            self._trials.set(frozen, DEATH, replace(death, by="").as_json())
        self._trials.set(frozen, HOLDER, held_by)
        return self._claim(self._complete(frozen))

    def _claim(self, frozen: FrozenTrial) -> Claim:
        number = frozen.number
        trial = Trial(number, self._plan.trial_seed(number), self._plan.space.hyper(frozen.params))
        return Claim(trial, dict(frozen.params), is_suspected(frozen), frozen.last_step or 0)

    def _ask(self) -> FrozenTrial | None:
        trials, study = self._trials.all(), self._trials.study
        waiting = [trial.number for trial in trials if trial.state is TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        if number >= self._plan.trials:
            return None
        if study.ask().number == number:
            return self._trials.frozen(number)
        # The database's answer was lost, so Optuna created a second trial, which is handed out later. Read the first
        # one with all others: Optuna accepts no parameters for a trial that it has not read in this way.
        return self._trials.all()[number]

    def _complete(self, frozen: FrozenTrial) -> FrozenTrial:
        """Draw and store the parameters that the trial lacks. An interrupted call may have stored only some of them."""
        distributions, starts = self._sampling.distributions, self._plan.space.presets
        if len(frozen.params) < len(distributions):
            study, number = self._trials.study, frozen.number
            point = starts[number] if number < len(starts) else self._sampling.point(study, frozen)
            for name, distribution in distributions.items():
                if name not in frozen.params:
                    internal = distribution.to_internal_repr(point[name])
                    study._storage.set_trial_param(frozen._trial_id, name, internal, distribution)
        return self._trials.frozen(frozen.number)
