"""The upload of one trial from its spool to its MLflow run.

The upload cursor, `<trial folder>/mlflow.json`, says how far the upload has come. It is written after each upload. If
the process is killed in between, the next one uploads the same records again, which changes nothing. Without the
cursor, everything is uploaded again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sweeps.engine.plan.uri import MisplacedFiles
from sweeps.engine.storage.layout import IMAGE, MOST_PICTURE, SAMPLES, sample_name
from sweeps.engine.storage.spool import (
    END_NAME,
    START_NAME,
    BestCheckpoint,
    EndRecord,
    Param,
    ReportRecord,
    Spool,
    StartRecord,
    step_name,
)
from sweeps.engine.tracking.files import Export, Sample, log_model, log_samples, thumbnail
from sweeps.engine.tracking.film import Tiles, chosen, film
from sweeps.engine.tracking.note import (
    INTERRUPTED,
    UploadCursor,
    best_key,
    end_text,
    equal,
    log_key,
    mark_of,
    read_cursor,
    role_of,
    run_name,
    run_params,
    trial_name,
    write_cursor,
)
from sweeps.engine.tracking.store import Point, Store, StoredRun
from wgan_core.data.folder import Folder

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
        objective: The metric whose lowest value is the best.
        floor: Score of real samples against real samples; NaN if there is none.
        grid: Layout of the trial's sample pictures; None if they are no grids of images.

    Attributes:
        cursor: The trial's upload cursor.
    """

    def __init__(self, folder: Folder, label: str, objective: str, floor: float, grid: Tiles | None = None) -> None:
        self.folder, self.label = folder, label
        self._objective, self._floor, self._grid = objective, floor, grid
        self._spool = Spool(folder)
        self.cursor = read_cursor(folder)

    def upload(self, store: Store) -> None:
        """Upload all new records. Pass on errors of MLflow and of the file system; they lose no record."""
        names = self._spool.segments()
        if START_NAME not in names and END_NAME not in names:
            return
        uploaded = set(self.cursor.uploaded)
        new = [name for name in names if name not in uploaded and name != END_NAME]
        end = self._read_end(names)
        reopened = self.cursor.ended and (end is None or mark_of(end) != self.cursor.end)
        if not new and not reopened and (end is None or mark_of(end) == self.cursor.end):
            return
        run_id = self._attach(store, end)
        if reopened or (self.cursor.end == INTERRUPTED and new):
            self._go_on(store, run_id)
        for first in range(0, len(new), _AT_ONCE):
            self._upload_segments(store, run_id, new[first : first + _AT_ONCE])
        if end is not None and mark_of(end) != self.cursor.end:
            self._upload_end(store, run_id, end)

    def reconcile(self, store: Store, runs: Mapping[str, StoredRun]) -> None:
        """Bring the upload cursor and MLflow's runs into agreement.

        If the store lacks the trial's run, reset the cursor. If the trial's end is uploaded but MLflow shows its run as
        running, end the run. If MLflow shows an ended run of a trial without an end, mark the trial as interrupted.
        """
        run_id = self.cursor.run_id
        if run_id is None:
            return
        if run_id not in runs:  # The sweep got another store, or a new database.
            self.cursor = UploadCursor()
        elif self.cursor.ended and runs[run_id].status == "RUNNING" and not runs[run_id].deleted:
            end = self._read_end(self._spool.segments())
            if end is not None:
                self._close(store, run_id, end)
        elif not self.cursor.end and runs[run_id].status != "RUNNING":
            self.cursor.end = INTERRUPTED  # The process was killed before it wrote the cursor.

    def interrupt(self, store: Store, runs: Mapping[str, StoredRun]) -> None:
        """Mark a trial that has not ended as WAITING, because the sweep has stopped."""
        if self.cursor.run_id is None or self.cursor.end or runs[self.cursor.run_id].deleted:
            return
        store.log(self.cursor.run_id, tags={"trial.state": "WAITING"})
        store.terminate(self.cursor.run_id, "KILLED")
        cursor = self.cursor.copy()
        cursor.end = INTERRUPTED
        self._save(cursor)

    def shortfall(self, store: Store, runs: Mapping[str, StoredRun]) -> str | None:
        """Return what MLflow lacks of this trial, or None.

        The check compares the uploaded segments, the last value of each metric, and the number of points of one metric.
        """
        cursor, names = self.cursor, self._spool.segments()
        if missing := [name for name in names if name not in set(cursor.uploaded)]:
            return f"{len(missing)} segments not uploaded, first {missing[0]}"
        if cursor.run_id is None:
            return "no run" if names else None
        if cursor.run_id not in runs or runs[cursor.run_id].deleted:
            return "its run was deleted"
        if cursor.missing:
            return f"files not there or not whole: {', '.join(cursor.missing)}"
        stored = runs[cursor.run_id].metrics
        if wrong := [key for key, value in cursor.latest.items() if not equal(stored.get(key), float(value))]:
            return f"the last value of {wrong[0]} is {stored.get(wrong[0])}, not {cursor.latest[wrong[0]]}"
        # A report's metrics are uploaded together, so it is enough to count the metric with the most points.
        longest = max(cursor.counts, key=lambda key: cursor.counts[key], default=None)
        if longest and (count := store.points_stored(cursor.run_id, [longest])[longest]) != cursor.counts[longest]:
            return f"{count} points of {longest}, not {cursor.counts[longest]}"
        return None

    def _save(self, cursor: UploadCursor) -> None:
        self.cursor = cursor
        write_cursor(self.folder, cursor)

    def _read_end(self, names: Iterable[str]) -> EndRecord | None:
        end = self._spool.read(END_NAME) if END_NAME in names else None
        return end if isinstance(end, EndRecord) else None

    def _start(self, end: EndRecord | None) -> StartRecord:
        """Return the start record, or one without params if the trial's process died before it wrote one."""
        try:
            start = self._spool.read(START_NAME)
        except FileNotFoundError:
            if end is None:
                raise
            return StartRecord(0, {}, 0, end.ended_ms)
        assert isinstance(start, StartRecord)
        return start

    def _attach(self, store: Store, end: EndRecord | None) -> str:
        """Return the trial's run id: from the cursor, else from a search by tags, else of a new run."""
        if self.cursor.run_id is None:
            start, found = self._start(end), store.trial_run(self.label)
            if found is None:
                self.cursor.run_id = store.create_trial_run(
                    self.label, run_name(self.label, start.params), start.started_ms
                )
            else:
                self.cursor.run_id = found.run_id
                if end is None and found.status != "RUNNING":
                    self._go_on(store, found.run_id)
        return self.cursor.run_id

    def _go_on(self, store: Store, run_id: str) -> None:
        store.set_running(run_id)
        store.log(run_id, tags={"trial.state": "RUNNING"})
        cursor = self.cursor.copy()
        cursor.end = ""
        cursor.uploaded = [name for name in cursor.uploaded if name != END_NAME]
        self._save(cursor)

    def _upload_segments(self, store: Store, run_id: str, names: Sequence[str]) -> None:
        segments = [self._spool.read(name) for name in names]
        steps = [segment for segment in segments if isinstance(segment, ReportRecord)]
        params = next((run_params(segment) for segment in segments if isinstance(segment, StartRecord)), {})
        cursor = self.cursor.copy()
        points = [point for step in steps for point in self._points(step, cursor)]
        store.log(run_id, points, params, cursor.dropped_tag())
        self._log_samples(store, run_id, [sample for step in steps if (sample := self._sample(step, cursor))], cursor)
        cursor.uploaded += names
        self._save(cursor)

    def _log_samples(self, store: Store, run_id: str, samples: Sequence[Sample], cursor: UploadCursor) -> None:
        """Write sample grids to a run. If the place of the run's files is not allowed, record them as missing."""
        try:
            log_samples(store, run_id, samples)
        except MisplacedFiles:
            cursor.missing = sorted({*cursor.missing, "samples"})

    def _points(self, step: ReportRecord, cursor: UploadCursor) -> list[Point]:
        """Return the points of a report, with the lowest objective so far. Count them in `cursor`."""
        values: dict[str, float] = {}
        for key, value in step.metrics.items():
            # MLflow stores an infinity as 1.8e308. A NaN score would hide the last finite score.
            if math.isinf(value) or (math.isnan(value) and key.startswith("eval/")):
                cursor.dropped[key] = cursor.dropped.get(key, 0) + 1
            else:
                values[key] = value
        if self._objective in values:
            cursor.best = min(values[self._objective], math.inf if cursor.best is None else cursor.best)
            values[best_key(self._objective)] = cursor.best
            if self._floor > 0:  # Without a positive floor, a score may be 0 or less.
                values[log_key(self._objective)] = math.log10(max(cursor.best, self._floor))
        floor_key = f"{self._objective}_floor"
        if math.isfinite(self._floor) and floor_key not in cursor.counts:
            values[floor_key] = self._floor
        for key, value in values.items():
            cursor.counts[key] = cursor.counts.get(key, 0) + 1
            cursor.latest[key] = repr(value)
        return [(key, value, step.timestamp_ms, step.critic_updates) for key, value in values.items()]

    def _sample(self, step: ReportRecord, cursor: UploadCursor) -> Sample | None:
        if step.image is None:
            return None
        sample = self._image(step.image, "samples", step.critic_updates, step.timestamp_ms, cursor)
        cursor.last_image = step.image if sample else cursor.last_image
        return sample

    def _image(self, name: str, key: str, step: int, timestamp_ms: int, cursor: UploadCursor) -> Sample | None:
        """Return an image of the trial. If its file is missing or is no image, record that and return None."""
        try:
            png = (self.folder / SAMPLES).read(name, MOST_PICTURE)
        except (FileNotFoundError, NotADirectoryError):
            png = b""
        webp = thumbnail(png)
        if webp is None:
            cursor.missing = sorted({*cursor.missing, f"samples/{name}"})
            return None
        return Sample(key, step, timestamp_ms, png, webp)

    def _upload_end(self, store: Store, run_id: str, end: EndRecord) -> None:
        cursor = self.cursor.copy()
        if cursor.last_image is not None:
            # MLflow's image slider starts at step 0. The time is fixed so that a later end replaces the image.
            final = self._image(cursor.last_image, "samples/final", 0, self._start(end).started_ms, cursor)
            films = self._film("samples/film", FILM_SIDE)
            self._log_samples(store, run_id, [*([final] if final else []), *films], cursor)
        if end.model_dir is not None:
            try:
                cursor.model_id, cursor.model_uri = log_model(store, run_id, self._export(end, cursor))
                cursor.missing = [name for name in cursor.missing if not name.endswith("/")]
            except (FileNotFoundError, MisplacedFiles):
                cursor.missing = sorted({*cursor.missing, f"{end.model_dir}/"})
        store.log(run_id, self._test_points(end, cursor))
        self._close(store, run_id, end)
        cursor.end = mark_of(end)
        cursor.uploaded.append(END_NAME)
        self._save(cursor)

    def _film(self, key: str, side: int) -> list[Sample]:
        """Return the film of the training (see `film`) as a list of one image, or an empty list."""
        folder = self.folder / SAMPLES
        steps = [int(name[:-4]) for name in folder.names() if IMAGE.fullmatch(name)]
        pictures = {step: folder.read(sample_name(step), MOST_PICTURE) for step in chosen(steps)} if steps else {}
        png = film(pictures, self._grid)
        return [] if png is None else self._shown(key, png, side)

    def _shown(self, key: str, png: bytes, side: int) -> list[Sample]:
        """Return an image at step 0, where MLflow's slider starts, at a fixed time. A later image replaces it."""
        started_ms = self._start(self._read_end(self._spool.segments())).started_ms
        webp = thumbnail(png, side)
        return [] if webp is None else [Sample(key, 0, started_ms, png, webp)]

    @property
    def best(self) -> BestCheckpoint | None:
        """The trial's best checkpoint, once the trial has ended."""
        end = self._read_end(self._spool.segments())
        return end.best if end is not None else None

    @property
    def params(self) -> dict[str, Param]:
        """The trial's hyper-parameters; empty if its process died before it recorded them."""
        return self._start(self._read_end(self._spool.segments())).params

    def picture(self) -> bytes | None:
        """Return the PNG of the samples of the trial's best checkpoint, if there is one."""
        best = self.best
        if best is None:
            return None
        try:
            return (self.folder / SAMPLES).read(sample_name(best.critic_updates), MOST_PICTURE)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def show(self, store: Store, samples: str, training: str) -> None:
        """Upload small copies of the best checkpoint's samples and of the film.

        Args:
            store: The open store.
            samples: MLflow image key of the samples.
            training: MLflow image key of the film.
        """
        picture = self.picture()
        if self.cursor.run_id is not None and picture is not None:
            images = [*self._shown(samples, picture, LEADER_SIDE), *self._film(training, LEADER_SIDE)]
            log_samples(store, self.cursor.run_id, images)

    def _export(self, end: EndRecord, cursor: UploadCursor) -> Export:
        tags = {"sweep.role": role_of(self.label), "trial.number": self.label, "trial.state": end.state}
        return Export(
            folder=self.folder / str(end.model_dir),
            mark=mark_of(end),
            name=f"generator-{trial_name(self.label)}",
            params=run_params(self._start(end)),
            tags={**tags, **self._best_tags(end)},
            step=end.best.critic_updates if end.best else end.critic_updates,
            score=self._best_point(end.best, end.ended_ms, cursor) if end.best else None,
        )

    def _best_point(self, best: BestCheckpoint, ended_ms: int, cursor: UploadCursor) -> Point | None:
        """Return the model's score: the existing point of the curve if there is one, so that none is doubled."""
        name = step_name(best.critic_updates)
        step = self._spool.read(name) if name in cursor.uploaded else None
        if isinstance(step, ReportRecord) and math.isfinite(value := step.metrics.get(self._objective, math.nan)):
            return (self._objective, value, step.timestamp_ms, step.critic_updates)
        if not math.isfinite(best.value):
            return None
        cursor.counts[self._objective] = cursor.counts.get(self._objective, 0) + 1
        return (self._objective, best.value, ended_ms, best.critic_updates)

    def _test_points(self, end: EndRecord, cursor: UploadCursor) -> list[Point]:
        """Return the test scores. Their time is fixed so that a later end of the trial repeats the same points."""
        step = end.best.critic_updates if end.best else end.critic_updates
        points = [
            (key, value, self._start(end).started_ms, step) for key, value in end.test.items() if math.isfinite(value)
        ]
        for key, value, _, _ in points:
            cursor.counts[key], cursor.latest[key] = 1, repr(value)
        return points

    def _best_tags(self, end: EndRecord) -> dict[str, str]:
        if end.best is None:
            return {}
        checkpoint = self.folder / "checkpoints" / end.best.checkpoint
        return {"best.checkpoint": str(checkpoint), "best.critic_updates": str(end.best.critic_updates)}

    def _close(self, store: Store, run_id: str, end: EndRecord) -> None:
        tags = {
            "trial.state": end.state,
            "trial.reason": end.reason,
            "mlflow.note.content": end_text(end, self._objective, self._floor),
            "mlflow.runName": run_name(self.label, self._start(end).params, end.best.value if end.best else None),
        }
        store.log(run_id, tags={**tags, **self._best_tags(end)})
        store.terminate(run_id, STATUS[end.state], end.ended_ms)
