"""Trials that a worker holds, from their claim to their end: files, training times, reports and ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.spool import TrialState
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.attributes import COPIES
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.reports import Verdict
from sweeps.engine.worker.holder import Holder
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.scorer import Scorer
from wgan_core.metrics.names import MOST_COPIED, copies
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort, Report

# A trial has collapsed if its spread, or its coverage, was at least the first value at a report, and then is below the
# second value at two reports in a row.
COLLAPSE = {"spread": (0.05, 0.05), "coverage": (0.2, 0.05)}
# Seconds that a process waits for the study before it saves its trials because its node leaves.
SAVES_S = 5.0


class HeldTrials:
    """The trials that this process holds. A trial that has ended or is paused is no longer among them."""

    def __init__(self, job: Job, holder: Holder, scorer: Scorer, machine: str) -> None:
        """Take `machine`, a description of the hardware that trains the trials."""
        self._job, self._holder, self._scorer, self._machine = job, holder, scorer, machine
        # Both by the trial's number. The seconds are the training time so far.
        self._stores: dict[int, TrialStore] = {}
        self._seconds: dict[int, float] = {}
        # By the trial's number and the quantity: whether it was ever high enough, and the step since which it is low.
        self._reached: set[tuple[int, str]] = set()
        self._low: dict[tuple[int, str], int] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._stores

    def start(self, claim: Claim) -> Checkpoint | None:
        """Write the start record of a trial. Return its last checkpoint, if it has one.

        The process may have died after the checkpoint and before the report to the study. So the report is made again,
        which may end or pause the trial. A second report of the same step changes nothing.
        """
        number, objective, found = claim.trial.number, self._job.plan.objective, self._open(claim)
        # An extension begins with reports that its study does not have.
        begins = self._job.plan.extends is not None and found is not None and claim.step < found.critic_updates
        if found is not None and begins:
            for record in self._stores[number].recorded_before(found.critic_updates):
                if record.critic_updates > claim.step:
                    value, shown = record.metrics[objective], self._scorer.beside(record.metrics)
                    self._holder.report({number: (record.critic_updates, value)}, {}, {number: shown})
        if found is not None and objective in found.scores:
            seconds = {number: found.seconds} if begins else {}
            self._judge({number: found.critic_updates}, {number: found.scores}, seconds)
        return found

    def fail(self, claim: Claim, reason: str) -> None:
        """End a trial as FAIL that is not on a lane."""
        found = self._open(claim)
        self._end(claim.trial.number, found.critic_updates if found else 0, "FAIL", reason)

    def forget(self) -> None:
        """Let go of all trials. Another process may continue them, or this one from their last checkpoints."""
        self._stores.clear()
        self._reached.clear()
        self._low.clear()

    def report(self, cohort: Cohort, reports: Sequence[Report]) -> dict[int, tuple[int, float]]:
        """Score and save the trials that reached a report step. End the trials that are stopped, done or failed.

        Trials that are paused are handed back.

        Returns:
            Step in critic updates and value of the objective of each trial with a finite score, by number.
        """
        self._holder.check([report.trial.number for report in reports])
        sound = [report for report in reports if not report.problem]
        for report in sound:
            self._seconds[report.trial.number] += report.seconds
        scored = self._scorer.report(cohort, sound, self._seconds, self._stores)
        for report in reports:
            if report.problem:
                self._end(report.trial.number, report.critic_updates, "FAIL", report.problem)
        steps = {report.trial.number: report.critic_updates for report in sound}
        values = self._judge(steps, scored, {report.trial.number: report.seconds for report in sound})
        for number in values.keys() & self._stores.keys():
            self._stores[number].tidy()
        return values

    def save(self, cohort: Cohort) -> None:
        """Save the state of each trial that has trained since its last report."""
        # Save even without an answer: the node leaves soon, and the study may be waiting for its database.
        self._holder.check([trial.number for trial in cohort.trials], SAVES_S)
        for trial in cohort.trials:
            step, seconds, since_report = cohort.since_report(trial.number)
            if step and step not in cohort.grid:
                state, total = cohort.state_of(trial.number), self._seconds[trial.number] + seconds
                saved = Checkpoint(trial, cohort.structure, step, state, {}, total, since_report)
                self._stores[trial.number].save(saved)

    def _open(self, claim: Claim) -> Checkpoint | None:
        number, plan = claim.trial.number, self._job.plan
        store = TrialStore(trial_folder(self._job.folder, plan.label(number)), plan.objective, plan.allow_copies)
        found = store.start(claim, self._machine, shares_process=self._job.lanes > 1)
        self._stores[number], self._seconds[number] = store, found.seconds if found else 0.0
        for record in store.recorded_before(found.critic_updates) if found else ():
            self._collapsed(number, record.critic_updates, self._scorer.beside(record.metrics))
        return found

    def _judge(
        self, steps: Mapping[int, int], scored: Mapping[int, Mapping[str, float]], seconds: Mapping[int, float]
    ) -> dict[int, tuple[int, float]]:
        """Report the scores of these trials to the study, then end or pause those that do not go on.

        Args:
            steps: Step in critic updates, by the trial's number.
            scored: Scores of the same trials by metric.
            seconds: Training time since the last report.

        Returns:
            Step and value of the objective of each trial that has not failed, by number.
        """
        plan, values, beside = self._job.plan, dict[int, tuple[int, float]](), dict[int, dict[str, float]]()
        for number, step in steps.items():
            value, shown = scored[number][plan.objective], self._scorer.beside(scored[number])
            if problem := self._problem(value, shown):
                self._end(number, step, "FAIL", problem)
            else:
                values[number], beside[number] = (step, value), shown
        verdicts = self._holder.report(values, seconds, beside) if values else {}
        for number, (step, _) in values.items():
            collapsed = self._collapsed(number, step, beside[number])
            if step >= plan.budget:
                self._end(number, step, "COMPLETE", "trained for the whole budget")
            elif verdicts[number] is Verdict.STOP:
                self._end(number, step, "PRUNED", f"stopped early: not in the best third at critic update {step}")
            elif plan.pruning and collapsed:
                self._end(number, step, "PRUNED", f"collapsed: at critic update {step} and before, {collapsed}")
            elif verdicts[number] is Verdict.PAUSE:
                self._pause(number)
        return values

    def _collapsed(self, number: int, step: int, beside: Mapping[str, float]) -> str:
        """Return what shows that a trial's samples varied before, and hardly vary any more; empty if nothing does.

        A generator that has hardly begun does not vary either. That is no collapse.
        """
        found = ""
        for name, (once, least) in COLLAPSE.items():
            if name not in beside:
                continue
            if beside[name] >= once:
                self._reached.add((number, name))
            if beside[name] >= least:
                self._low.pop((number, name), None)
            elif self._low.setdefault((number, name), step) < step and (number, name) in self._reached:
                found = found or f"the {name} of its samples is {beside[name]:.2g}, below {least}"
        return found

    def _problem(self, value: float, beside: Mapping[str, float]) -> str:
        """Return why a trial with this value of the objective fails; empty if it does not."""
        if not math.isfinite(value):
            return f"its score is {value}"
        copied = beside.get("copied", 0.0)
        if self._job.plan.allow_copies or not copies(beside):
            return ""
        return (
            f"{COPIES}: {100 * copied:.3g} % of its samples copy training samples, where {100 * MOST_COPIED:g} % are "
            "allowed; --allow-copies keeps such trials"
        )

    def _pause(self, number: int) -> None:
        """Hand a trial back to the study. It stands at a report, so its last checkpoint is all that it needs."""
        self._stores.pop(number).tidy()
        self._holder.hand_back([number])

    def _end(self, number: int, step: int, state: TrialState, reason: str) -> None:
        store = self._stores.pop(number)
        test = self._scorer.test_scores(store) if state == "COMPLETE" else {}
        store.end(state, reason, step, test)
        self._holder.finish(number, state, reason, test)
        store.tidy()
