"""The search: one Optuna study over a persistent storage, asked and told by whoever trains.

The study is the truth of a sweep. Every trial it has asked is COMPLETE, PRUNED or FAIL in the end;
until then it is held by one cohort, or waits to be held again. One object of this class serves all
cohorts (as a Ray actor), so its methods need no locks.

Where the storage is a server that goes away, each method waits for it and is then done again. So each first reads what
it starts from and then writes, and to write once more what has arrived already changes nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine import deaths
from sweeps.engine.deaths import Death
from sweeps.engine.patience import Patience
from sweeps.engine.plan import ETA, RANDOM_TRIALS, Plan
from sweeps.engine.pruner import HalvingPruner
from sweeps.engine.space import Range
from sweeps.engine.tracking_uri import shown, without_password
from sweeps.engine.widths import width_for
from wgan_core.config import Trial
from wgan_core.draws import trial_seed
from wgan_core.errors import UserError

MAX_FAULTS = 3
# A trial that takes its node down with it is stopped at last.
MAX_LOSSES = 10
HOLDER, FAULTS, LOSSES, REASON, SECONDS, VERDICTS = "holder", "faults", "losses", "reason", "seconds", "verdicts"
DEATH, TEST = "death", "test"
# Of the study itself: which cohorts had fewer lanes after they ran out of memory, and who was suspected last, by width.
NARROWED, SUSPECTS = "narrowed", "suspects"
ENDED = ("COMPLETE", "PRUNED", "FAIL")
MOST = {FAULTS: MAX_FAULTS, LOSSES: MAX_LOSSES}


@dataclass(frozen=True)
class Claim:
    """A trial to train.

    params: the point of the space. alone: it may end its process, so it gets no company. step: of its last report.
    """

    trial: Trial
    params: dict[str, float]
    alone: bool
    step: int = 0


@dataclass(frozen=True)
class Released:
    """A trial whose process ended after `step` critic updates; `has_failed`: it died too often."""

    number: int
    step: int
    reason: str
    has_failed: bool


@dataclass(frozen=True)
class _Release:
    """What is told of a trial, its faults or losses then, and the record of the death if it was one."""

    told: Released
    times: int
    death: Death | None


@dataclass(frozen=True)
class Row:
    """How a trial of the sweep stands. `value` is its best, at `best_step`; NaN and 0 before its first report.

    label: what its plan calls it. session: that of the driver which last handed it out; empty if it was given back.
    test: of a confirming trial that is complete, what its best checkpoint scores on the test split, by metric.
    """

    number: int
    label: str
    state: str
    params: dict[str, float]
    value: float
    best_step: int
    step: int
    seconds: float
    reason: str
    session: str = ""
    test: Mapping[str, float] = field(default_factory=dict)


class Study:
    """Asks, reports, prunes and tells the trials of a plan."""

    def __init__(self, plan_json: Mapping[str, Any], storage_url: str, session: str) -> None:
        """`session` names the driver: what an earlier one held waits to be held again.

        Raises `UserError` if the storage cannot be opened; every method raises `ConnectionError` if it stays away.
        """
        self._plan, self._session = Plan.from_json(plan_json), session
        self._patience = Patience(_place(storage_url))
        self._notes: dict[str, tuple[str, bool]] = {}
        self._nodes: dict[str, str] = {}
        pruner = HalvingPruner(self._plan.grid, ETA) if self._plan.pruning else optuna.pruners.NopPruner()
        self._study = open_study(self._plan.study_name, storage_url, pruner)
        self._distributions = {name: as_distribution(bounds) for name, bounds in self._plan.space.ranges.items()}

    def claim(self, holder: str, count: int, processes: int = 1) -> list[Claim]:
        """Up to `count` trials for this holder: interrupted ones first, then new ones; empty if none waits now.

        A trial that is suspected (`deaths`) is handed out alone, and to a holder that has no other, so that no
        neighbour suffers. A holder that has none gets no more than `lanes` says, and than its share where the trials
        that are left are for so many processes.
        """
        before = {claim.trial.number for claim in self.held(holder)}
        return self._patience.wait(lambda: self._claim_more(holder, count, processes, before))

    def _claim_more(self, holder: str, count: int, processes: int, before: Collection[int]) -> list[Claim]:
        """What the holder holds beside `before`, made up to `count`."""
        had_company = count > 1 or bool(self._narrowed())
        count = count if before else min(self._lanes(count), math.ceil(self._left(holder) / processes))
        running = self._running()
        held = [trial for trial in running if self._is_held(trial, holder)]
        claims = [self._hold(trial, holder) for trial in held if trial.number not in before]
        if any(_is_suspected(trial) for trial in held):
            return claims
        waiting = [trial for trial in running if not self._is_held(trial)]
        suspects = [trial for trial in waiting if _is_suspected(trial)]
        if suspects and not held:
            self._keep_suspicion(suspects[0], had_company)
            return [self._hold(suspects[0], holder)]
        sound = [trial for trial in waiting if not _is_suspected(trial)]
        claims += [self._hold(trial, holder) for trial in sound[: count - len(claims)]]
        while len(claims) < count and (asked := self._ask()) is not None:
            claims.append(self._hold(asked, holder))
        return claims

    def _left(self, holder: str) -> int:
        """How many trials have not ended, but for those of other holders."""
        trials = self._trials()
        taken = [each for each in trials if each.state is TrialState.RUNNING and self._is_held(each)]
        others = [each for each in taken if not self._is_held(each, holder)]
        return self._plan.trials - sum(each.state.is_finished() for each in trials) - len(others)

    def _keep_suspicion(self, frozen: FrozenTrial, had_company: bool) -> None:
        """Of a trial left by an older version, up to its next report; in company its faults may be a neighbour's."""
        death = _death(frozen)
        if death is not None and DEATH not in frozen.user_attrs:
            self._record_death(frozen.number, replace(death, faults=0) if had_company else death)

    def began(self, holder: str, node: str) -> list[Claim]:
        """The trials of this holder, which says on which node its process is."""
        self._nodes[holder] = node
        return self.held(holder)

    def held(self, holder: str) -> list[Claim]:
        """The unfinished trials of this holder."""
        return self._patience.wait(
            lambda: [self._claim(trial) for trial in self._running() if self._is_held(trial, holder)]
        )

    def check(self, holder: str, numbers: Sequence[int]) -> None:
        """Raises `PermissionError` if the holder no longer holds one of these trials."""
        self._patience.wait(lambda: [self._fenced(holder, number) for number in numbers])

    def report(
        self, holder: str, values: Mapping[int, tuple[int, float]], seconds: Mapping[int, float]
    ) -> dict[int, bool]:
        """Record (step, value) by trial number, all before any is judged; whether each is to be stopped.

        `seconds` of training by trial number are added up. A value already recorded is left as it is, and so
        is its verdict: a trial that resumes does not meet those that reported since. Raises `PermissionError`
        if the holder no longer holds a trial.
        """
        totals = self._patience.wait(lambda: self._totals(holder, values, seconds))
        return self._patience.wait(lambda: self._report(values, totals))

    def _totals(
        self, holder: str, values: Mapping[int, tuple[int, float]], seconds: Mapping[int, float]
    ) -> dict[int, float]:
        """Seconds of training, with those of this report, of each trial for which it is new."""
        trials = {number: self._fenced(holder, number) for number in values}
        return {
            number: trial.user_attrs.get(SECONDS, 0.0) + seconds.get(number, 0.0)
            for number, trial in trials.items()
            if values[number][0] not in trial.intermediate_values
        }

    def _report(self, values: Mapping[int, tuple[int, float]], totals: Mapping[int, float]) -> dict[int, bool]:
        for number, total in totals.items():
            step, value = values[number]
            frozen = self._frozen(number)
            # Before the value, without which it counts as not reported yet.
            self._set(frozen, SECONDS, total)
            self._study._storage.set_trial_intermediate_value(frozen._trial_id, step, float(value))
        return {number: self._verdict(self._frozen(number), step) for number, (step, _) in values.items()}

    def _verdict(self, frozen: FrozenTrial, step: int) -> bool:
        judged: dict[str, bool] = frozen.user_attrs.get(VERDICTS, {})
        if str(step) not in judged:
            stop = step < self._plan.budget and self._study.pruner.prune(self._study, frozen)
            judged = {**judged, str(step): stop}
            self._set(frozen, VERDICTS, judged)
        return judged[str(step)]

    def finish(
        self, holder: str, number: int, state: str, reason: str, test: Mapping[str, float] | None = None
    ) -> None:
        """End a trial: COMPLETE with its best value, PRUNED, or FAIL. Raises `PermissionError` as `report` does.

        test: what a confirming trial scores on the test split. To say the same again does nothing.
        """
        self._patience.wait(lambda: self._finish(holder, number, state, reason, test))

    def _finish(self, holder: str, number: int, state: str, reason: str, test: Mapping[str, float] | None) -> None:
        told = self._frozen(number)
        if told.state.name == state and self._is_held(told, holder) and told.user_attrs.get(REASON) == reason:
            return
        frozen = self._fenced(holder, number)
        if test:
            self._set(frozen, TEST, dict(test))
        self._end(frozen, TrialState[state], reason)

    def _end(self, frozen: FrozenTrial, state: TrialState, reason: str) -> None:
        self._set(frozen, REASON, reason)
        self._study.tell(self._trial(frozen), _best(frozen)[1] if state is TrialState.COMPLETE else None, state)

    def note(self, holder: str, reason: str, leaves: bool = False) -> None:
        """Why this holder's process is about to end, if it can still say so; `leaves`: by no fault of its trials."""
        self._notes[holder] = reason, leaves

    def hand_back(self, holder: str, numbers: Collection[int]) -> None:
        """Those of these trials that the holder still holds wait again, without a fault."""
        self._patience.wait(lambda: self._hand_back(holder, numbers))

    def _hand_back(self, holder: str, numbers: Collection[int]) -> None:
        for frozen in self._running():
            if frozen.number in numbers and self._is_held(frozen, holder):
                self._set(frozen, HOLDER, "")

    def narrow(self, holder: str, lanes: int, said: str) -> list[Claim]:
        """A cohort ran out of memory and goes on with so many lanes, as does each that this session starts from now on.

        said: tells a person. Returns the trials that the holder goes on with; those beyond its lanes wait again.
        """
        self._patience.wait(lambda: self._narrow(holder, lanes, said))
        held = self.held(holder)
        self.hand_back(holder, [claim.trial.number for claim in held[lanes:]])
        return held[:lanes]

    def _narrow(self, holder: str, lanes: int, said: str) -> None:
        told = [self._session, holder, lanes, said]
        before = self._study.user_attrs.get(NARROWED, [])
        if told not in before:
            self._study.set_user_attr(NARROWED, [*before, told])

    def lanes(self, most: int) -> int:
        """How many lanes a new cohort has: `most`, or as few as one of this session has had to do with."""
        return self._patience.wait(lambda: self._lanes(most))

    def _lanes(self, most: int) -> int:
        return min([most, *(lanes for _, lanes, _ in self._narrowed())])

    def said(self) -> list[str]:
        """What this session's cohorts have told of themselves, in order."""
        return self._patience.wait(lambda: [said for _, _, said in self._narrowed()])

    def _narrowed(self) -> list[tuple[str, int, str]]:
        """Holder, lanes and what is told, of this session."""
        return [told for session, *told in self._study.user_attrs.get(NARROWED, []) if session == self._session]

    def release(self, holder: str, died: bool, lost: Collection[str] = ()) -> list[Released]:
        """What the holder still holds waits again, or FAILs if its process died for the third time with it alone.

        lost: nodes that were lost since it was handed out. A trial that was on one of them, or of which it is not known
        where it was, has a loss, of which it may have more than of deaths: as a rule it is not to blame.
        """
        why, leaves = self._notes.pop(holder, ("killed, or out of memory", False))
        node = self._nodes.pop(holder, None)
        is_lost = node in lost if node is not None else bool(lost)
        counted = LOSSES if is_lost else FAULTS
        count = int(died and not leaves)
        found = self._patience.wait(lambda: self._to_release(holder, counted, count, why))
        # Before any waits again: done again by another process, this finds how many there were of those that it left.
        for trial in found:
            if trial.death is not None:
                self._patience.wait(partial(self._record_death, trial.told.number, trial.death))
        if (death := next((trial.death for trial in found), None)) is not None:
            self._patience.wait(partial(self._weigh, holder, death))
        for trial in found:
            self._patience.wait(partial(self._release, trial, counted))
        ended = self._patience.wait(lambda: self._ended_by_release(holder))
        told = {each.number: each for each in [*ended, *(trial.told for trial in found)]}
        return [told[number] for number in sorted(told)]

    def _weigh(self, holder: str, death: Death) -> None:
        """Have fewer lanes if a cohort dies of which each suspect of the death before got past its place alone.

        A process that the system kills for want of memory cannot say so, and would be filled and killed again for ever.
        """
        if death.trials == 1:
            return
        width = width_for(death.trials, 2 * death.trials)
        kept = self._study.user_attrs.get(SUSPECTS, {})
        session, places = kept.get(str(width), ("", {}))
        if session == self._session and all(self._got_past(int(number), step) for number, step in places.items()):
            if self._lanes(width) > width // 2:
                said = f"a process of {death.trials} trials died again, and each trial alone did not"
                self._narrow(holder, width // 2, f"{said}: {width // 2} lanes from now on")
            return
        found = {each.number: _death(each) for each in self._trials()}
        suspects = {n: each.step for n, each in found.items() if each and each.by == death.by and each.suspected}
        if suspects:
            self._study.set_user_attr(SUSPECTS, {**kept, str(width): [self._session, suspects]})

    def _got_past(self, number: int, step: int) -> bool:
        """Whether a suspect of that step has made a further report, or has ended without a death alone."""
        frozen = self._frozen(number)
        return (frozen.last_step or 0) > step or (frozen.state.is_finished() and not frozen.user_attrs.get(FAULTS))

    def _ended_by_release(self, holder: str) -> list[Released]:
        """Those that this holder's death has ended, also where who told of it died before it was heard."""
        return [
            Released(each.number, each.last_step or 0, each.user_attrs[REASON], has_failed=True)
            for each in self._trials()
            if each.state is TrialState.FAIL and self._is_held(each, holder) and _has_died_out(each)
        ]

    def _to_release(self, holder: str, counted: str, count: int, why: str) -> list[_Release]:
        held = [trial for trial in self._running() if self._is_held(trial, holder)]
        found = []
        for frozen in held:
            times, reason, death, before = frozen.user_attrs.get(counted, 0), why, None, _death(frozen)
            step = frozen.last_step or 0
            if count and counted == LOSSES:
                times += 1
                reason = f"its node was lost ({times} so far)"
            elif count:
                faults = before.faults if before else 0
                death = deaths.after(before, f"{self._session}/{holder}", len(held), step, faults)
                times, reason = death.faults, death.reason(why)
            told = Released(frozen.number, step, reason, bool(count) and times >= MOST[counted])
            found.append(_Release(told, times, death))
        return found

    def _record_death(self, number: int, death: Death) -> None:
        self._set(self._frozen(number), DEATH, death.as_json())

    def _release(self, released: _Release, counted: str) -> None:
        frozen = self._frozen(released.told.number)
        if frozen.state.is_finished():
            return
        if frozen.user_attrs.get(counted, 0) != released.times:
            self._set(frozen, counted, released.times)
        if released.told.has_failed:  # and stays held: let go before its end, it could be handed out once more
            self._end(frozen, TrialState.FAIL, released.told.reason)
        else:
            self._set(frozen, HOLDER, "")

    def is_done(self) -> bool:
        """Whether all trials have been asked and have ended."""
        trials = self._patience.wait(self._trials)
        return len(trials) >= self._plan.trials and all(trial.state.is_finished() for trial in trials)

    def rows(self) -> list[Row]:
        """How each trial stands, by number."""
        return self._patience.wait(lambda: [row(trial, self._plan) for trial in self._trials()])

    def _ask(self) -> FrozenTrial | None:
        trials = self._trials()
        waiting = [trial.number for trial in trials if trial.state is TrialState.WAITING]
        number = waiting[0] if waiting else len(trials)
        if number >= self._plan.trials:
            return None
        self._study.sampler = self._sampler(number)
        if self._study.ask().number == number:
            return self._frozen(number)
        # Its answer was lost on the way, and Optuna has made another one beside it, which is taken up later. Before it
        # takes parameters of this one, it has to read it with all others.
        return self._trials()[number]

    def _sampler(self, number: int) -> BaseSampler:
        """A new sampler for every trial, seeded by its number: a search that starts again does not repeat its draws."""
        seed = trial_seed(self._plan.seed, number) % 2**32
        if number < len(self._plan.space.presets) + RANDOM_TRIALS:
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=1)

    def _hold(self, frozen: FrozenTrial, holder: str) -> Claim:
        held_by, death = f"{self._session}/{holder}", _death(frozen)
        if death is not None and death.by == held_by:  # whose next death is another
            self._record_death(frozen.number, replace(death, by=""))
        self._set(frozen, HOLDER, held_by)
        return self._claim(self._complete(frozen))

    def _complete(self, frozen: FrozenTrial) -> FrozenTrial:
        """The trial with all its parameters, some of which it may have: they are drawn and stored one by one."""
        if len(frozen.params) < len(self._distributions):
            sampler = self._study.sampler = self._sampler(frozen.number)
            presets = self._plan.space.presets
            preset = presets[frozen.number] if frozen.number < len(presets) else {}
            trial = self._trial(frozen)
            for name, distribution in self._distributions.items():
                if name in preset:
                    internal = distribution.to_internal_repr(preset[name])
                    self._study._storage.set_trial_param(frozen._trial_id, name, internal, distribution)
                elif name in frozen.params:
                    # So that the next one is not the draw that this one was.
                    sampler.sample_independent(self._study, frozen, name, distribution)
                else:
                    trial._suggest(name, distribution)
        return self._frozen(frozen.number)

    def _claim(self, frozen: FrozenTrial) -> Claim:
        seed = trial_seed(self._plan.seed, frozen.number)
        trial = Trial(frozen.number, seed, self._plan.space.hyper(frozen.params))
        return Claim(trial, dict(frozen.params), _is_suspected(frozen), frozen.last_step or 0)

    def _is_held(self, frozen: FrozenTrial, holder: str | None = None) -> bool:
        held_by: str = frozen.user_attrs.get(HOLDER, "")
        return held_by == f"{self._session}/{holder}" if holder is not None else held_by.startswith(f"{self._session}/")

    def _fenced(self, holder: str, number: int) -> FrozenTrial:
        frozen = self._frozen(number)
        if frozen.state.is_finished() or not self._is_held(frozen, holder):
            label = self._plan.label(number)
            raise PermissionError(f"trial {label} is no longer held by {holder}: it was handed to another process")
        return frozen

    def _set(self, frozen: FrozenTrial, attribute: str, value: Any) -> None:
        self._study._storage.set_trial_user_attr(frozen._trial_id, attribute, value)

    def _trial(self, frozen: FrozenTrial) -> optuna.Trial:
        return optuna.Trial(self._study, frozen._trial_id)

    def _frozen(self, number: int) -> FrozenTrial:
        # Not out of all of them: of those that have not ended, each would be read from the database again.
        storage = self._study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state is TrialState.RUNNING]

    def _trials(self) -> list[FrozenTrial]:
        """Those of the plan: where a database went away, there may be one more."""
        return self._study.get_trials(deepcopy=False)[: self._plan.trials]


def open_study(name: str, storage_url: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study of this name, made if it is not there. Raises `UserError` if the storage cannot be opened."""
    with _opening(storage_url):
        return optuna.create_study(study_name=name, storage=_storage(storage_url), pruner=pruner, load_if_exists=True)


def read_rows(plan: Plan, storage_url: str) -> list[Row]:
    """How each trial of a plan stands, from storage alone. Raises `UserError` if the study is not there."""
    with _opening(storage_url):
        study = optuna.load_study(study_name=plan.study_name, storage=_storage(storage_url))
        return [row(trial, plan) for trial in study.get_trials()[: plan.trials]]


def _storage(url: str) -> optuna.storages.RDBStorage:
    # A connection to a server may have been cut since it was last used: it is tried first, and made anew.
    return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


def _place(storage_url: str) -> str:
    return shown(storage_url).split("@")[-1]


@contextlib.contextmanager
def _opening(storage_url: str) -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the search needs its Optuna storage; {_place(storage_url)!r} gives: "
            f"{without_password(reason, storage_url)}: check --study-storage"
        ) from error


def row(frozen: FrozenTrial, plan: Plan) -> Row:
    step, value = _best(frozen)
    return Row(
        number=frozen.number,
        label=plan.label(frozen.number),
        state=frozen.state.name,
        params=dict(frozen.params),
        value=value,
        best_step=step,
        step=frozen.last_step or 0,
        seconds=frozen.user_attrs.get(SECONDS, 0.0),
        reason=frozen.user_attrs.get(REASON, ""),
        session=frozen.user_attrs.get(HOLDER, "").partition("/")[0],
        test=frozen.user_attrs.get(TEST, {}),
    )


def _death(frozen: FrozenTrial) -> Death | None:
    faults = frozen.user_attrs.get(FAULTS, 0)
    if faults and DEATH not in frozen.user_attrs:
        return deaths.unrecorded(frozen.last_step or 0, faults)
    return Death.from_json(frozen.user_attrs.get(DEATH))


def _has_died_out(frozen: FrozenTrial) -> bool:
    return any(frozen.user_attrs.get(counted, 0) >= most for counted, most in MOST.items())


def _is_suspected(frozen: FrozenTrial) -> bool:
    """Whether it has made no further report since the death that made it suspected."""
    death = _death(frozen)
    return death is not None and death.suspected and death.step == (frozen.last_step or 0)


def _best(frozen: FrozenTrial) -> tuple[int, float]:
    """Step and value of the best report so far; (0, NaN) before the first."""
    reports = frozen.intermediate_values.items()
    return min(reports, key=lambda item: (math.isnan(item[1]), item[1], item[0]), default=(0, math.nan))


def as_distribution(bounds: Range) -> BaseDistribution:
    """A range as Optuna has it."""
    if bounds.whole:
        return IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log)
    return FloatDistribution(bounds.low, bounds.high, log=bounds.log)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Best first; trials without a value last."""
    return sorted(rows, key=lambda each: (math.isnan(each.value), each.value, each.number))
