"""The rule for trials whose process died.

Nobody knows which trial of a cohort ended its process. So all of them go on together from their last checkpoints. If a
trial's processes die twice before its next report, the trial is suspected and trains alone until that report. Only a
death while it trains alone is its own fault, and its third fault ends it as FAIL. If a cohort dies although one of its
trials got past its suspicion, and no trial is suspected any more, then too many lanes are the cause, and they are
halved: the system kills a process that takes too much memory without an error that the process could report. The loss
of a node is no fault of its trials. It is counted apart, because a trial may be what brings its nodes down, and the
tenth loss ends the trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from optuna.trial import FrozenTrial

from sweeps.engine.study.attributes import DEATH

MAX_FAULTS = 3
MAX_LOSSES = 10


@dataclass(frozen=True)
class Death:
    """Last death of a trial's process, as the study stores it. The defaults are those of a trial without one.

    Attributes:
        by: Holder that died or was lost last, as "session/holder". Its end is counted only once.
        trials: Number of trials that it held.
        step: Critic updates at the trial's last report before the death.
        suspected: The trial must train alone until its next report.
        faults: Deaths while the trial trained alone.
        losses: Losses of the trial's nodes.
    """

    by: str = ""
    trials: int = 0
    step: int = -1
    suspected: bool = False
    faults: int = 0
    losses: int = 0

    def died(self, by: str, trials: int, step: int) -> Death:
        """Return the new `Death` after the holder `by` of this and `trials` - 1 other trials died."""
        if self.by == by:
            return self
        is_alone = trials == 1
        return Death(by, trials, step, is_alone or self.step == step, self.faults + is_alone, self.losses)

    def lost(self, by: str) -> Death:
        """Return the new `Death` after the node of the holder `by` was lost."""
        return self if self.by == by else replace(self, by=by, losses=self.losses + 1)

    @property
    def is_final(self) -> bool:
        """Return whether the trial has reached its limit of faults or losses."""
        return self.faults >= MAX_FAULTS or self.losses >= MAX_LOSSES

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
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)


def death_of(frozen: FrozenTrial) -> Death:
    return Death.from_json(frozen.user_attrs.get(DEATH, {}))


def is_suspected(frozen: FrozenTrial) -> bool:
    """Return whether the trial is suspected and has not reported since that death."""
    death = death_of(frozen)
    return death.suspected and death.step == (frozen.last_step or 0)


def has_too_many_lanes(held: Sequence[FrozenTrial], running: Sequence[FrozenTrial]) -> bool:
    """Return whether a holder died of its number of lanes.

    Args:
        held: The trials that it held, as they were before this death.
        running: All unfinished trials.
    """
    has_cleared = any(death_of(trial).suspected and not is_suspected(trial) for trial in held)
    return len(held) > 1 and has_cleared and not any(is_suspected(trial) for trial in running)
