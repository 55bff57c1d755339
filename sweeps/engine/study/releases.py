"""Trials whose holder is gone: they wait again, or have died too often."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState

from sweeps.engine.study import deaths
from sweeps.engine.study.attributes import DEATH, HOLDER, LOSSES, REASON
from sweeps.engine.study.deaths import MOST, Death, death_of, has_died_out
from sweeps.engine.study.trials import Trials


@dataclass(frozen=True)
class Released:
    """A trial whose process ended after `step` critic updates; `has_failed`: it died too often."""

    number: int
    step: int
    reason: str
    has_failed: bool


@dataclass(frozen=True)
class Release:
    """What is told of a trial, its faults or losses then, and the record of the death if it was one."""

    told: Released
    times: int
    death: Death | None


class Releases:
    """In steps that can each be done again."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def due(self, holder: str, counted: str, count: int, why: str) -> list[Release]:
        """Of each trial that the holder holds. counted: faults or losses; count: how many more, 0 or 1."""
        held = self._trials.held(holder)
        found = []
        for frozen in held:
            times, reason, death, before = frozen.user_attrs.get(counted, 0), why, None, death_of(frozen)
            step = frozen.last_step or 0
            if count and counted == LOSSES:
                times += 1
                reason = f"its node was lost ({times} so far)"
            elif count:
                faults = before.faults if before else 0
                death = deaths.after(before, self._trials.by(holder), len(held), step, faults)
                times, reason = death.faults, death.reason(why)
            told = Released(frozen.number, step, reason, bool(count) and times >= MOST[counted])
            found.append(Release(told, times, death))
        return found

    def record_death(self, number: int, death: Death) -> None:
        self._trials.set(self._trials.frozen(number), DEATH, death.as_json())

    def carry_out(self, release: Release, counted: str) -> None:
        """The trial waits again, or ends."""
        frozen = self._trials.frozen(release.told.number)
        if frozen.state.is_finished():
            return
        if frozen.user_attrs.get(counted, 0) != release.times:
            self._trials.set(frozen, counted, release.times)
        if release.told.has_failed:  # and stays held: let go before its end, it could be handed out once more
            self._trials.end(frozen, TrialState.FAIL, release.told.reason)
        else:
            self._trials.set(frozen, HOLDER, "")

    def ended(self, holder: str) -> list[Released]:
        """Those that this holder's death has ended, also where who told of it died before it was heard."""
        return [
            Released(each.number, each.last_step or 0, each.user_attrs[REASON], has_failed=True)
            for each in self._trials.all()
            if each.state is TrialState.FAIL and self._trials.is_held(each, holder) and has_died_out(each)
        ]
