"""What the death of a process says about the trials that it trained.

A cohort dies as one, and which of its trials did it is not known: they wait again, together. The second time that a
trial's process dies before its next report, the trial is suspected, and trained alone until that report. A death alone
is the trial's own fault. If all suspects of a death got past their places alone, no trial did it: as many side by side
are taken to be more than the memory holds, though nobody could say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from optuna.trial import FrozenTrial

from sweeps.engine.study.attributes import DEATH, FAULTS, LOSSES

MAX_FAULTS = 3
# A trial that takes its node down with it is stopped at last.
MAX_LOSSES = 10
MOST = {FAULTS: MAX_FAULTS, LOSSES: MAX_LOSSES}


@dataclass(frozen=True)
class Death:
    """The last death of a trial's process, as the study keeps it of the trial.

    by: the holder that died. trials: how many it held. step: where the trial's last report stood.
    suspected: whether it is to be trained alone until its next one. faults: its deaths alone, this one among them.
    """

    by: str
    trials: int
    step: int
    suspected: bool
    faults: int

    def reason(self, why: str) -> str:
        """What a person is told; why: what the process said, if it still could."""
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


def unrecorded(step: int, faults: int) -> Death:
    """Of a trial that was left by a version which counted deaths alone: the place of the last one is not known."""
    return Death("", 1, step, True, faults)


def after(before: Death | None, by: str, trials: int, step: int, faults: int) -> Death:
    """A trial's record after its holder died, which held so many trials; of the same death it is always the same.

    before: the record before, if there was one. faults: how often the trial had died alone.
    """
    if before is not None and before.by == by:
        return before
    alone, again = trials == 1, before is not None and before.step == step
    return Death(by, trials, step, alone or again, faults + alone)


def death_of(frozen: FrozenTrial) -> Death | None:
    """The last death of the trial's process, if it had one."""
    faults = frozen.user_attrs.get(FAULTS, 0)
    if faults and DEATH not in frozen.user_attrs:
        return unrecorded(frozen.last_step or 0, faults)
    return Death.from_json(frozen.user_attrs.get(DEATH))


def is_suspected(frozen: FrozenTrial) -> bool:
    """Whether it has made no further report since the death that made it suspected."""
    death = death_of(frozen)
    return death is not None and death.suspected and death.step == (frozen.last_step or 0)


def has_died_out(frozen: FrozenTrial) -> bool:
    """Whether it died as often as a trial may."""
    return any(frozen.user_attrs.get(counted, 0) >= most for counted, most in MOST.items())
