"""Number of lanes of new cohorts, after cohorts ran out of memory."""

from __future__ import annotations

from sweeps.engine.study.attributes import FAULTS, NARROWED, SUSPECTS
from sweeps.engine.study.deaths import Death, death_of
from sweeps.engine.study.trials import Trials


class Narrowing:
    """Reductions of lanes in this session. Earlier sessions do not count: their memory may have differed."""

    def __init__(self, trials: Trials) -> None:
        self._trials, self._study = trials, trials.study

    def narrow(self, holder: str, lanes: int, said: str) -> None:
        """Record that a cohort goes on with fewer lanes, and a message for the user. A repeated call does nothing."""
        told = [self._trials.session, holder, lanes, said]
        before = self._study.user_attrs.get(NARROWED, [])
        if told not in before:
            self._study.set_user_attr(NARROWED, [*before, told])

    def told(self) -> list[tuple[str, int, str]]:
        """Return holder, lanes and message of each reduction, oldest first."""
        every = self._study.user_attrs.get(NARROWED, [])
        return [told for session, *told in every if session == self._trials.session]

    def lanes(self, most: int) -> int:
        """Return the lanes of a new cohort: `most`, or the smallest lane count that any cohort was reduced to."""
        return min([most, *(lanes for _, lanes, _ in self.told())])

    def weigh(self, holder: str, death: Death) -> None:
        """Halve the lanes if a cohort dies again although every suspect of the last death got past its step alone.

        The system kills a process that takes too much memory without an error that the process could report. With the
        same number of lanes, the next process would be killed too, without end.
        """
        if death.trials == 1:
            return
        width = width_for(death.trials, 2 * death.trials)
        kept = self._study.user_attrs.get(SUSPECTS, {})
        session, places = kept.get(str(width), ("", {}))
        if session == self._trials.session and all(self._got_past(int(n), step) for n, step in places.items()):
            if self.lanes(width) > width // 2:
                said = f"a process of {death.trials} trials died again, and each trial alone did not"
                self.narrow(holder, width // 2, f"{said}: {width // 2} lanes from now on")
            return
        found = {each.number: death_of(each) for each in self._trials.all()}
        suspects = {n: each.step for n, each in found.items() if each and each.by == death.by and each.suspected}
        if suspects:
            self._study.set_user_attr(SUSPECTS, {**kept, str(width): [self._trials.session, suspects]})

    def _got_past(self, number: int, step: int) -> bool:
        """Return whether a suspect has reported after `step`, or has ended without a death of its own."""
        frozen = self._trials.frozen(number)
        return (frozen.last_step or 0) > step or (frozen.state.is_finished() and not frozen.user_attrs.get(FAULTS))


def width_for(trials: int, most: int) -> int:
    """Return the lanes for a number of trials: the next power of two, or `most` if that is less.

    The result depends on nothing else, so an interrupted sweep goes on with the same lanes. Powers of two keep the
    number of different results small, because each may need a new compilation or graph capture.
    """
    return min(1 << max(0, trials - 1).bit_length(), most)
