"""Rules for the trials of a process that died.

If a process dies, nobody knows which trial of its cohort was the cause, so all of them wait to be retried. If the
processes of a trial die twice before its next report, the trial is suspected and trains alone until that report. A
death while it trains alone is its own fault. If every suspect of a death got past its step alone, no trial was the
cause. The cohort is then taken to need more memory than there is, though no out-of-memory error was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from optuna.trial import FrozenTrial

from sweeps.engine.study.attributes import DEATH, FAULTS, LOSSES

MAX_FAULTS = 3
# Losses are limited too, because a trial may be what brings its nodes down.
MAX_LOSSES = 10
MOST = {FAULTS: MAX_FAULTS, LOSSES: MAX_LOSSES}


@dataclass(frozen=True)
class Death:
    """Last death of a trial's process, as the study stores it.

    Attributes:
        by: Holder that died, as "session/holder".
        trials: Number of trials that it held.
        step: Critic updates at the trial's last report before the death.
        suspected: The trial must train alone until its next report.
        faults: Deaths while the trial trained alone, this one included.
    """

    by: str
    trials: int
    step: int
    suspected: bool
    faults: int

    def reason(self, why: str) -> str:
        """Format the message for the user. `why` is the error that the process reported, if it could report one."""
        if self.trials == 1:
            return f"its process died {self.faults} times, the last time: {why}"
        if self.suspected:
            again = "the second time before a further report, up to which each is now trained alone"
            return f"a process of {self.trials} trials died, {again}: {why}"
        return f"a process of {self.trials} trials died: {why}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Self | None:
        return None if values is None else cls(**values)


def after(before: Death | None, by: str, trials: int, step: int, faults: int) -> Death:
    """Return a trial's record after its holder died. A second call for the same death returns the same record.

    Args:
        before: Previous record, or None.
        by: Holder that died.
        trials: Number of trials that it held.
        step: Critic updates at the trial's last report.
        faults: Earlier deaths while the trial trained alone.
    """
    if before is not None and before.by == by:
        return before
    alone, again = trials == 1, before is not None and before.step == step
    return Death(by, trials, step, alone or again, faults + alone)


def death_of(frozen: FrozenTrial) -> Death | None:
    """Return the last death of the trial's process, or None."""
    return Death.from_json(frozen.user_attrs.get(DEATH))


def is_suspected(frozen: FrozenTrial) -> bool:
    """Return whether the trial is suspected and has not reported since that death."""
    death = death_of(frozen)
    return death is not None and death.suspected and death.step == (frozen.last_step or 0)


def has_died_out(frozen: FrozenTrial) -> bool:
    """Return whether the trial has reached its limit of faults or losses."""
    return any(frozen.user_attrs.get(counted, 0) >= most for counted, most in MOST.items())
