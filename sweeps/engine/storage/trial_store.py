"""Store of one trial: its records, pictures and checkpoints, and its generator at the end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sweeps.engine.storage.layout import CHECKPOINTS, MODEL, SAMPLES, sample_name
from sweeps.engine.storage.spool import (
    BestCheckpoint,
    EndRecord,
    ReportRecord,
    Spool,
    StartRecord,
    TrialState,
    step_name,
)
from sweeps.engine.study.attributes import copied
from sweeps.engine.study.claims import Claim
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line
from wgan_core.metrics.names import copies
from wgan_core.sampling.generator import write_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint, DamagedCheckpoint

_log = logging.getLogger(__name__)


class TrialStore:
    """Reader and writer of one trial's folder. The lowest score of `objective` marks the best checkpoint.

    A process may die between any two writes. So `report` writes the record last, and a report counts once its record
    exists. From then on it may be in MLflow, so it is never overwritten. A resumed trial that reaches the same step may
    differ in its last bits, but it reports the recorded score to the study. A report checkpoint without a record is
    deleted. So study, record, picture and checkpoint agree. One exception: if a damaged checkpoint is
    replaced, the weights may differ in their last bits.
    """

    def __init__(self, folder: Folder, objective: str, allow_copies: bool = False) -> None:
        """Take `allow_copies`, which says whether a checkpoint may be the best though it copies training samples."""
        self._folder, self._objective, self._allow_copies = folder, objective, allow_copies
        self._checkpoints, self._spool = folder / CHECKPOINTS, Spool(folder)
        self._best = self._recall_best()

    def start(self, claim: Claim, machine: str, shares_process: bool = False) -> Checkpoint | None:
        """Write the start record of the trial and return the checkpoint to continue from, if there is one.

        Args:
            claim: The trial, with the step of its last report to the study.
            machine: Description of the CPU or GPU that trains it.
            shares_process: Several trials may train in this process. Then the checkpoint of a report that the study has
                not stored is skipped. After a crash during a report, only some trials have such a checkpoint. So all
                of them repeat the report, and are judged together.
        """
        trial = claim.trial
        # There is an end record if the process died after it wrote the record and before the study ended the trial.
        self._spool.reopen()
        params = {**claim.params, **trial.hyper.as_json()}
        self._spool.write(StartRecord(trial.number, params, trial.seed, _now_ms(), machine))
        self._forget_unrecorded()
        found = self._latest_told(claim.step) if shares_process else checkpoints.latest(self._checkpoints)
        self._best = self._recall_best(found.critic_updates if found else 0)
        return found

    def _forget_unrecorded(self) -> None:
        recorded, names = self._spool.segments(), checkpoints.valid(self._checkpoints)
        # A checkpoint and its record have the same name, without the record's suffix.
        forgotten = {name for name in names if f"{name}.json" not in recorded and self._is_report(name)}
        if forgotten:
            checkpoints.keep(self._checkpoints, set(names) - forgotten)

    def _is_report(self, name: str) -> bool:
        """Return whether this checkpoint belongs to a report step."""
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
            if found.critic_updates <= step or not found.scores:  # no scores: saved between two reports
                return found
        return None

    def report(self, checkpoint: Checkpoint, metrics: Mapping[str, float], picture: bytes) -> Mapping[str, float]:
        """Write a report's picture, its checkpoint if the score is finite, and its record.

        If the report is recorded already, only a damaged checkpoint is replaced. The new one gets the recorded scores.

        Returns:
            The recorded scores by metric.
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
        values = {name: float(metric) for name, metric in metrics.items()}
        self._spool.write(ReportRecord(step, _now_ms(), values, sample_name(step)))
        if self._counts(checkpoint.scores) and (self._best is None or value < self._best.value):
            self._best = BestCheckpoint(step, value, checkpoints.folder_name(step))
        return checkpoint.scores

    def _recorded(self, step: int) -> Mapping[str, float] | None:
        try:
            found = self._spool.read(step_name(step))
        except FileNotFoundError:
            return None
        assert isinstance(found, ReportRecord)
        return found.metrics

    def recorded_before(self, step: int) -> Iterator[ReportRecord]:
        """Yield the undamaged reports of the trial that are recorded for fewer critic updates, in order."""
        for name in self._spool.segments():
            try:
                found = self._spool.read(name)
            except ValueError as error:  # its checkpoint is whole, so the trial goes on without the record
                _log.warning("passing over a record: %s", one_line(error))
                continue
            if isinstance(found, ReportRecord) and found.critic_updates < step:
                yield found

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint between two reports, to continue from."""
        checkpoints.write(self._checkpoints, checkpoint)

    def tidy(self) -> None:
        """Delete all checkpoints but the last two and the best. Call it once the study has stored the report."""
        best = {self._best.checkpoint} if self._best else set()
        checkpoints.keep(self._checkpoints, best | set(checkpoints.valid(self._checkpoints)[-2:]))

    def end(self, state: TrialState, reason: str, critic_updates: int, test: Mapping[str, float] | None = None) -> None:
        """Write the best generator and the end record. Call it before the study ends the trial, so no end is lost.

        `test` holds the scores of the best checkpoint on the test split, if it was scored. A trial that copies its
        training data has no best checkpoint.
        """
        if self._best is not None and self._best.critic_updates > critic_updates:  # the study never got that report
            self._best = self._recall_best(critic_updates)
        if copied(state, reason):
            self._best = None
        model, tested = self._write_model(), dict(test or {})
        self._spool.write(EndRecord(state, reason, _now_ms(), critic_updates, self._best, model, tested))

    def best(self) -> Checkpoint | None:
        """Return the best checkpoint; None before the first score or if it is damaged."""
        if self._best is None:
            return None
        try:
            return checkpoints.read(self._checkpoints / self._best.checkpoint)
        except (UserError, OSError):
            return None

    def _write_model(self) -> str | None:
        best = self.best()
        if best is None:  # no score yet, or a damaged checkpoint, which may be why the trial failed
            return None
        write_generator(self._folder / MODEL, best)
        return MODEL

    def _recall_best(self, until: float = math.inf) -> BestCheckpoint | None:
        """Find the best checkpoint among the reports up to this number of critic updates."""
        best: BestCheckpoint | None = None
        for name in checkpoints.valid(self._checkpoints):
            try:
                scores, step = checkpoints.read_scores(self._checkpoints / name)
            except DamagedCheckpoint:
                continue
            value = scores.get(self._objective, math.nan)  # NaN: a checkpoint between two reports
            if self._counts(scores) and step <= until and (best is None or value < best.value):
                best = BestCheckpoint(step, value, name)
        return best

    def _counts(self, scores: Mapping[str, float]) -> bool:
        """Return whether a checkpoint with these scores may be the best."""
        return math.isfinite(scores.get(self._objective, math.nan)) and (self._allow_copies or not copies(scores))


def _now_ms() -> int:
    return round(time.time() * 1000)
