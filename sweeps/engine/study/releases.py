"""Release of trials whose holder is gone: they wait again, or fail if they died too often."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState

from sweeps.engine.study import deaths
from sweeps.engine.study.attributes import DEATH, HOLDER, LOSSES, REASON
from sweeps.engine.study.deaths import MOST, Death, death_of, has_died_out
from sweeps.engine.study.trials import Trials


@dataclass(frozen=True)
class Released:
    """A trial whose process ended. `step` counts critic updates; `has_failed` says that it died too often."""

    number: int
    step: int
    reason: str
    has_failed: bool


@dataclass(frozen=True)
class Release:
    """A trial to release, and its new number of faults or losses. `death` is None unless the process itself died."""

    told: Released
    times: int
    death: Death | None


class Releases:
    """Steps of a release. Each step can be repeated without harm."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def due(self, holder: str, counted: str, count: int, why: str) -> list[Release]:
        """Compute the release of each trial that a holder holds, without writing anything.

        Args:
            holder: The holder that is gone.
            counted: Attribute to count up: `FAULTS` or `LOSSES`.
            count: Increment, 0 or 1.
            why: Reason that the process gave, if it could give one.
        """
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
        """Let a trial wait again, or end it if it died too often."""
        frozen = self._trials.frozen(release.told.number)
        if frozen.state.is_finished():
            return
        if frozen.user_attrs.get(counted, 0) != release.times:
            self._trials.set(frozen, counted, release.times)
        if release.told.has_failed:  # keep its holder: a trial without one could be handed out before its end
            self._trials.end(frozen, TrialState.FAIL, release.told.reason)
        else:
            self._trials.set(frozen, HOLDER, "")

    def ended(self, holder: str) -> list[Released]:
        """Return the trials that failed with this holder, including those of an earlier call whose answer was lost."""
        return [
            Released(each.number, each.last_step or 0, each.user_attrs[REASON], has_failed=True)
            for each in self._trials.all()
            if each.state is TrialState.FAIL and self._trials.is_held(each, holder) and has_died_out(each)
        ]
