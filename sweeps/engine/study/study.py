"""Ray actor around the Optuna study, which all cohorts of a sweep share.

The study is the authoritative state of a sweep. Every trial that it creates ends as COMPLETE, PRUNED or FAIL. Until
then one holder holds the trial, or the trial waits for a holder. One actor serves all cohorts, so its methods need no
locks.

If the storage is a server and the server goes away, each method waits and is then retried. A retry may repeat writes
that already arrived. So each method first reads all that it needs, and repeating its writes changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence

import optuna

from sweeps.engine.plan.plan import ETA, Plan
from sweeps.engine.study.attributes import HOLDER
from sweeps.engine.study.claims import Claim, Claims
from sweeps.engine.study.narrowing import Narrowing
from sweeps.engine.study.pruner import HalvingPruner
from sweeps.engine.study.releases import Released, Releases
from sweeps.engine.study.reports import Reports, Verdict
from sweeps.engine.study.retries import Retries
from sweeps.engine.study.rows import Row, row
from sweeps.engine.study.storage import open_study, place
from sweeps.engine.study.trials import Trials


class Study:
    """Study of a plan: hands out its trials, stores and judges their reports, and ends them."""

    def __init__(self, plan: Plan, storage_url: str, session: str, until: float = math.inf) -> None:
        """Open the study of a plan. Trials that holders of an earlier session held wait for a new holder.

        Args:
            plan: The plan.
            storage_url: URL of the Optuna storage.
            session: Name of the driver's session.
            until: Time of `time.monotonic` from which no trial is handed out, and reports pause their trials.

        Raises:
            UserError: The storage cannot be opened. Later, every method raises `ConnectionError` if it stays away.
        """
        self._retries = Retries(place(storage_url))
        self._notes: dict[str, tuple[str, bool]] = {}
        self._nodes: dict[str, str] = {}
        self._until = until
        pruner = HalvingPruner(plan.grid, ETA) if plan.pruning else optuna.pruners.NopPruner()
        self._trials = Trials(plan, session, open_study(plan.study_name, storage_url, pruner, plan.trials))
        self._retries.call(self._trials.check)
        self._narrowing = Narrowing(self._trials)
        self._claims = Claims(self._trials, self._narrowing)
        self._reports, self._releases = Reports(self._trials), Releases(self._trials, self._narrowing)

    def claim(self, holder: str, count: int, processes: int = 1) -> list[Claim]:
        """Hand out up to `count` trials: interrupted ones first, then new ones.

        Return an empty list if none waits, or if the time is up.

        All trials of a holder have the same structure. A suspected trial (`deaths`) goes alone to a holder without
        other trials, so that it cannot end the training of neighbours. A holder without trials gets at most `lanes`
        trials, and at most its share of the remaining ones.

        Args:
            holder: The holder that asks.
            count: Most trials to hand out.
            processes: Number of processes that share the remaining trials.
        """
        if self._is_time_up():
            return []
        before = {claim.trial.number for claim in self.held(holder)}
        return self._retries.call(lambda: self._claims.more(holder, count, processes, before))

    def began(self, holder: str, node: str) -> list[Claim]:
        """Note on which node the holder runs, and return its trials; none if the time is up before it begins."""
        self._nodes[holder] = node
        held = self.held(holder)
        if self._is_time_up():
            self.hand_back(holder, [claim.trial.number for claim in held])
            return []
        return held

    def held(self, holder: str) -> list[Claim]:
        """Return the unfinished trials of this holder."""
        return self._retries.call(lambda: self._claims.held(holder))

    def check(self, holder: str, numbers: Sequence[int]) -> None:
        """Raise `PermissionError` if the holder no longer holds one of these trials."""
        self._retries.call(lambda: [self._trials.fenced(holder, number) for number in numbers])

    def report(
        self,
        holder: str,
        values: Mapping[int, tuple[int, float]],
        seconds: Mapping[int, float],
        beside: Mapping[int, Mapping[str, float]] | None = None,
    ) -> dict[int, Verdict]:
        """Store the reports of several trials, then judge each trial.

        A stored value and its verdict stay as they are. So a resumed trial is not judged against trials that
        reported later. Once the time is up, each trial that would go on is paused: its holder hands it back.

        Args:
            holder: The holder that reports.
            values: Step in critic updates and value of the objective, by trial number.
            seconds: Training time since the last report, by trial number.
            beside: Scores that are shown beside the value, by trial number and short name.

        Returns:
            The verdict on each trial, by trial number.

        Raises:
            PermissionError: The holder no longer holds one of the trials.
        """
        totals = self._retries.call(lambda: self._reports.totals(holder, values, seconds))
        verdicts = self._retries.call(lambda: self._reports.store(values, totals, beside or {}))
        if not self._is_time_up():
            return verdicts
        return {number: verdict or Verdict.PAUSE for number, verdict in verdicts.items()}

    def finish(
        self, holder: str, number: int, state: str, reason: str, test: Mapping[str, float] | None = None
    ) -> None:
        """End a trial as COMPLETE with its best value, PRUNED or FAIL. A repeated call does nothing.

        `test` holds a confirming trial's scores on the test split. Raises `PermissionError` as `report` does.
        """
        self._retries.call(lambda: self._reports.finish(holder, number, state, reason, test))

    def note(self, holder: str, reason: str, leaves: bool = False) -> None:
        """Note why this holder's process is about to end. `leaves` says that its trials are not at fault."""
        self._notes[holder] = reason, leaves

    def hand_back(self, holder: str, numbers: Collection[int]) -> None:
        """Let the given trials wait again, without a fault. Ignore trials that the holder no longer holds."""
        self._retries.call(lambda: self._hand_back(holder, numbers))

    def _hand_back(self, holder: str, numbers: Collection[int]) -> None:
        for frozen in self._trials.held(holder):
            if frozen.number in numbers:
                self._trials.set(frozen, HOLDER, "")

    def narrow(self, holder: str, lanes: int, said: str) -> list[Claim]:
        """Reduce a cohort that ran out of memory to `lanes` lanes, and later cohorts of its structure in this session.

        `said` is a message for the user. Return the trials that the holder keeps; its other trials wait again.
        """
        self._retries.call(lambda: self._narrowing.narrow(holder, lanes, said))
        held = self.held(holder)
        self.hand_back(holder, [claim.trial.number for claim in held[lanes:]])
        return held[:lanes]

    def lanes(self, most: int, settings: Mapping[str, float | str] | None = None) -> int:
        """Return the lanes of a new cohort: `most`, or the smallest that a cohort of its settings in this session has.

        `settings` are those of the structure that the sweep searches.
        """
        return self._retries.call(lambda: self._narrowing.lanes(most, settings or {}))

    def said(self) -> list[str]:
        """Return the messages about reduced cohorts of this session, oldest first."""
        return self._retries.call(lambda: [said for _, _, said, _ in self._narrowing.told()])

    def release(self, holder: str, died: bool, lost: Collection[str] = ()) -> list[Released]:
        """Let the holder's unfinished trials wait again, or end them as FAIL if they died too often.

        If the process ran on a lost node, its trials count a loss instead of a fault. If its node is not known and any
        node was lost, they count a loss too. More losses than faults are allowed, because a trial rarely causes a loss.

        Args:
            holder: The holder whose Tune trial has ended.
            died: The Tune trial ended with an error.
            lost: Ids of the nodes lost since the trials were handed out.

        Returns:
            The released trials and the failed trials of this holder, by number.
        """
        why, leaves = self._notes.pop(holder, ("killed, or out of memory", False))
        node = self._nodes.pop(holder, None)
        is_lost = node in lost if node is not None else bool(lost)
        died = died and not leaves
        due = self._retries.call(lambda: self._releases.due(holder, why, died, died and is_lost))
        if died and not is_lost:
            self._retries.call(lambda: self._releases.halve_lanes(holder))
        self._retries.call(lambda: self._releases.store(due))
        self._retries.call(lambda: self._releases.carry_out(due))
        ended = self._retries.call(lambda: self._releases.ended(holder))
        told = {each.number: each for each in [*ended, *(released for released, _ in due)]}
        return [told[number] for number in sorted(told)]

    def is_done(self) -> bool:
        """Return whether all trials of the plan exist and have ended."""
        trials = self._retries.call(self._trials.all)
        return len(trials) >= self._trials.plan.trials and all(trial.state.is_finished() for trial in trials)

    def is_over(self) -> bool:
        """Return whether no trial will be handed out any more: all have ended, or the time is up."""
        return self._is_time_up() or self.is_done()

    def _is_time_up(self) -> bool:
        return time.monotonic() >= self._until

    def rows(self) -> list[Row]:
        """Return the row of each trial, in order of number."""
        return self._retries.call(lambda: [row(trial, self._trials.plan) for trial in self._trials.all()])
