"""Sweeps that have ended, with checkpoints, study and record, made without training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from mlflow import MlflowClient
from PIL import Image

from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import Plan, on_test_split, write_plan
from sweeps.engine.results.confirmation import plan_confirmation
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.rows import read_rows
from sweeps.engine.study.study import Study
from sweeps.engine.tracking import MlflowRecorder
from wgan_core.data.folder import Folder
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

End: TypeAlias = Literal["COMPLETE", "PRUNED"]
# By trial: its scores after 10 and 20 critic updates, and its end. Trial 1 is the best, after 20.
SCORES: Mapping[int, tuple[float, float, End]] = {
    0: (2.0, 3.0, "COMPLETE"),
    1: (4.0, 1.0, "COMPLETE"),
    2: (6.0, 5.0, "PRUNED"),
}


@dataclass(frozen=True)
class Finished:
    """A sweep below `storage`, recorded at `uri`."""

    storage: Path
    plan: Plan
    uri: str

    @property
    def folder(self) -> Folder:
        return Folder.at(self.storage / self.plan.name)

    @property
    def study_url(self) -> str:
        return f"sqlite:///{self.storage}/{self.plan.name}/study.db"

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def finish(storage: Path, plan: Plan, uri: str = "") -> Finished:
    """A sweep of three trials, in the storage's mlflow.db unless there is another URI."""
    sweep = Finished(storage, plan, uri or f"sqlite:///{storage}/mlflow.db")
    _train(sweep, plan, SCORES)
    return sweep


def confirm(sweep: Finished) -> None:
    """The best trial again with two fresh seeds, 1a and 1b: scores of 1.5 and 1.25, on the test split of 1.75 and 2."""
    (leader,) = [row for row in read_rows(sweep.plan, sweep.study_url) if row.number == 1]
    plan = plan_confirmation(sweep.plan, [leader], ConfirmationSize(1, 2), None, {}, {})
    _train(sweep, plan, {0: (3.0, 1.5, "COMPLETE"), 1: (3.0, 1.25, "COMPLETE")}, (1.75, 2.0))


def _train(
    sweep: Finished, plan: Plan, scores: Mapping[int, tuple[float, float, End]], test: Sequence[float] = ()
) -> None:
    write_plan(sweep.folder, plan)
    study = Study(plan, sweep.study_url, "s")
    for claim in study.claim("a", len(scores)):
        number = claim.trial.number
        first, second, end = scores[number]
        kept = TrialStore(trial_folder(sweep.folder, plan.label(number)), plan.objective)
        kept.start(claim, "")
        for step, score in ((10, first), (20, second)):
            state = TrainingState.initial(plan.structure, claim.trial.seed + step, torch.device("cpu"))
            found = {plan.objective: score}
            kept.report(Checkpoint(claim.trial, plan.structure, step, state, found), found, _png())
            study.report("a", {number: (step, score)}, {number: 1.0})
        tested = {on_test_split(plan.objective): test[number]} if test else {}
        kept.end(end, "", 20, tested)
        study.finish("a", number, end, "", tested)
    search = sweep.plan
    tracker = MlflowRecorder(sweep.folder, search, sweep.uri)
    tracker.open(first_start=not test)
    assert tracker.stop("FINISHED") == "complete", tracker.last_error


def _png() -> bytes:
    written = io.BytesIO()
    Image.new("L", (8, 8), 128).save(written, "PNG")
    return written.getvalue()
