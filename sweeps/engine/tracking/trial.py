"""One trial's way from its spool to its MLflow run, with a note of how far it has come.

The note, `<trial folder>/mlflow.json`, is written after what it speaks of. A process killed between
the two writes the same again, which changes nothing; without the note everything is written again.
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
    read_note,
    role_of,
    run_name,
    run_params,
    trial_name,
    write_note,
)
from sweeps.engine.tracking.store import Point, Store, StoredRun
from wgan_core.data.folder import Folder

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
"""MLflow's word for each of Optuna's."""

FILM_SIDE, LEADER_SIDE = 400, 128
"""Pixels as which MLflow's image charts show the film, and each of the best trials' pictures."""

_AT_ONCE = 200  # segments between two notes


class TrialUpload:
    """Brings one trial's spool to MLflow; `objective` is the metric whose lowest value is the best.

    grid: how its pictures are made up, if they are grids of images.
    """

    def __init__(self, folder: Folder, label: str, objective: str, floor: float, grid: Tiles | None = None) -> None:
        self.folder, self.label = folder, label
        self._objective, self._floor, self._grid = objective, floor, grid
        self._spool = Spool(folder)
        self.note = read_note(folder)

    def upload(self, store: Store) -> None:
        """Write what is new. Raises what MLflow or the file system raises; nothing is lost by that."""
        names = self._spool.segments()
        if START_NAME not in names and END_NAME not in names:
            return
        uploaded = set(self.note.uploaded)
        new = [name for name in names if name not in uploaded and name != END_NAME]
        end = self._read_end(names)
        reopened = self.note.ended and (end is None or mark_of(end) != self.note.end)
        if not new and not reopened and (end is None or mark_of(end) == self.note.end):
            return
        run_id = self._attach(store, end)
        if reopened or (self.note.end == INTERRUPTED and new):
            self._go_on(store, run_id)
        for first in range(0, len(new), _AT_ONCE):
            self._upload_segments(store, run_id, new[first : first + _AT_ONCE])
        if end is not None and mark_of(end) != self.note.end:
            self._upload_end(store, run_id, end)

    def reconcile(self, store: Store, runs: Mapping[str, StoredRun]) -> None:
        """Make the note and MLflow agree: forget a run that the store has not, end one that it has as running."""
        run_id = self.note.run_id
        if run_id is None:
            return
        if run_id not in runs:  # another store, or one set up anew
            self.note = UploadCursor()
        elif self.note.ended and runs[run_id].status == "RUNNING" and not runs[run_id].deleted:
            end = self._read_end(self._spool.segments())
            if end is not None:
                self._close(store, run_id, end)
        elif not self.note.end and runs[run_id].status != "RUNNING":
            self.note.end = INTERRUPTED  # a process killed just before it noted that

    def interrupt(self, store: Store, runs: Mapping[str, StoredRun]) -> None:
        """Say that a trial that has not ended waits to be gone on with, as the sweep has stopped."""
        if self.note.run_id is None or self.note.end or runs[self.note.run_id].deleted:
            return
        store.log(self.note.run_id, tags={"trial.state": "WAITING"})
        store.terminate(self.note.run_id, "KILLED")
        note = self.note.copy()
        note.end = INTERRUPTED
        self._save(note)

    def shortfall(self, store: Store, runs: Mapping[str, StoredRun]) -> str | None:
        """What MLflow lacks of this trial, or None: segments, each metric's last value, points of one metric."""
        note, names = self.note, self._spool.segments()
        if missing := [name for name in names if name not in set(note.uploaded)]:
            return f"{len(missing)} segments not uploaded, first {missing[0]}"
        if note.run_id is None:
            return "no run" if names else None
        if note.run_id not in runs or runs[note.run_id].deleted:
            return "its run was deleted"
        if note.missing:
            return f"files not there or not whole: {', '.join(note.missing)}"
        stored = runs[note.run_id].metrics
        if wrong := [key for key, value in note.latest.items() if not equal(stored.get(key), float(value))]:
            return f"the last value of {wrong[0]} is {stored.get(wrong[0])}, not {note.latest[wrong[0]]}"
        # A report's metrics travel together, so the metric with the most points stands for the others.
        longest = max(note.counts, key=lambda key: note.counts[key], default=None)
        if longest and (count := store.points_stored(note.run_id, [longest])[longest]) != note.counts[longest]:
            return f"{count} points of {longest}, not {note.counts[longest]}"
        return None

    def _save(self, note: UploadCursor) -> None:
        self.note = note
        write_note(self.folder, note)

    def _read_end(self, names: Iterable[str]) -> EndRecord | None:
        end = self._spool.read(END_NAME) if END_NAME in names else None
        return end if isinstance(end, EndRecord) else None

    def _start(self, end: EndRecord | None) -> StartRecord:
        """What the trial is; without params if its process was lost before it could say."""
        try:
            start = self._spool.read(START_NAME)
        except FileNotFoundError:
            if end is None:
                raise
            return StartRecord(0, {}, 0, end.ended_ms)
        assert isinstance(start, StartRecord)
        return start

    def _attach(self, store: Store, end: EndRecord | None) -> str:
        """The trial's run: the one noted, else one found by its tags, else a new one."""
        if self.note.run_id is None:
            start, found = self._start(end), store.trial_run(self.label)
            if found is None:
                self.note.run_id = store.create_trial_run(
                    self.label, run_name(self.label, start.params), start.started_ms
                )
            else:
                self.note.run_id = found.run_id
                if end is None and found.status != "RUNNING":
                    self._go_on(store, found.run_id)
        return self.note.run_id

    def _go_on(self, store: Store, run_id: str) -> None:
        store.set_running(run_id)
        store.log(run_id, tags={"trial.state": "RUNNING"})
        note = self.note.copy()
        note.end = ""
        note.uploaded = [name for name in note.uploaded if name != END_NAME]
        self._save(note)

    def _upload_segments(self, store: Store, run_id: str, names: Sequence[str]) -> None:
        segments = [self._spool.read(name) for name in names]
        steps = [segment for segment in segments if isinstance(segment, ReportRecord)]
        params = next((run_params(segment) for segment in segments if isinstance(segment, StartRecord)), {})
        note = self.note.copy()
        points = [point for step in steps for point in self._points(step, note)]
        store.log(run_id, points, params, note.dropped_tag())
        self._log_samples(store, run_id, [sample for step in steps if (sample := self._sample(step, note))], note)
        note.uploaded += names
        self._save(note)

    def _log_samples(self, store: Store, run_id: str, samples: Sequence[Sample], note: UploadCursor) -> None:
        """Write sample grids to a run; where its files may not go, note that they are missing."""
        try:
            log_samples(store, run_id, samples)
        except MisplacedFiles:
            note.missing = sorted({*note.missing, "samples"})

    def _points(self, step: ReportRecord, note: UploadCursor) -> list[Point]:
        """A report's points, the lowest objective so far among them."""
        values: dict[str, float] = {}
        for key, value in step.metrics.items():
            # MLflow would store an infinity as 1.8e308; a NaN in a score would hide the last good one.
            if math.isinf(value) or (math.isnan(value) and key.startswith("eval/")):
                note.dropped[key] = note.dropped.get(key, 0) + 1
            else:
                values[key] = value
        if self._objective in values:
            note.best = min(values[self._objective], math.inf if note.best is None else note.best)
            values[best_key(self._objective)] = note.best
            if self._floor > 0:  # otherwise a score may be 0 or less
                values[log_key(self._objective)] = math.log10(max(note.best, self._floor))
        floor_key = f"{self._objective}_floor"
        if math.isfinite(self._floor) and floor_key not in note.counts:
            values[floor_key] = self._floor
        for key, value in values.items():
            note.counts[key] = note.counts.get(key, 0) + 1
            note.latest[key] = repr(value)
        return [(key, value, step.timestamp_ms, step.critic_updates) for key, value in values.items()]

    def _sample(self, step: ReportRecord, note: UploadCursor) -> Sample | None:
        if step.image is None:
            return None
        sample = self._image(step.image, "samples", step.critic_updates, step.timestamp_ms, note)
        note.last_image = step.image if sample else note.last_image
        return sample

    def _image(self, name: str, key: str, step: int, timestamp_ms: int, note: UploadCursor) -> Sample | None:
        """An image of the trial; None, and a word in the note, if it is not there or is none."""
        try:
            png = (self.folder / SAMPLES).read(name, MOST_PICTURE)
        except (FileNotFoundError, NotADirectoryError):
            png = b""
        webp = thumbnail(png)
        if webp is None:
            note.missing = sorted({*note.missing, f"samples/{name}"})
            return None
        return Sample(key, step, timestamp_ms, png, webp)

    def _upload_end(self, store: Store, run_id: str, end: EndRecord) -> None:
        note = self.note.copy()
        if note.last_image is not None:
            # At step 0, where MLflow's image slider starts, and at a fixed time, so that a later end replaces it.
            final = self._image(note.last_image, "samples/final", 0, self._start(end).started_ms, note)
            films = self._film("samples/film", FILM_SIDE)
            self._log_samples(store, run_id, [*([final] if final else []), *films], note)
        if end.model_dir is not None:
            try:
                note.model_id, note.model_uri = log_model(store, run_id, self._export(end, note))
                note.missing = [name for name in note.missing if not name.endswith("/")]
            except (FileNotFoundError, MisplacedFiles):
                note.missing = sorted({*note.missing, f"{end.model_dir}/"})
        store.log(run_id, self._test_points(end, note))
        self._close(store, run_id, end)
        note.end = mark_of(end)
        note.uploaded.append(END_NAME)
        self._save(note)

    def _film(self, key: str, side: int) -> list[Sample]:
        """The training in one picture, if there is one; at step 0 and a fixed time, as the final samples."""
        folder = self.folder / SAMPLES
        steps = [int(name[:-4]) for name in folder.names() if IMAGE.fullmatch(name)]
        pictures = {step: folder.read(sample_name(step), MOST_PICTURE) for step in chosen(steps)} if steps else {}
        png = film(pictures, self._grid)
        return [] if png is None else self._shown(key, png, side)

    def _shown(self, key: str, png: bytes, side: int) -> list[Sample]:
        """An image at step 0, where MLflow's slider starts, and at a fixed time, so that a later one replaces it."""
        started_ms = self._start(self._read_end(self._spool.segments())).started_ms
        webp = thumbnail(png, side)
        return [] if webp is None else [Sample(key, 0, started_ms, png, webp)]

    @property
    def best(self) -> BestCheckpoint | None:
        """Its lowest score, once it has ended."""
        end = self._read_end(self._spool.segments())
        return end.best if end is not None else None

    @property
    def params(self) -> dict[str, Param]:
        """What it was trained with; empty if its process was lost before it could say."""
        return self._start(self._read_end(self._spool.segments())).params

    def picture(self) -> bytes | None:
        """Of the samples of its best checkpoint."""
        best = self.best
        if best is None:
            return None
        try:
            return (self.folder / SAMPLES).read(sample_name(best.critic_updates), MOST_PICTURE)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def show(self, store: Store, samples: str, training: str) -> None:
        """Give its run the picture of its best checkpoint, and the film, once more, small, under keys of their own."""
        picture = self.picture()
        if self.note.run_id is not None and picture is not None:
            images = [*self._shown(samples, picture, LEADER_SIDE), *self._film(training, LEADER_SIDE)]
            log_samples(store, self.note.run_id, images)

    def _export(self, end: EndRecord, note: UploadCursor) -> Export:
        tags = {"sweep.role": role_of(self.label), "trial.number": self.label, "trial.state": end.state}
        return Export(
            folder=self.folder / str(end.model_dir),
            mark=mark_of(end),
            name=f"generator-{trial_name(self.label)}",
            params=run_params(self._start(end)),
            tags={**tags, **self._best_tags(end)},
            step=end.best.critic_updates if end.best else end.critic_updates,
            score=self._best_point(end.best, end.ended_ms, note) if end.best else None,
        )

    def _best_point(self, best: BestCheckpoint, ended_ms: int, note: UploadCursor) -> Point | None:
        """The model's score: the very point of the curve, so that the run does not get a second one."""
        name = step_name(best.critic_updates)
        step = self._spool.read(name) if name in note.uploaded else None
        if isinstance(step, ReportRecord) and math.isfinite(value := step.metrics.get(self._objective, math.nan)):
            return (self._objective, value, step.timestamp_ms, step.critic_updates)
        if not math.isfinite(best.value):
            return None
        note.counts[self._objective] = note.counts.get(self._objective, 0) + 1
        return (self._objective, best.value, ended_ms, best.critic_updates)

    def _test_points(self, end: EndRecord, note: UploadCursor) -> list[Point]:
        """At a fixed time, so that a later end of the same trial says the same again."""
        step = end.best.critic_updates if end.best else end.critic_updates
        points = [
            (key, value, self._start(end).started_ms, step) for key, value in end.test.items() if math.isfinite(value)
        ]
        for key, value, _, _ in points:
            note.counts[key], note.latest[key] = 1, repr(value)
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
