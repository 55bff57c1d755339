"""The upload of one trial from its spool to its MLflow run.

The upload cursor, `<trial folder>/mlflow.json`, says how far the upload has come. It is written after each upload. If
the process is killed in between, the next one uploads the same records again, which changes nothing. Without the
cursor, everything is uploaded again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.uri import MisplacedFiles
from sweeps.engine.storage.layout import CHECKPOINTS, IMAGE, MOST_PICTURE, SAMPLES, sample_name
from sweeps.engine.storage.spool import (
    END_NAME,
    START_NAME,
    EndRecord,
    Param,
    ReportRecord,
    Spool,
    StartRecord,
    step_name,
)
from sweeps.engine.study.attributes import copied
from sweeps.engine.tracking.cursor import INTERRUPTED, UploadCursor, read_cursor, write_cursor
from sweeps.engine.tracking.files import END, Sample, log_generator, log_samples
from sweeps.engine.tracking.film import chosen, film, tiles
from sweeps.engine.tracking.store import Point, StoredSweep, is_deleted
from sweeps.engine.tracking.texts import best_key, end_text, log_key, role_of, run_name, run_params, trial_name
from wgan_core.data.folder import Folder
from wgan_core.metrics.names import copies

if TYPE_CHECKING:
    from mlflow.entities import Run

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
"""MLflow run status of each Optuna trial state."""

FILM_SIDE, LEADER_SIDE = 400, 128
"""Largest sides in pixels, in MLflow's image charts: of a trial's film, and of a best trial's pictures."""

_AT_ONCE = 200  # Segments between two writes of the upload cursor.


class TrialUpload:
    """An uploader of one trial's spool to MLflow.

    Args:
        folder: The trial's folder.
        label: The trial's label.
        plan: The sweep's plan.

    Attributes:
        cursor: The trial's upload cursor.
    """

    def __init__(self, folder: Folder, label: str, plan: Plan) -> None:
        self.folder, self.label = folder, label
        self._objective, self._floor, self._grid = plan.objective, plan.floor, tiles(plan.structure)
        self._spool, self._allow_copies = Spool(folder), plan.allow_copies
        self.cursor = read_cursor(folder)

    def upload(self, stored: StoredSweep) -> None:
        """Upload all new records. Pass on errors of MLflow and of the file system; they lose no record."""
        names = self._spool.segments()
        if START_NAME not in names and END_NAME not in names:
            return
        uploaded = set(self.cursor.uploaded)
        new = [name for name in names if name not in uploaded and name != END_NAME]
        end = self._end() if END_NAME in names else None
        reopened = self.cursor.ended and (end is None or end.mark != self.cursor.end)
        if not new and not reopened and (end is None or end.mark == self.cursor.end):
            return
        run_id = self._attach(stored, end)
        if reopened or (self.cursor.end == INTERRUPTED and new):
            self._go_on(stored, run_id)
        for first in range(0, len(new), _AT_ONCE):
            self._upload_segments(stored, run_id, new[first : first + _AT_ONCE])
        if end is not None and end.mark != self.cursor.end:
            self._upload_end(stored, run_id, end)

    def reconcile(self, stored: StoredSweep, runs: Mapping[str, Run]) -> None:
        """Bring the upload cursor and MLflow's runs into agreement.

        If the store lacks the trial's run, reset the cursor. If the trial's end is uploaded but MLflow shows its run as
        running, end the run. If MLflow shows an ended run of a trial without an end, mark the trial as interrupted.
        """
        run_id = self.cursor.run_id
        if run_id is None:
            return
        if run_id not in runs:  # The sweep got another store, or a new database.
            self.cursor = UploadCursor()
            return
        is_running = runs[run_id].info.status == "RUNNING"
        if self.cursor.ended and is_running and not is_deleted(runs[run_id]):
            end = self._end()
            if end is not None:
                self._close(stored, run_id, end)
        elif not self.cursor.end and not is_running:
            self.cursor.end = INTERRUPTED  # The process was killed before it wrote the cursor.

    def interrupt(self, stored: StoredSweep, runs: Mapping[str, Run]) -> None:
        """Mark a trial that has not ended as WAITING, because the sweep has stopped."""
        run_id = self.cursor.run_id
        if run_id is None or self.cursor.end or is_deleted(runs[run_id]):
            return
        stored.log(run_id, tags={"trial.state": "WAITING"})
        stored.client.set_terminated(run_id, "KILLED")
        cursor = self.cursor.copy()
        cursor.end = INTERRUPTED
        self._save(cursor)

    def shortfall(self, stored: StoredSweep, runs: Mapping[str, Run]) -> str | None:
        """Return what MLflow lacks of this trial, or None.

        The check compares the uploaded segments, the last value of each metric, and the number of points of one metric.
        """
        cursor, names = self.cursor, self._spool.segments()
        if missing := [name for name in names if name not in set(cursor.uploaded)]:
            return f"{len(missing)} segments not uploaded, first {missing[0]}"
        if cursor.run_id is None:
            return "no run" if names else None
        if cursor.run_id not in runs or is_deleted(runs[cursor.run_id]):
            return "its run was deleted"
        if cursor.missing:
            return f"files not there or not whole: {', '.join(cursor.missing)}"
        metrics = runs[cursor.run_id].data.metrics
        if wrong := [key for key, value in cursor.latest.items() if not _equal(metrics.get(key), float(value))]:
            return f"the last value of {wrong[0]} is {metrics.get(wrong[0])}, not {cursor.latest[wrong[0]]}"
        # A report's metrics are uploaded together, so it is enough to count the metric with the most points.
        longest = max(cursor.counts, key=lambda key: cursor.counts[key], default=None)
        if longest is not None:
            count = len(stored.client.get_metric_history(cursor.run_id, longest))
            if count != cursor.counts[longest]:
                return f"{count} points of {longest}, not {cursor.counts[longest]}"
        return None

    def _save(self, cursor: UploadCursor) -> None:
        self.cursor = cursor
        write_cursor(self.folder, cursor)

    def _end(self) -> EndRecord | None:
        try:
            end = self._spool.read(END_NAME)
        except FileNotFoundError:
            return None
        assert isinstance(end, EndRecord)
        return end

    def _start(self) -> StartRecord:
        """Return the start record, or one without params if the trial's process died before it wrote one."""
        try:
            start = self._spool.read(START_NAME)
        except FileNotFoundError:
            end = self._end()
            if end is None:
                raise
            return StartRecord(0, {}, 0, end.ended_ms)
        assert isinstance(start, StartRecord)
        return start

    def _attach(self, stored: StoredSweep, end: EndRecord | None) -> str:
        """Return the trial's run id: from the cursor, else from a search by tags, else of a new run."""
        if self.cursor.run_id is None:
            start, found = self._start(), stored.trial_run(self.label)
            if found is None:
                name = run_name(self.label, start.params)
                self.cursor.run_id = stored.create_trial_run(self.label, name, start.started_ms)
            else:
                self.cursor.run_id = str(found.info.run_id)
                if end is None and found.info.status != "RUNNING":
                    self._go_on(stored, self.cursor.run_id)
        return self.cursor.run_id

    def _go_on(self, stored: StoredSweep, run_id: str) -> None:
        stored.client.update_run(run_id, status="RUNNING")
        stored.log(run_id, tags={"trial.state": "RUNNING"})
        cursor = self.cursor.copy()
        cursor.end = ""
        cursor.uploaded = [name for name in cursor.uploaded if name != END_NAME]
        self._save(cursor)

    def _upload_segments(self, stored: StoredSweep, run_id: str, names: Sequence[str]) -> None:
        segments = [self._spool.read(name) for name in names]
        reports = [segment for segment in segments if isinstance(segment, ReportRecord)]
        params = next((run_params(segment) for segment in segments if isinstance(segment, StartRecord)), {})
        cursor = self.cursor.copy()
        points = [point for report in reports for point in self._points(report, cursor)]
        stored.log(run_id, points, params, cursor.dropped_tag())
        samples = []
        for report in reports:
            if report.image is not None:
                sample = self._sample(report.image, "samples", report.critic_updates, report.timestamp_ms, cursor)
                cursor.last_image = report.image if sample else cursor.last_image
                samples.append(sample)
        self._log_samples(stored, run_id, samples, cursor)
        cursor.uploaded += names
        self._save(cursor)

    def _log_samples(
        self, stored: StoredSweep, run_id: str, samples: Iterable[Sample | None], cursor: UploadCursor
    ) -> None:
        """Write sample grids to a run. If the place of the run's files is not allowed, note them as missing."""
        try:
            log_samples(stored, run_id, samples)
        except MisplacedFiles:
            cursor.miss("samples")

    def _points(self, report: ReportRecord, cursor: UploadCursor) -> list[Point]:
        """Return the points of a report, with the lowest objective so far. Count them in `cursor`."""
        values: dict[str, float] = {}
        for key, value in report.metrics.items():
            # MLflow stores an infinity as 1.8e308. A NaN score would hide the last finite score.
            if math.isinf(value) or (math.isnan(value) and key.startswith("eval/")):
                cursor.dropped[key] = cursor.dropped.get(key, 0) + 1
            else:
                values[key] = value
        if self._objective in values and (self._allow_copies or not copies(values)):
            cursor.best = min(values[self._objective], math.inf if cursor.best is None else cursor.best)
            values[best_key(self._objective)] = cursor.best
            if self._floor > 0:  # Without a positive floor, a score may be 0 or less.
                values[log_key(self._objective)] = math.log10(max(cursor.best, self._floor))
        floor_key = f"{self._objective}_floor"
        if math.isfinite(self._floor) and floor_key not in cursor.counts:
            values[floor_key] = self._floor
        for key, value in values.items():
            cursor.count(key, value)
        return [(key, value, report.timestamp_ms, report.critic_updates) for key, value in values.items()]

    def _sample(self, name: str, key: str, step: int, timestamp_ms: int, cursor: UploadCursor) -> Sample | None:
        """Return a picture of the trial. If its file is missing or is no image, note that and return None."""
        sample = Sample.of(self._read_picture(name), key, step, timestamp_ms)
        if sample is None:
            cursor.miss(f"{SAMPLES}/{name}")
        return sample

    def _read_picture(self, name: str) -> bytes:
        """Return a picture's file; empty if it is missing."""
        try:
            return (self.folder / SAMPLES).read(name, MOST_PICTURE)
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def _upload_end(self, stored: StoredSweep, run_id: str, end: EndRecord) -> None:
        cursor = self.cursor.copy()
        if cursor.last_image is not None:
            # MLflow's image slider starts at step 0. The time is fixed so that a later end replaces the image.
            final = self._sample(cursor.last_image, "samples/final", 0, self._start().started_ms, cursor)
            self._log_samples(stored, run_id, [final, self._film("samples/film", FILM_SIDE)], cursor)
        if end.model_dir is not None:
            try:
                self._upload_model(stored, run_id, end, cursor)
            except (FileNotFoundError, MisplacedFiles):
                cursor.miss(f"{end.model_dir}/")
        # The test scores have a fixed time, so that a later end of the trial repeats the same points.
        step, started_ms = _step(end), self._start().started_ms
        tested = {key: value for key, value in end.test.items() if math.isfinite(value)}
        for key, value in tested.items():
            cursor.counts[key], cursor.latest[key] = 1, repr(value)
        stored.log(run_id, [(key, value, started_ms, step) for key, value in tested.items()])
        if copied(end.state, end.reason):
            cursor.best = None
            # MLflow sorts NaN last.
            keys = [key for key in (best_key(self._objective), log_key(self._objective)) if key in cursor.counts]
            stored.log(run_id, [(key, math.nan, end.ended_ms, end.critic_updates) for key in keys])
            for key in keys:
                cursor.count(key, math.nan)
        self._close(stored, run_id, end)
        cursor.end = end.mark
        cursor.uploaded.append(END_NAME)
        self._save(cursor)

    def _film(self, key: str, side: int) -> Sample | None:
        """Return the film of the training (see `film`)."""
        steps = [int(name[:-4]) for name in (self.folder / SAMPLES).names() if IMAGE.fullmatch(name)]
        pictures = {step: self._read_picture(sample_name(step)) for step in chosen(steps)}
        return Sample.of(film(pictures, self._grid) or b"", key, 0, self._start().started_ms, side)

    @property
    def params(self) -> dict[str, Param]:
        """The trial's hyper-parameters; empty if its process died before it recorded them."""
        return self._start().params

    def picture(self) -> bytes:
        """Return the PNG of the samples of the trial's best checkpoint; empty if there is none."""
        end = self._end()
        return self._read_picture(sample_name(end.best.critic_updates)) if end and end.best else b""

    def show(self, stored: StoredSweep, key: str) -> None:
        """Upload small copies of the best checkpoint's samples and of the film, as image series of this name."""
        picture = self.picture()
        if self.cursor.run_id is not None and picture:
            samples = Sample.of(picture, f"samples/{key}", 0, self._start().started_ms, LEADER_SIDE)
            log_samples(stored, self.cursor.run_id, [samples, self._film(f"film/{key}", LEADER_SIDE)])

    def _upload_model(self, stored: StoredSweep, run_id: str, end: EndRecord, cursor: UploadCursor) -> None:
        tags = {"sweep.role": role_of(self.label), "trial.number": self.label, "trial.state": end.state, END: end.mark}
        name, params = f"generator-{trial_name(self.label)}", run_params(self._start())
        folder, tags = self.folder / str(end.model_dir), {**tags, **self._best_tags(end)}
        model = log_generator(stored, run_id, folder, name, params, tags)
        stored.finish_model(model.model_id, run_id, _step(end), self._best_point(end, cursor))
        cursor.model_id, cursor.model_uri = model.model_id, f"models:/{model.model_id}"
        cursor.missing = [name for name in cursor.missing if not name.endswith("/")]

    def _best_point(self, end: EndRecord, cursor: UploadCursor) -> Point | None:
        """Return the model's score: the existing point of the curve if there is one, so that none is doubled."""
        best = end.best
        if best is None:
            return None
        name = step_name(best.critic_updates)
        report = self._spool.read(name) if name in cursor.uploaded else None
        if isinstance(report, ReportRecord) and math.isfinite(value := report.metrics.get(self._objective, math.nan)):
            return (self._objective, value, report.timestamp_ms, report.critic_updates)
        if not math.isfinite(best.value):
            return None
        cursor.counts[self._objective] = cursor.counts.get(self._objective, 0) + 1
        return (self._objective, best.value, end.ended_ms, best.critic_updates)

    def _best_tags(self, end: EndRecord) -> dict[str, str]:
        if end.best is None:
            return {}
        checkpoint = self.folder / CHECKPOINTS / end.best.checkpoint
        return {"best.checkpoint": str(checkpoint), "best.critic_updates": str(end.best.critic_updates)}

    def _close(self, stored: StoredSweep, run_id: str, end: EndRecord) -> None:
        tags = {
            "trial.state": end.state,
            "trial.reason": end.reason,
            "mlflow.note.content": end_text(end, self._objective, self._floor),
            "mlflow.runName": run_name(self.label, self._start().params, end.best.value if end.best else None),
        }
        stored.log(run_id, tags={**tags, **self._best_tags(end)})
        stored.client.set_terminated(run_id, STATUS[end.state], end.ended_ms)


def _step(end: EndRecord) -> int:
    """Return the critic updates of the best checkpoint, or of the end if there is none."""
    return end.best.critic_updates if end.best else end.critic_updates


def _equal(stored: float | None, spooled: float) -> bool:
    """Return whether MLflow stores the spooled value. Databases may change its last digits."""
    if stored is None:
        return False
    return math.isclose(stored, spooled, rel_tol=1e-9) or (math.isnan(stored) and math.isnan(spooled))
