"""Cohorts that had to do with fewer lanes, and those that have fewer for it."""

from __future__ import annotations

from sweeps.engine.study.attributes import FAULTS, NARROWED, SUSPECTS
from sweeps.engine.study.deaths import Death, death_of
from sweeps.engine.study.trials import Trials


class Narrowing:
    """Of this session: an earlier one may have had less memory, or more."""

    def __init__(self, trials: Trials) -> None:
        self._trials, self._study = trials, trials.study

    def narrow(self, holder: str, lanes: int, said: str) -> None:
        """A cohort goes on with so many lanes. said: tells a person. To say the same again does nothing."""
        told = [self._trials.session, holder, lanes, said]
        before = self._study.user_attrs.get(NARROWED, [])
        if told not in before:
            self._study.set_user_attr(NARROWED, [*before, told])

    def told(self) -> list[tuple[str, int, str]]:
        """Holder, lanes and what is told, in order."""
        every = self._study.user_attrs.get(NARROWED, [])
        return [told for session, *told in every if session == self._trials.session]

    def lanes(self, most: int) -> int:
        """How many lanes a new cohort has: `most`, or as few as one has had to do with."""
        return min([most, *(lanes for _, lanes, _ in self.told())])

    def weigh(self, holder: str, death: Death) -> None:
        """Have fewer lanes if a cohort dies of which each suspect of the death before got past its place alone.

        A process that the system kills for want of memory cannot say so, and would be filled and killed again for ever.
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
        """Whether a suspect of that step has made a further report, or has ended without a death alone."""
        frozen = self._trials.frozen(number)
        return (frozen.last_step or 0) > step or (frozen.state.is_finished() and not frozen.user_attrs.get(FAULTS))


def width_for(trials: int, most: int) -> int:
    """The lanes on which so many trials, at most `most`, are trained: the next power of two, or `most` if that is less.

    It depends on nothing else, so that a sweep that was interrupted goes on as it would have; and it takes few values,
    as another number of lanes may cost a new compilation or capture.
    """
    return min(1 << max(0, trials - 1).bit_length(), most)
