"""Release of trials whose holder is gone: they wait again, or fail if they died too often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from sweeps.engine.study.attributes import DEATH, HOLDER, REASON
from sweeps.engine.study.deaths import Death, death_of, has_too_many_lanes
from sweeps.engine.study.narrowing import Narrowing
from sweeps.engine.study.trials import Trials


@dataclass(frozen=True)
class Released:
    """A trial whose process ended. `step` counts critic updates; `has_failed` says that it died too often."""

    number: int
    step: int
    reason: str
    has_failed: bool


class Releases:
    """Steps of a release. Each step can be repeated without harm."""

    def __init__(self, trials: Trials, narrowing: Narrowing) -> None:
        self._trials, self._narrowing = trials, narrowing

    def due(self, holder: str, why: str, died: bool, lost: bool) -> list[tuple[Released, Death]]:
        """Return the release and the new `Death` of each trial that a holder holds, without writing anything.

        Args:
            holder: The holder that is gone.
            why: Reason that the process gave, if it could give one.
            died: The holder died, or its node was lost.
            lost: Its node was lost.
        """
        held, by = self._trials.held(holder), self._trials.by(holder)
        found = []
        for frozen in held:
            death, step, reason = death_of(frozen), frozen.last_step or 0, why
            if lost:
                death = death.lost(by)
                reason = f"its node was lost ({death.losses} so far)"
            elif died:
                death = death.died(by, len(held), step)
                reason = death.reason(why)
            found.append((Released(frozen.number, step, reason, died and death.is_final), death))
        return found

    def halve_lanes(self, holder: str) -> None:
        """Halve the lanes if the holder died of too many. Call it before the new deaths are stored."""
        held = self._trials.held(holder)
        if has_too_many_lanes(held, self._trials.running()):
            self._narrowing.halve(holder, len(held))

    def store(self, due: Sequence[tuple[Released, Death]]) -> None:
        """Store all deaths before any trial waits again. A repeated release then knows how many died together."""
        for released, death in due:
            frozen = self._trials.frozen(released.number)
            if death_of(frozen) != death:
                self._trials.set(frozen, DEATH, death.as_json())

    def carry_out(self, due: Sequence[tuple[Released, Death]]) -> None:
        """Let the trials wait again, or end those that died too often."""
        for released, _ in due:
            frozen = self._trials.frozen(released.number)
            if frozen.state.is_finished():
                continue
            if released.has_failed:  # keep its holder: a trial without one could be handed out before its end
                self._trials.end(frozen, TrialState.FAIL, released.reason)
            else:
                self._trials.set(frozen, HOLDER, "")

    def ended(self, holder: str) -> list[Released]:
        """Return the trials that failed with this holder, including those of an earlier call whose answer was lost."""
        return [
            Released(each.number, each.last_step or 0, each.user_attrs[REASON], has_failed=True)
            for each in self._trials.all()
            if each.state is TrialState.FAIL and self._trials.is_held(each, holder) and death_of(each).is_final
        ]
