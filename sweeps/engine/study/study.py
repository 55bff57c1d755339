"""The study, as it is asked and told by whoever trains.

The study is the truth of a sweep. Every trial it has asked is COMPLETE, PRUNED or FAIL in the end;
until then it is held by one cohort, or waits to be held again. One object of this class serves all
cohorts (as a Ray actor), so its methods need no locks.

Where the storage is a server that goes away, each method waits for it and is then done again. So each first reads what
it starts from and then writes, and to write once more what has arrived already changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import optuna

from sweeps.engine.plan.plan import ETA, Plan
from sweeps.engine.study.attributes import FAULTS, HOLDER, LOSSES
from sweeps.engine.study.claims import Claim, Claims
from sweeps.engine.study.narrowing import Narrowing
from sweeps.engine.study.patience import Patience
from sweeps.engine.study.pruner import HalvingPruner
from sweeps.engine.study.releases import Released, Releases
from sweeps.engine.study.reports import Reports
from sweeps.engine.study.rows import Row, row
from sweeps.engine.study.storage import open_study, place
from sweeps.engine.study.trials import Trials


class Study:
    """Asks, reports, prunes and tells the trials of a plan."""

    def __init__(self, plan_json: Mapping[str, Any], storage_url: str, session: str) -> None:
        """`session` names the driver: what an earlier one held waits to be held again.

        Raises `UserError` if the storage cannot be opened; every method raises `ConnectionError` if it stays away.
        """
        plan = Plan.from_json(plan_json)
        self._patience = Patience(place(storage_url))
        self._notes: dict[str, tuple[str, bool]] = {}
        self._nodes: dict[str, str] = {}
        pruner = HalvingPruner(plan.grid, ETA) if plan.pruning else optuna.pruners.NopPruner()
        self._trials = Trials(plan, session, open_study(plan.study_name, storage_url, pruner))
        self._narrowing = Narrowing(self._trials)
        self._claims = Claims(self._trials, self._narrowing)
        self._reports, self._releases = Reports(self._trials), Releases(self._trials)

    def claim(self, holder: str, count: int, processes: int = 1) -> list[Claim]:
        """Up to `count` trials for this holder: interrupted ones first, then new ones; empty if none waits now.

        A trial that is suspected (`deaths`) is handed out alone, and to a holder that has no other, so that no
        neighbour suffers. A holder that has none gets no more than `lanes` says, and than its share where the trials
        that are left are for so many processes.
        """
        before = {claim.trial.number for claim in self.held(holder)}
        return self._patience.wait(lambda: self._claims.more(holder, count, processes, before))

    def began(self, holder: str, node: str) -> list[Claim]:
        """The trials of this holder, which says on which node its process is."""
        self._nodes[holder] = node
        return self.held(holder)

    def held(self, holder: str) -> list[Claim]:
        """The unfinished trials of this holder."""
        return self._patience.wait(lambda: self._claims.held(holder))

    def check(self, holder: str, numbers: Sequence[int]) -> None:
        """Raises `PermissionError` if the holder no longer holds one of these trials."""
        self._patience.wait(lambda: [self._trials.fenced(holder, number) for number in numbers])

    def report(
        self, holder: str, values: Mapping[int, tuple[int, float]], seconds: Mapping[int, float]
    ) -> dict[int, bool]:
        """Record (step, value) by trial number, all before any is judged; whether each is to be stopped.

        `seconds` of training by trial number are added up. A value already recorded is left as it is, and so
        is its verdict: a trial that resumes does not meet those that reported since. Raises `PermissionError`
        if the holder no longer holds a trial.
        """
        totals = self._patience.wait(lambda: self._reports.totals(holder, values, seconds))
        return self._patience.wait(lambda: self._reports.record(values, totals))

    def finish(
        self, holder: str, number: int, state: str, reason: str, test: Mapping[str, float] | None = None
    ) -> None:
        """End a trial: COMPLETE with its best value, PRUNED, or FAIL. Raises `PermissionError` as `report` does.

        test: what a confirming trial scores on the test split. To say the same again does nothing.
        """
        self._patience.wait(lambda: self._reports.finish(holder, number, state, reason, test))

    def note(self, holder: str, reason: str, leaves: bool = False) -> None:
        """Why this holder's process is about to end, if it can still say so; `leaves`: by no fault of its trials."""
        self._notes[holder] = reason, leaves

    def hand_back(self, holder: str, numbers: Collection[int]) -> None:
        """Those of these trials that the holder still holds wait again, without a fault."""
        self._patience.wait(lambda: self._hand_back(holder, numbers))

    def _hand_back(self, holder: str, numbers: Collection[int]) -> None:
        for frozen in self._trials.held(holder):
            if frozen.number in numbers:
                self._trials.set(frozen, HOLDER, "")

    def narrow(self, holder: str, lanes: int, said: str) -> list[Claim]:
        """A cohort ran out of memory and goes on with so many lanes, as does each that this session starts from now on.

        said: tells a person. Returns the trials that the holder goes on with; those beyond its lanes wait again.
        """
        self._patience.wait(lambda: self._narrowing.narrow(holder, lanes, said))
        held = self.held(holder)
        self.hand_back(holder, [claim.trial.number for claim in held[lanes:]])
        return held[:lanes]

    def lanes(self, most: int) -> int:
        """How many lanes a new cohort has: `most`, or as few as one of this session has had to do with."""
        return self._patience.wait(lambda: self._narrowing.lanes(most))

    def said(self) -> list[str]:
        """What this session's cohorts have told of themselves, in order."""
        return self._patience.wait(lambda: [said for _, _, said in self._narrowing.told()])

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
        found = self._patience.wait(lambda: self._releases.due(holder, counted, count, why))
        # Before any waits again: done again by another process, this finds how many there were of those that it left.
        for each in found:
            if each.death is not None:
                self._patience.wait(partial(self._releases.record_death, each.told.number, each.death))
        if (death := next((each.death for each in found), None)) is not None:
            self._patience.wait(partial(self._narrowing.weigh, holder, death))
        for each in found:
            self._patience.wait(partial(self._releases.carry_out, each, counted))
        ended = self._patience.wait(lambda: self._releases.ended(holder))
        told = {each.number: each for each in [*ended, *(each.told for each in found)]}
        return [told[number] for number in sorted(told)]

    def is_done(self) -> bool:
        """Whether all trials have been asked and have ended."""
        trials = self._patience.wait(self._trials.all)
        return len(trials) >= self._trials.plan.trials and all(trial.state.is_finished() for trial in trials)

    def rows(self) -> list[Row]:
        """How each trial stands, by number."""
        return self._patience.wait(lambda: [row(trial, self._trials.plan) for trial in self._trials.all()])
