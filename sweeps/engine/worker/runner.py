"""Tune function trainable that trains a cohort of sweep trials, from the claim of each trial to its end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import ray
import torch
from numpy.typing import NDArray
from ray import tune
from ray.actor import ActorHandle

from sweeps.engine.cluster.drain import drain_here
from sweeps.engine.cluster.nodes import NodeMismatch, check_here
from sweeps.engine.cluster.notice import Notice
from sweeps.engine.cluster.placement import ranks_of
from sweeps.engine.plan.plan import Plan
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.spool import TrialState
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.narrowing import width_for
from sweeps.engine.worker.rank_group import GroupCohort, RankGroup, Task, company
from sweeps.engine.worker.scorer import Scorer
from wgan_core.backend import process
from wgan_core.backend.choices import CAPTURED
from wgan_core.backend.memory import give_back, is_out_of_memory, what_ran_out
from wgan_core.data.folder import Folder
from wgan_core.errors import one_line
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort, Report

# Seconds that a process waits for the study before it saves its trials because its node leaves.
SAVES_S = 5.0


@dataclass(frozen=True)
class Job:
    """A plan, and the way to train it. All cohorts of a sweep share one job, which travels to the workers as a whole.

    Attributes:
        plan: What is searched.
        folder: The sweep's folder.
        lanes: Most trials of a cohort.
        threads: CPU threads of each process.
        gpu_share: GPUs of each trial. It may be a fraction.
        inventory: Versions and code digests of the driver, which each worker must match.
        execution: Execution mode of updates on a GPU.
        pair: The user's own networks, or None. Workers know only the built-in ones.
    """

    plan: Plan
    folder: Folder
    lanes: int
    threads: int
    gpu_share: float
    inventory: dict[str, str]
    execution: str = CAPTURED
    pair: Pair | None = None


def train_cohort(
    config: Mapping[str, Any],
    job: Job,
    study: ActorHandle[Any],
    values: NDArray[Any],
    labels: NDArray[Any] | None,
    evaluator: Evaluator,
    test: Evaluator | None,
) -> None:
    """Train the sweep trials that the study holds for this Tune trial, and the trials that take freed lanes.

    Args:
        config: Tune's config, which is not used.
        job: The plan, and how it is trained.
        study: The `Study` actor.
        values: Training samples (M, ...).
        labels: Class labels (M,) of the training samples, or None.
        evaluator: Scorer on the validation split.
        test: Scorer of the best checkpoint of each completed trial on the test split, or None.
    """
    holder = tune.get_context().get_trial_id()
    # Register first, so that the study knows which trials this node holds if the node is lost.
    claims = cast("list[Claim]", ray.get(study.began.remote(holder, ray.get_runtime_context().get_node_id())))
    process.configure(job.threads, job.gpu_share, job.plan.structure.precision)
    # Check the share too: a process without a GPU share may still see the GPUs.
    device = torch.device("cuda" if job.gpu_share > 0 and torch.cuda.is_available() else "cpu")
    try:
        check_here(job.inventory)
        if job.pair is not None:
            PAIRS[job.plan.structure.networks] = job.pair
        data = resident(values, job.plan.data_digest, device)
        told = None if labels is None else torch.from_numpy(labels.copy()).to(device)
        plan = job.plan
        task = Task(plan.structure, plan.grid, job.threads, job.pair)
        ranks = ranks_of(job.gpu_share)
        with company(ranks, task, values, labels, device, lambda why: ray.get(study.note.remote(holder, why))) as ours:
            runner = _Runner(job, study, holder, data, told, evaluator, test, device, ours)
            with Notice() as notice:
                runner.run(claims, notice.given)
    except NodeMismatch as error:
        drain_here()  # otherwise this node would take and fail one trial after another
        ray.get(study.note.remote(holder, str(error), leaves=True))
        raise
    except Leaving:
        ray.get(study.note.remote(holder, "its node is leaving the cluster", leaves=True))
        raise
    except Exception as error:
        ray.get(study.note.remote(holder, one_line(error)))
        raise


class Leaving(Exception):
    """Signal that this node is about to leave the cluster, after the state of every trial was saved."""


_resident: dict[tuple[str, str], torch.Tensor] = {}


def resident(values: NDArray[Any], digest: str, device: torch.device) -> torch.Tensor:
    """Return the training data on a device: on the CPU Ray's shared copy of the node, on a GPU one copy per process."""
    key = (digest, str(device))
    if key not in _resident:
        _resident.clear()
        with warnings.catch_warnings():
            # Torch warns that shared memory is read-only. The warning is moot: nothing here writes to the data.
            warnings.simplefilter("ignore", UserWarning)
            _resident[key] = torch.from_numpy(values).to(device)
    return _resident[key]


class _Runner:
    """Training loop of one cohort, with the `TrialStore` of each trial by number."""

    def __init__(
        self,
        job: Job,
        study: ActorHandle[Any],
        holder: str,
        data: torch.Tensor,
        labels: torch.Tensor | None,
        evaluator: Evaluator,
        test: Evaluator | None,
        device: torch.device,
        ours: RankGroup,
    ) -> None:
        self._plan = job.plan
        self._job, self._study, self._holder = job, study, holder
        self._data, self._labels, self._device = data, labels, device
        self._scorer = Scorer(self._plan, evaluator, test, data, labels, device, job.threads)
        self._ours = ours
        # `_lanes` is the most lanes that the cohort may have. `_width` is the number that it has, or tried to have when
        # memory ran out.
        self._lanes, self._width = job.lanes, 1
        self._cohort = self._vacant()
        self._kept: dict[int, TrialStore] = {}
        self._seconds: dict[int, float] = {}
        self._alone = False

    def _vacant(self) -> Cohort:
        plan, job = self._plan, self._job
        return GroupCohort(self._ours, plan.structure, self._data, plan.grid, self._device, self._labels, job.execution)

    def _start(self, claims: list[Claim]) -> None:
        """Put trials on lanes; continue each from its last checkpoint if it has one."""
        self._alone = any(claim.alone for claim in claims)
        self._fit(len(self._cohort.trials) + len(claims))
        for claim in claims:
            number, found = claim.trial.number, self._keep(claim)
            self._seconds[number] = found.seconds if found else 0.0
            if found is None:
                self._cohort.add(claim.trial)
            else:
                self._cohort.add(claim.trial, found.state, found.critic_updates, found.since_report)
                # The process may have died after the checkpoint and before the report to the study, so report again.
                # A second report of the same step changes nothing.
                if self._plan.objective in found.scores:
                    self._judge({number: (found.critic_updates, found.scores[self._plan.objective])}, {})

    def _keep(self, claim: Claim) -> Checkpoint | None:
        """Open the trial's store and return its last checkpoint, if it has one."""
        folder = trial_folder(self._job.folder, self._plan.label(claim.trial.number))
        kept = self._kept[claim.trial.number] = TrialStore(folder, self._plan.objective)
        return kept.start(claim, self._ours.machine(self._device), in_company=self._job.lanes > 1)

    def run(self, claims: list[Claim], leaves: Callable[[], bool]) -> None:
        """Train until no trial is left to claim. If `leaves` returns True, save all trials and raise `Leaving`."""
        if not claims:  # another process holds them by now
            return
        self._lanes = max(len(claims), cast("int", ray.get(self._study.lanes.remote(self._job.lanes))))
        while True:
            try:
                self._start(claims)
                self._train(leaves)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = what_ran_out(error)
            # Narrow outside the `except` block: the error's traceback would keep the tensors in memory.
            claims = self._narrow(ran_out)

    def _train(self, leaves: Callable[[], bool]) -> None:
        while self._refill():
            self._fit(len(self._cohort.trials))
            reports = self._cohort.advance(leaves)
            if reports:
                self._report(reports)
            if leaves():
                self._save()
                raise Leaving
            if reports and self._alone and self._job.lanes > 1:
                self._acquit()

    def _refill(self) -> bool:
        """Fill freed lanes with the next trials. Return whether the cohort has any trial.

        If a cohort has one lane, Tune starts a new Tune trial for each sweep trial, so nothing is filled.
        """
        while self._job.lanes > 1 and (free := self._lanes - len(self._cohort.trials)) > 0:
            if self._alone and self._cohort.trials:
                break
            claims = cast("list[Claim]", ray.get(self._study.claim.remote(self._holder, free)))
            if not claims:
                break
            self._start(claims)
        return bool(self._cohort.trials)

    def _fit(self, trials: int) -> None:
        """Resize the cohort to a number of trials, because vacant lanes cost as much as occupied ones."""
        self._width = width_for(trials, self._lanes)
        if self._cohort.width != self._width:
            self._cohort.resize(self._width)

    def _acquit(self) -> None:
        """Hand a suspected trial back to the study after it reported. It may join a cohort again."""
        numbers = [trial.number for trial in self._cohort.trials]
        for number in numbers:
            self._cohort.drop(number)
            del self._kept[number]
        ray.get(self._study.hand_back.remote(self._holder, numbers))

    def _narrow(self, ran_out: str) -> list[Claim]:
        """Halve the lanes after running out of memory. If there was only one lane, fail its trial.

        Returns:
            Trials to continue from their last checkpoints, at most one per lane. The others wait for a lane.
        """
        self._cohort = self._vacant()
        self._kept.clear()
        give_back(self._device)
        if self._width > 1:
            self._lanes = self._width // 2
            said = (
                f"{self._width} lanes do not fit in memory ({ran_out}): {self._lanes} from now on; trials go on from "
                "their last checkpoints, and those without a lane wait for one"
            )
            return cast("list[Claim]", ray.get(self._study.narrow.remote(self._holder, self._lanes, said)))
        remedy = "fewer processes by a smaller --max-concurrent"
        if self._device.type == "cuda":
            share = self._job.gpu_share
            remedy = ("fewer processes per GPU" if share < 1 else "more GPUs a trial") + " by a larger --gpus-per-trial"
        reason = f"does not fit in memory ({ran_out}): give a smaller batch_size, or {remedy}"
        for claim in cast("list[Claim]", ray.get(self._study.held.remote(self._holder))):
            found = self._keep(claim)
            self._end(claim.trial.number, found.critic_updates if found else 0, "FAIL", reason)
        return []

    def _report(self, reports: list[Report]) -> None:
        """Score and save the trials that reached a report step. End the trials that are stopped, done or failed."""
        self._check([report.trial.number for report in reports])
        values: dict[int, tuple[int, float]] = {}
        sound = [report for report in reports if not report.problem]
        for report in sound:
            self._seconds[report.trial.number] += report.seconds
        scored = self._scorer.report(self._cohort, sound, self._seconds, self._kept)
        for report in reports:
            value = scored.get(report.trial.number, math.nan)
            if math.isfinite(value):
                values[report.trial.number] = report.critic_updates, value
            else:
                self._end(report.trial.number, report.critic_updates, "FAIL", report.problem or f"its score is {value}")
        self._judge(values, {report.trial.number: report.seconds for report in reports})
        for number in values.keys() & self._kept.keys():
            self._kept[number].tidy()
        self._tell_tune(values)

    def _check(self, numbers: list[int], within_s: float | None = None) -> None:
        """Check with the study, before anything is written, that this process still holds these trials.

        A process that is cut off from the study waits here. Another process may train its trials meanwhile.

        Raises:
            PermissionError: Another process holds one of the trials.
            GetTimeoutError: The study did not answer within `within_s` seconds.
        """
        ray.get(self._study.check.remote(self._holder, numbers), timeout=within_s)

    def _save(self) -> None:
        """Save the state of each trial that has trained since its last report."""
        # Save even without an answer: the node leaves soon, and the study may be waiting for its database.
        with suppress(ray.exceptions.GetTimeoutError):
            self._check([trial.number for trial in self._cohort.trials], SAVES_S)
        for trial in self._cohort.trials:
            number = trial.number
            step, seconds, since_report = self._cohort.since_report(number)
            if step and step not in self._plan.grid:
                state, total = self._cohort.state_of(number), self._seconds[number] + seconds
                saved = Checkpoint(trial, self._plan.structure, step, state, {}, total, since_report)
                self._kept[number].save(saved)

    def _judge(self, values: dict[int, tuple[int, float]], seconds: dict[int, float]) -> None:
        """Report (step, value) of all given trials to the study, then end the trials that are stopped or done."""
        if not values:
            return
        verdicts = cast("dict[int, bool]", ray.get(self._study.report.remote(self._holder, values, seconds)))
        for number, (step, _) in values.items():
            if step >= self._plan.budget:
                self._end(number, step, "COMPLETE", "trained for the whole budget")
            elif verdicts[number]:
                self._end(number, step, "PRUNED", f"stopped early: not in the best third at critic update {step}")

    def _end(self, number: int, step: int, state: TrialState, reason: str) -> None:
        kept = self._kept.pop(number)
        test = self._scorer.test_scores(kept) if state == "COMPLETE" else {}
        kept.end(state, reason, step, test)
        ray.get(self._study.finish.remote(self._holder, number, state, reason, test))
        kept.tidy()
        if number in [trial.number for trial in self._cohort.trials]:
            self._cohort.drop(number)

    def _tell_tune(self, values: dict[int, tuple[int, float]]) -> None:
        if values:
            step, value = min(values.values(), key=lambda item: item[1])
            tune.report({"value": value, "critic_updates": step})
