"""Training of a plan's trials on the Ray cluster that this process has joined."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import ray
from ray import tune

from sweeps.engine.cluster.connection import Room, on_this_node
from sweeps.engine.cluster.loss import LOOK_S, interrupted_if_lost, lost_process
from sweeps.engine.driver.tune_search import CohortSearch
from sweeps.engine.plan.plan import Plan
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.spool import Spool, TrialState
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.rows import ENDED, Row, read_rows
from sweeps.engine.study.storage import make_study
from sweeps.engine.study.study import Study
from sweeps.engine.terminal.reporter import Reporter
from sweeps.engine.terminal.watch import Watch
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.trainable import train_cohort
from wgan_core.data import Split
from wgan_core.errors import UserError, one_line
from wgan_core.metrics.evaluator import Evaluator

# Seconds within which the study actor answers, unless it waits for its database.
STUDY_S = 20.0


@dataclass(frozen=True)
class Training:
    """Job, study and data that the search and the confirmation of one sweep share. Only the plan of the job differs."""

    job: Job
    study_url: str
    session: str
    train: Split
    evaluator: Evaluator
    reporter: Reporter

    def begin(self, plan: Plan, until: float = math.inf) -> Stage:
        """Start the study actor of a plan, new or continued. Raises `UserError` if its storage cannot be opened.

        From `until` on, a time of `time.monotonic` on this machine, no trial begins.
        """
        make_study(plan.study_name, self.study_url, plan.trials)
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Study)
        study = actor.options(scheduling_strategy=on_this_node()).remote(plan, self.study_url, self.session, until)
        try:
            ray.get(study.is_done.remote())
        except ray.exceptions.RayError as error:
            # If an actor cannot start, Ray's message is the traceback. Its last line holds the cause.
            raise UserError(one_line(error).rpartition("wgan_core.errors.UserError: ")[2]) from error
        stage = Stage(self, replace(self.job, plan=plan), study, until)
        stage.record_ends()
        return stage


@dataclass(frozen=True)
class Stage:
    """A plan in training, with its study actor."""

    training: Training
    job: Job
    study: Any
    until: float = math.inf

    @property
    def plan(self) -> Plan:
        return self.job.plan

    def train(self, test: Evaluator | None = None) -> None:
        """Train until all trials have ended or the user stops the sweep.

        If `test` is given, it scores the best checkpoint of each completed trial on the test split.
        """
        rows, said = partial(self._soon, self.study.rows), partial(self._soon, self.study.said)
        with Watch(self.training.reporter, self.plan, rows, self.training.session, said), interrupted_if_lost():
            self._fit(test)

    def standing(self) -> tuple[list[Row], bool]:
        """Return the rows of all trials, and whether all trials have ended.

        If Ray has died, the rows come from the study's storage.
        """
        asked = [self.study.rows.remote(), self.study.is_done.remote()]
        while not lost_process():
            with suppress(ray.exceptions.GetTimeoutError):
                rows, done = ray.get(asked, timeout=LOOK_S)
                return rows, done
        return read_rows(self.plan, self.training.study_url), False

    def is_timed_out(self, rows: Sequence[Row]) -> bool:
        """Return whether the time is up and all processes have handed their trials back.

        After Ctrl-C, processes still hold trials.
        """
        held = [row for row in rows if row.state == "RUNNING" and row.session == self.training.session]
        return time.monotonic() >= self.until and not held

    def record_ends(self) -> None:
        """Write the missing end records of trials that an earlier driver ended in the study before it died."""
        rows: Sequence[Row] = ray.get(self.study.rows.remote())
        for row in rows:
            folder = trial_folder(self.job.folder, row.label)
            if row.state in ENDED and not Spool(folder).has_ended():
                TrialStore(folder, self.plan.objective).end(
                    cast("TrialState", row.state), row.reason, row.step, row.test
                )

    def _soon(self, method: Any) -> Any:
        """Call a method of the study for the terminal. Raise `TimeoutError` while the study waits for its database."""
        asked, end = method.remote(), time.monotonic() + STUDY_S
        while time.monotonic() < end:
            if lost := lost_process():
                raise TimeoutError(f"Ray's process {lost} has died")
            with suppress(ray.exceptions.GetTimeoutError):
                return ray.get(asked, timeout=LOOK_S)
        raise TimeoutError("the search waits for its database, for ten minutes at most")

    def _fit(self, test: Evaluator | None) -> None:
        training, job = self.training, self.job
        trainable = tune.with_parameters(
            train_cohort, job=job, study=self.study, train=training.train, evaluator=training.evaluator, test=test
        )
        bundles = tune.PlacementGroupFactory(job.places.bundles(), strategy="STRICT_PACK")
        columns = ("trial", *job.plan.space.ranges) if job.lanes == 1 else ("trials",)
        # Discard Tune's own state: a sweep continues from the study and the storage folder.
        with tempfile.TemporaryDirectory(prefix="wgan-sweeps-", ignore_cleanup_errors=True) as scratch:
            tuner = tune.Tuner(
                tune.with_resources(trainable, bundles),
                param_space={name: tune.uniform(0, 1) for name in columns},
                tune_config=tune.TuneConfig(
                    search_alg=CohortSearch(self.study, job, Room(job.places).now, training.reporter.say),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=job.plan.name,
                    storage_path=scratch,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            )
            tuner.fit()
