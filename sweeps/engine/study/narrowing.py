"""Number of lanes of new cohorts, after cohorts ran out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.engine.study.attributes import NARROWED
from sweeps.engine.study.trials import Trials


class Narrowing:
    """Reductions of lanes in this session. Earlier sessions do not count: their memory may have differed."""

    def __init__(self, trials: Trials) -> None:
        self._trials, self._study = trials, trials.study

    def narrow(self, holder: str, lanes: int, said: str) -> None:
        """Store that a cohort goes on with fewer lanes, and a message for the user. A repeated call does nothing.

        Call it while the holder holds the cohort's trials: the reduction is for their structure.
        """
        held = self._trials.held(holder)
        settings = self._trials.plan.space.settings(held[0].params) if held else {}
        told = [self._trials.session, holder, lanes, said, settings]
        before = self._study.user_attrs.get(NARROWED, [])
        if told not in before:
            self._study.set_user_attr(NARROWED, [*before, told])

    def told(self) -> list[tuple[str, int, str, Mapping[str, Any]]]:
        """Return holder, lanes, message and settings of the structure of each reduction, oldest first."""
        every = self._study.user_attrs.get(NARROWED, [])
        return [told for session, *told in every if session == self._trials.session]

    def lanes(self, most: int, settings: Mapping[str, float | str]) -> int:
        """Return the lanes of a new cohort: `most`, or the smallest that a cohort of its settings was reduced to."""
        return min([most, *(lanes for _, lanes, _, of in self.told() if of == settings)])

    def halve(self, holder: str, trials: int) -> None:
        """Halve the lanes after a cohort of so many trials died, unless new cohorts already have fewer lanes."""
        width, held = width_for(trials, 2 * trials), self._trials.held(holder)
        settings = self._trials.plan.space.settings(held[0].params) if held else {}
        if self.lanes(width, settings) > width // 2:
            said = f"a process of {trials} trials died again, and each trial alone did not"
            self.narrow(holder, width // 2, f"{said}: {width // 2} lanes from now on")


def width_for(trials: int, most: int) -> int:
    """Return the lanes for a number of trials: the next power of two, or `most` if that is less.

    The result depends on nothing else, so an interrupted sweep goes on with the same lanes. Powers of two keep the
    number of different results small, because each may need a new compilation or graph capture.
    """
    return min(1 << max(0, trials - 1).bit_length(), most)
