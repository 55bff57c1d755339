"""What is kept of one trial in the storage: its records, sample grids, checkpoints and, in the end, its generator."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace

from sweeps.engine.storage.layout import CHECKPOINTS, MODEL, SAMPLES, sample_name
from sweeps.engine.storage.spool import BestCheckpoint, ReportRecord, Spool, TrialState, step_name
from sweeps.engine.study.claims import Claim
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.sampling.generator import write_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint, DamagedCheckpoint


class TrialStore:
    """One trial's folder; `objective` is the score that decides which of its checkpoints is the best.

    A trial may end between any two writes. A report counts once its record is there, which is written last, and from
    then on may be in MLflow: reached again, perhaps on another number of lanes and with other last bits, it stays, and
    the study is told its score. A checkpoint of a report without a record is deleted. So study, record, picture and
    checkpoint always are of the same state.
    """

    def __init__(self, folder: Folder, objective: str) -> None:
        self._folder, self._objective = folder, objective
        self._checkpoints, self._spool = folder / CHECKPOINTS, Spool(folder)
        self._best = self._recall_best()

    def start(self, claim: Claim, machine: str, in_company: bool = False) -> Checkpoint | None:
        """Record that the trial is trained, and on what; its last checkpoint if it has been before.

        in_company: not one of a report that the study does not know of. Of a cohort that died amid a report only some
        have one, and trials that reported at the same time, and were judged beside each other, go on doing so.
        """
        trial = claim.trial
        self._spool.reopen()  # an end that the study does not know of: the process died in between
        self._spool.start(trial.number, {**claim.params, **trial.hyper.as_json()}, trial.seed, _now_ms(), machine)
        self._forget_unrecorded()
        found = self._latest_told(claim.step) if in_company else checkpoints.latest(self._checkpoints)
        self._best = self._recall_best(found.critic_updates if found else 0)
        return found

    def _forget_unrecorded(self) -> None:
        recorded, names = self._spool.segments(), checkpoints.valid(self._checkpoints)
        # A checkpoint has the name of its record.
        forgotten = {name for name in names if f"{name}.json" not in recorded and self._is_report(name)}
        if forgotten:
            checkpoints.keep(self._checkpoints, set(names) - forgotten)

    def _is_report(self, name: str) -> bool:
        """And not a state that was saved between two."""
        try:
            return bool(checkpoints.read_scores(self._checkpoints / name)[0])
        except DamagedCheckpoint:
            return False

    def _latest_told(self, step: int) -> Checkpoint | None:
        for name in reversed(checkpoints.valid(self._checkpoints)):
            try:
                found = checkpoints.read(self._checkpoints / name)
            except DamagedCheckpoint:
                continue
            if found.critic_updates <= step or not found.scores:  # saved between two reports
                return found
        return None

    def report(self, checkpoint: Checkpoint, metrics: Mapping[str, float], picture: bytes) -> float:
        """Keep a report: sample grid, the checkpoint if the score is a number, and record; the score that is kept.

        Of a report that is recorded already all stays, but for a checkpoint that was damaged: the one that takes its
        place has the recorded scores.
        """
        step = checkpoint.critic_updates
        recorded = self._recorded(step)
        if recorded is None:
            (self._folder / SAMPLES).write(sample_name(step), picture)
        else:
            scores = {name: recorded.get(name, score) for name, score in checkpoint.scores.items()}
            checkpoint = replace(checkpoint, scores=scores)
        value = checkpoint.scores[self._objective]
        if math.isfinite(value):
            checkpoints.write(self._checkpoints, checkpoint)
        self._spool.step(step, _now_ms(), metrics, sample_name(step))
        if math.isfinite(value) and (self._best is None or value < self._best.value):
            self._best = BestCheckpoint(step, value, checkpoints.folder_name(step))
        return value

    def _recorded(self, step: int) -> Mapping[str, float] | None:
        try:
            found = self._spool.read(step_name(step))
        except FileNotFoundError:
            return None
        assert isinstance(found, ReportRecord)
        return found.metrics

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a state between two reports, to go on from; whatever else is kept stays as it is."""
        checkpoints.write(self._checkpoints, checkpoint)

    def tidy(self) -> None:
        """Delete all checkpoints but the last two and the best; once the study knows which that is."""
        best = {self._best.checkpoint} if self._best else set()
        checkpoints.keep(self._checkpoints, best | set(checkpoints.valid(self._checkpoints)[-2:]))

    def end(self, state: TrialState, reason: str, critic_updates: int, test: Mapping[str, float] | None = None) -> None:
        """Write the best generator and record the end. The study is told after this, so an end is never lost.

        test: what the best checkpoint scores on the test split, if that was asked.
        """
        if self._best is not None and self._best.critic_updates > critic_updates:  # of a report that it was never told
            self._best = self._recall_best(critic_updates)
        self._spool.end(state, reason, _now_ms(), critic_updates, self._best, self._write_model(), test)

    def best(self) -> Checkpoint | None:
        """The best checkpoint; None before the first score, or where it is damaged."""
        if self._best is None:
            return None
        try:
            return checkpoints.read(self._checkpoints / self._best.checkpoint)
        except (UserError, OSError):
            return None

    def _write_model(self) -> str | None:
        best = self.best()
        if best is None:  # it may be damaged, and that the very reason of the end
            return None
        write_generator(self._folder / MODEL, best)
        return MODEL

    def _recall_best(self, until: float = math.inf) -> BestCheckpoint | None:
        """Of the reports up to so many critic updates."""
        best: BestCheckpoint | None = None
        for name in checkpoints.valid(self._checkpoints):
            try:
                scores, step = checkpoints.read_scores(self._checkpoints / name)
            except DamagedCheckpoint:
                continue
            value = scores.get(self._objective)  # None: saved between two reports
            if value is not None and step <= until and (best is None or value < best.value):
                best = BestCheckpoint(step, value, name)
        return best


def _now_ms() -> int:
    return round(time.time() * 1000)
