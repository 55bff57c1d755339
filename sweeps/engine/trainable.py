"""What runs in a worker: a cohort of sweep trials, from claim to end, as a Tune function trainable."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import ray
import torch
from numpy.typing import NDArray
from ray import tune
from ray.actor import ActorHandle

from sweeps.engine.layout import CHECKPOINTS, MODEL, SAMPLES, sample_name, trial_folder
from sweeps.engine.plan import Plan
from sweeps.engine.spool import Best, Spool, State
from sweeps.engine.study import Claim
from wgan_core import checkpoint as checkpoints
from wgan_core import process
from wgan_core.checkpoint import Checkpoint
from wgan_core.folder import Folder
from wgan_core.generator import write_generator
from wgan_core.loop import Cohort, Report, evaluation_z, grid_z
from wgan_core.metrics import Evaluator
from wgan_core.pictures import grid_png

GRID_SAMPLES = 64


@dataclass(frozen=True)
class Work:
    """What all cohorts of a sweep share."""

    plan_json: Mapping[str, Any]
    folder: Folder
    lanes: int
    threads: int
    gpu_share: float


def train_cohort(
    config: Mapping[str, Any], work: Work, study: ActorHandle[Any], values: NDArray[Any], evaluator: Evaluator
) -> None:
    """Train the sweep trials that the study holds for this Tune trial, and those that take freed lanes."""
    process.configure(work.threads, work.gpu_share)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    holder = tune.get_context().get_trial_id()
    try:
        data = resident(values, work.plan_json["data_digest"], device)
        runner = _Runner(work, study, holder, data, evaluator, device)
        runner.start_all(ray.get(study.held.remote(holder)))
        runner.run()
    except Exception as error:
        ray.get(study.note.remote(holder, f"{type(error).__name__}: {error}"))
        raise


_resident: dict[tuple[str, str], torch.Tensor] = {}


def resident(values: NDArray[Any], digest: str, device: torch.device) -> torch.Tensor:
    """The training data on the device: on the CPU the node's shared copy itself, on a GPU one copy a process."""
    key = (digest, str(device))
    if key not in _resident:
        _resident.clear()
        with warnings.catch_warnings():
            # Shared memory is read-only, which torch warns of: nothing here writes to the data.
            warnings.simplefilter("ignore", UserWarning)
            _resident[key] = torch.from_numpy(values).to(device)
    return _resident[key]


class _Runner:
    """One cohort and what is kept of its trials."""

    def __init__(
        self,
        work: Work,
        study: ActorHandle[Any],
        holder: str,
        data: torch.Tensor,
        evaluator: Evaluator,
        device: torch.device,
    ) -> None:
        self._plan = Plan.from_json(work.plan_json)
        self._work, self._study, self._holder, self._evaluator = work, study, holder, evaluator
        self._cohort = Cohort(self._plan.structure, data, self._plan.grid, device)
        self._best: dict[int, Best] = {}
        self._alone = False

    def start_all(self, claims: list[Claim]) -> None:
        for claim in claims:
            self.start(claim)

    def start(self, claim: Claim) -> None:
        """Put a trial on a lane, from its last checkpoint if it has one."""
        trial, folder = claim.trial, trial_folder(self._work.folder, claim.trial.number)
        self._alone = claim.alone
        Spool(folder).start(trial.number, {**claim.params, **trial.hyper.as_json()}, trial.seed, _now_ms())
        found = checkpoints.latest(folder / CHECKPOINTS)
        if found is None:
            self._cohort.add(trial)
            return
        self._recall_best(folder / CHECKPOINTS, trial.number)
        # The process may have ended between the checkpoint and the report: the same value again does nothing.
        value = found.scores[self._plan.objective]
        verdict = self._judge({trial.number: (found.critic_updates, value)}, {})
        if found.critic_updates >= self._plan.budget or verdict[trial.number]:
            self._cohort.add(trial, found.state, found.critic_updates)
            self._end_judged(trial.number, found.critic_updates, verdict[trial.number])
        else:
            self._cohort.add(trial, found.state, found.critic_updates)

    def run(self) -> None:
        """Train until no trial is left to claim."""
        while self._cohort.trials:
            reports = self._cohort.advance()
            sound = {report.trial.number: report for report in reports if not report.problem}
            values = {number: (report.critic_updates, self._keep(report)) for number, report in sound.items()}
            problems = {
                report.trial.number: (report.critic_updates, report.problem) for report in reports if report.problem
            }
            for number, (step, value) in list(values.items()):
                if not math.isfinite(value):
                    problems[number] = step, f"the score is {value} at critic update {step}"
                    del values[number]
            for number, (step, problem) in problems.items():
                self._end(number, step, "FAIL", problem)
            verdicts = self._judge(values, {number: sound[number].seconds for number in values})
            for number, stopped in verdicts.items():
                if stopped or values[number][0] >= self._plan.budget:
                    self._end_judged(number, values[number][0], stopped)
            self._tell_tune(values)
            self._refill()

    def _refill(self) -> None:
        """Freed lanes of a cohort of several take the next trials; a single trial is a Tune trial of its own."""
        free = self._work.lanes - len(self._cohort.trials)
        if self._work.lanes > 1 and free and not self._alone:
            self.start_all(ray.get(self._study.claim.remote(self._holder, free)))

    def _keep(self, report: Report) -> float:
        """Score a trial, draw its samples and keep its state; the value of the objective."""
        number, step = report.trial.number, report.critic_updates
        structure, folder = self._plan.structure, trial_folder(self._work.folder, number)
        scores = self._evaluator.scores(
            self._cohort.samples(number, evaluation_z(structure, self._evaluator.sample_size))
        )
        value = scores[self._plan.objective]
        if math.isfinite(value) and (number not in self._best or value < self._best[number].value):
            self._best[number] = Best(step, value, checkpoints.folder_name(step))
        picture = grid_png(self._cohort.samples(number, grid_z(structure, report.trial, GRID_SAMPLES)))
        (folder / SAMPLES).write(sample_name(step), picture)
        metrics = {f"train/{name}": mean for name, mean in report.means.items()} | scores
        metrics |= {"train/generator_updates": report.generator_updates, "train/seconds": report.seconds}
        # Before the checkpoint: a trial that ends in between computes this step again, and its first record stays.
        Spool(folder).step(step, _now_ms(), metrics, sample_name(step))
        saved = Checkpoint(report.trial, structure, step, self._cohort.state_of(number), scores)
        checkpoints.write(folder / CHECKPOINTS, saved)
        checkpoints.keep(folder / CHECKPOINTS, self._worth_keeping(folder / CHECKPOINTS, number))
        return value

    def _worth_keeping(self, folder: Folder, number: int) -> set[str]:
        best = {self._best[number].checkpoint} if number in self._best else set()
        return best | set(checkpoints.valid(folder)[-2:])

    def _recall_best(self, folder: Folder, number: int) -> None:
        for name in checkpoints.valid(folder):
            found = checkpoints.read(folder / name)
            value = found.scores[self._plan.objective]
            if math.isfinite(value) and (number not in self._best or value < self._best[number].value):
                self._best[number] = Best(found.critic_updates, value, name)

    def _judge(self, values: dict[int, tuple[int, float]], seconds: dict[int, float]) -> dict[int, bool]:
        return cast("dict[int, bool]", ray.get(self._study.report.remote(self._holder, values, seconds)))

    def _end_judged(self, number: int, step: int, stopped: bool) -> None:
        if stopped:
            self._end(number, step, "PRUNED", f"stopped early: not in the best third at critic update {step}")
        else:
            self._end(number, step, "COMPLETE", "trained for the whole budget")

    def _end(self, number: int, step: int, state: State, reason: str) -> None:
        folder, best = trial_folder(self._work.folder, number), self._best.pop(number, None)
        if best is not None:
            write_generator(folder / MODEL, checkpoints.read(folder / CHECKPOINTS / best.checkpoint))
        # The study last: a trial that ends in between is taken up again and comes to the same end.
        Spool(folder).end(state, reason, _now_ms(), step, best, MODEL if best else None)
        ray.get(self._study.finish.remote(self._holder, number, state, reason))
        self._cohort.drop(number)

    def _tell_tune(self, values: dict[int, tuple[int, float]]) -> None:
        if values:
            step, value = min(values.values(), key=lambda item: item[1])
            tune.report({"value": value, "critic_updates": step})


def _now_ms() -> int:
    return round(time.time() * 1000)
