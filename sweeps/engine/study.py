"""The search: one Optuna study over a persistent storage, asked and told by whoever trains.

The study is the truth of a sweep. Every trial it has asked is COMPLETE, PRUNED or FAIL in the end;
until then it is held by one cohort, or waits to be held again. One object of this class serves all
cohorts (as a Ray actor), so its methods need no locks.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.plan import ETA, RANDOM_TRIALS, Plan
from sweeps.engine.pruner import HalvingPruner
from sweeps.engine.space import Range
from wgan_core.config import Trial
from wgan_core.draws import trial_seed
from wgan_core.errors import UserError

MAX_FAULTS = 3
HOLDER, FAULTS, REASON, SECONDS, VERDICTS = "holder", "faults", "reason", "seconds", "verdicts"


@dataclass(frozen=True)
class Claim:
    """A trial to train. `params` are the point of the space; `alone`: its process died, so it gets no company."""

    trial: Trial
    params: dict[str, float]
    alone: bool


@dataclass(frozen=True)
class Released:
    """A trial whose process ended after `step` critic updates; `has_failed`: it died for the third time."""

    number: int
    step: int
    reason: str
    has_failed: bool


@dataclass(frozen=True)
class Row:
    """How a trial of the sweep stands. `value` is its best, at `best_step`; NaN and 0 before its first report.

    session: that of the driver which last handed it out; empty if it was given back.
    """

    number: int
    state: str
    params: dict[str, float]
    value: float
    best_step: int
    step: int
    seconds: float
    reason: str
    session: str = ""


class Study:
    """Asks, reports, prunes and tells the trials of a plan."""

    def __init__(self, plan_json: Mapping[str, Any], storage_url: str, session: str) -> None:
        """`session` names the driver: what an earlier one held waits to be held again.

        Raises `UserError` if the storage cannot be opened.
        """
        self._plan, self._session = Plan.from_json(plan_json), session
        self._notes: dict[str, tuple[str, bool]] = {}
        pruner = HalvingPruner(self._plan.grid, ETA) if self._plan.pruning else optuna.pruners.NopPruner()
        self._study = open_study(self._plan.study_name, storage_url, pruner)
        self._distributions = {name: _distribution(bounds) for name, bounds in self._plan.space.ranges.items()}

    def claim(self, holder: str, count: int) -> list[Claim]:
        """Up to `count` trials for this holder: interrupted ones first, then new ones; empty if none waits now.

        A trial whose process died before is handed out alone, and to a holder that has no other, so that
        no neighbour suffers again.
        """
        waiting = [trial for trial in self._running() if not self._is_held(trial)]
        faulted = [trial for trial in waiting if trial.user_attrs.get(FAULTS, 0)]
        if faulted and not self.held(holder):
            return [self._hold(faulted[0], holder)]
        sound = [trial for trial in waiting if trial not in faulted]
        claims = [self._hold(trial, holder) for trial in sound[:count]]
        while len(claims) < count and (asked := self._ask()) is not None:
            claims.append(self._hold(asked, holder))
        return claims

    def held(self, holder: str) -> list[Claim]:
        """The unfinished trials of this holder."""
        return [self._claim(trial) for trial in self._running() if self._is_held(trial, holder)]

    def report(
        self, holder: str, values: Mapping[int, tuple[int, float]], seconds: Mapping[int, float]
    ) -> dict[int, bool]:
        """Record (step, value) by trial number, all before any is judged; whether each is to be stopped.

        `seconds` of training by trial number are added up. A value already recorded is left as it is, and so
        is its verdict: a trial that resumes does not meet those that reported since. Raises `PermissionError`
        if the holder no longer holds a trial.
        """
        trials = {number: self._fenced(holder, number) for number in values}
        for number, (step, value) in values.items():
            trial, frozen = trials[number], self._frozen(number)
            if step not in frozen.intermediate_values:
                trial.report(value, step)
                trial.set_user_attr(SECONDS, frozen.user_attrs.get(SECONDS, 0.0) + seconds.get(number, 0.0))
        return {number: self._verdict(trials[number], step) for number, (step, _) in values.items()}

    def _verdict(self, trial: optuna.Trial, step: int) -> bool:
        judged: dict[str, bool] = trial.user_attrs.get(VERDICTS, {})
        if str(step) not in judged:
            judged = {**judged, str(step): step < self._plan.budget and trial.should_prune()}
            trial.set_user_attr(VERDICTS, judged)
        return judged[str(step)]

    def finish(self, holder: str, number: int, state: str, reason: str) -> None:
        """End a trial: COMPLETE with its best value, PRUNED, or FAIL. Raises `PermissionError` as `report` does."""
        trial = self._fenced(holder, number)
        trial.set_user_attr(REASON, reason)
        value = _best(self._frozen(number))[1] if state == "COMPLETE" else None
        self._study.tell(trial, value, TrialState[state])

    def note(self, holder: str, reason: str, leaves: bool = False) -> None:
        """Why this holder's process is about to end, if it can still say so; `leaves`: by no fault of its trials."""
        self._notes[holder] = reason, leaves

    def release(self, holder: str, died: bool) -> list[Released]:
        """What the holder still holds waits again, or FAILs if its process died for the third time."""
        released = []
        why, leaves = self._notes.pop(holder, ("killed, or out of memory", False))
        for frozen in [trial for trial in self._running() if self._is_held(trial, holder)]:
            trial = self._trial(frozen)
            faults = frozen.user_attrs.get(FAULTS, 0) + int(died and not leaves)
            trial.set_user_attr(FAULTS, faults)
            trial.set_user_attr(HOLDER, "")
            reason = why if leaves else f"its process died {faults} times, the last time: {why}"
            if faults >= MAX_FAULTS:
                trial.set_user_attr(REASON, reason)
                self._study.tell(trial, state=TrialState.FAIL)
            released.append(Released(frozen.number, frozen.last_step or 0, reason, faults >= MAX_FAULTS))
        return released

    def is_done(self) -> bool:
        """Whether all trials have been asked and have ended."""
        trials = self._trials()
        return len(trials) >= self._plan.trials and all(trial.state.is_finished() for trial in trials)

    def rows(self) -> list[Row]:
        """How each trial stands, by number."""
        return [row(trial) for trial in self._trials()]

    def _ask(self) -> FrozenTrial | None:
        trials = self._trials()
        waiting = [trial.number for trial in trials if trial.state is TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        if number >= self._plan.trials:
            return None
        presets = self._plan.space.presets
        if number < len(presets) and not waiting:
            self._study.enqueue_trial(dict(presets[number]))
        self._study.sampler = self._sampler(number)
        asked = self._study.ask(self._distributions)
        return self._frozen(asked.number)

    def _sampler(self, number: int) -> BaseSampler:
        """A new sampler for every trial, seeded by its number: a search that starts again does not repeat its draws."""
        seed = trial_seed(self._plan.seed, number) % 2**32
        if number < len(self._plan.space.presets) + RANDOM_TRIALS:
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=1)

    def _hold(self, frozen: FrozenTrial, holder: str) -> Claim:
        self._trial(frozen).set_user_attr(HOLDER, f"{self._session}/{holder}")
        return self._claim(self._complete(frozen))

    def _complete(self, frozen: FrozenTrial) -> FrozenTrial:
        """The trial with all its parameters: a session may have ended while it asked for them one by one."""
        if len(frozen.params) < len(self._distributions):
            self._study.sampler = self._sampler(frozen.number)
            trial = self._trial(frozen)
            for name, distribution in self._distributions.items():
                trial._suggest(name, distribution)
        return self._frozen(frozen.number)

    def _claim(self, frozen: FrozenTrial) -> Claim:
        seed = trial_seed(self._plan.seed, frozen.number)
        trial = Trial(frozen.number, seed, self._plan.space.hyper(frozen.params))
        return Claim(trial, dict(frozen.params), bool(frozen.user_attrs.get(FAULTS, 0)))

    def _is_held(self, frozen: FrozenTrial, holder: str | None = None) -> bool:
        held_by: str = frozen.user_attrs.get(HOLDER, "")
        return held_by == f"{self._session}/{holder}" if holder is not None else held_by.startswith(f"{self._session}/")

    def _fenced(self, holder: str, number: int) -> optuna.Trial:
        frozen = self._frozen(number)
        if frozen.state.is_finished() or not self._is_held(frozen, holder):
            raise PermissionError(f"trial {number} is no longer held by {holder}: it was handed to another process")
        return self._trial(frozen)

    def _trial(self, frozen: FrozenTrial) -> optuna.Trial:
        return optuna.Trial(self._study, frozen._trial_id)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state is TrialState.RUNNING]

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def open_study(name: str, storage_url: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study of this name, made if it is not there. Raises `UserError` if the storage cannot be opened."""
    with _opening(storage_url):
        return optuna.create_study(study_name=name, storage=_storage(storage_url), pruner=pruner, load_if_exists=True)


def read_rows(name: str, storage_url: str) -> list[Row]:
    """How each trial of a sweep stands, from storage alone. Raises `UserError` if the study is not there."""
    with _opening(storage_url):
        return [row(trial) for trial in optuna.load_study(study_name=name, storage=_storage(storage_url)).get_trials()]


def _storage(url: str) -> optuna.storages.RDBStorage:
    # A connection to a server may have been cut since it was last used: it is tried first, and made anew.
    return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


@contextlib.contextmanager
def _opening(storage_url: str) -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    except Exception as error:
        # What stands before @ may be a password.
        place = storage_url.split("@")[-1]
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the search needs its Optuna storage; {place!r} gives: {reason}: check --study-storage"
        ) from error


def row(frozen: FrozenTrial) -> Row:
    step, value = _best(frozen)
    return Row(
        number=frozen.number,
        state=frozen.state.name,
        params=dict(frozen.params),
        value=value,
        best_step=step,
        step=frozen.last_step or 0,
        seconds=frozen.user_attrs.get(SECONDS, 0.0),
        reason=frozen.user_attrs.get(REASON, ""),
        session=frozen.user_attrs.get(HOLDER, "").partition("/")[0],
    )


def _best(frozen: FrozenTrial) -> tuple[int, float]:
    """Step and value of the best report so far; (0, NaN) before the first."""
    reports = frozen.intermediate_values.items()
    return min(reports, key=lambda item: (math.isnan(item[1]), item[1], item[0]), default=(0, math.nan))


def _distribution(bounds: Range) -> BaseDistribution:
    if bounds.whole:
        return IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log)
    return FloatDistribution(bounds.low, bounds.high, log=bounds.log)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Best first; trials without a value last."""
    return sorted(rows, key=lambda each: (math.isnan(each.value), each.value, each.number))
