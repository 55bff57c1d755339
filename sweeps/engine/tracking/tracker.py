"""The record of a sweep in MLflow, written from the spools that its trials leave.

    sweep folder/trials/<label>/spool/  ->  one uploader thread in the driver  ->  MLflow

Training never talks to MLflow. The uploader may be stopped, killed and started again at any time and
the server may be away meanwhile: what is spooled stays until it is stored, and is stored once.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sweeps.engine.plan.plan import BOUNDS
from sweeps.engine.plan.uri import MisplacedFiles, answers, in_short, is_http, own_tracking_uri, shown
from sweeps.engine.storage.layout import parts, storage_of_sweep, trial_folder, trial_labels
from sweeps.engine.tracking.files import small_png
from sweeps.engine.tracking.film import tiles
from sweeps.engine.tracking.note import best_key, role_of
from sweeps.engine.tracking.parent import PICTURE, SMALL, Place, Winner, parent_text
from sweeps.engine.tracking.store import ExperimentDeleted, Point, Store
from sweeps.engine.tracking.trial import TrialUpload
from sweeps.engine.tracking.view import VIEW_TAG, plain_link, searched, view, view_link
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

_log = logging.getLogger(__name__)

_INTERVAL_S = 2.0
_LONGEST_WAIT_S = 60.0
_FULL_PASS_EVERY = 15
_SMALL_SIDE = 72  # pixels, of the picture beside the winner's lines
# Whose samples the view shows: as many as stand side by side in 690 pixels, as MLflow puts the best one last.
_LEADERS = 4


class Tracker:
    """Uploads one sweep, whose `folder` holds `trials/<label>/`, to the MLflow store at `tracking_uri`.

    `sweep_id` tells its runs from those of other sweeps of the same name. `objective` is the metric that
    is made small (such as `eval/fid`), `floor` what real data scores against real data (NaN where there
    is none), `description` what was asked of the sweep: it becomes the artifact `sweep.json` of the
    sweep's run, and its plain values become tags.
    """

    def __init__(
        self,
        folder: Folder,
        sweep: str,
        sweep_id: str,
        tracking_uri: str,
        objective: str,
        floor: float,
        description: Mapping[str, Any],
    ) -> None:
        self._folder, self._sweep, self._sweep_id, self._uri = folder, sweep, sweep_id, tracking_uri
        self._objective, self._floor, self._description = objective, floor, dict(description)
        self._store: Store | None = None
        self._experiment_id: str | None = None
        self._trials: dict[str, TrialUpload] = {}
        self._failed: dict[str, str] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._grid, self._searched = tiles(self._description), searched(self._description)
        self._deadline = math.inf
        self._thread: threading.Thread | None = None
        self._last_store: Store | None = None
        self._has_view = False
        self._published: list[str] = []
        self._publish_error = ""
        self._ended: tuple[Mapping[str, str | float], str] | None = None
        self.last_error: str | None = None
        """Why the last pass did not bring everything over; None if it did."""

    def open(self, first_start: bool) -> None:
        """Find or make the sweep's experiment and run, and bring the runs' states up to date.

        Raises `UserError` if the experiment is in MLflow's trash and, on the first start, if the
        server does not answer within seconds or refuses us. A sweep that goes on only warns of that:
        the records wait in the spool.
        """
        with self._lock:
            self._find_trials()
            try:
                self._connect()
            except ExperimentDeleted:
                raise
            except UserError as error:
                if first_start:
                    raise
                self._warn(str(error))
            except Exception as error:
                if first_start:
                    raise UserError(
                        f"the MLflow store must open; {shown(self._uri)} did not: {in_short(error)}: "
                        "check --tracking-uri"
                    ) from error
                self._warn(in_short(error))

    def drain(self, full: bool = True) -> bool:
        """Bring over what is new, in one pass; whether everything there is has been.

        Raises nothing: `last_error` says what went wrong. A pass that is not full passes over trials
        that have ended, or failed to upload, before.
        """
        with self._lock:
            try:
                self._find_trials()
                store = self._connect()
            except Exception as error:  # tracking never fails a sweep: whatever it is, it is tried again
                self._warn(in_short(error))
                return False
            for label, trial in self._sorted():
                if not full and (trial.note.ended or label in self._failed):
                    continue
                if time.monotonic() > self._deadline or not self._upload(store, label, trial):
                    return False
            if not self._failed:
                self.last_error = None
            return not self._failed

    def start(self) -> None:
        """Begin to drain every two seconds in a thread of its own; after errors less often."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="mlflow-uploader", daemon=True)
            self._thread.start()

    def stop(
        self,
        final_status: Literal["FINISHED", "KILLED", "FAILED"],
        summary: Mapping[str, str | float],
        trials: Mapping[str, Mapping[str, float]] | None = None,
        timeout_s: float = 60.0,
        confirmed: str = "",
        last: Callable[[], object] = lambda: None,
    ) -> Literal["complete", "partial"]:
        """Drain to the end, compare MLflow with the spools, end the sweep's run; what `mlflow.sync` then says.

        Strings in `summary` become tags of the sweep's run, numbers metrics; `trials` has such metrics of single
        trials, by label; `confirmed` is a line of HTML for its description, on how sure the best trial is; `last` is
        called when the trials have been brought over, before the run ends. Trials that have not ended are shown as
        KILLED and WAITING until the sweep goes on. Where MLflow stays away for `timeout_s` seconds the answer is
        "partial", and the next start brings the rest.
        """
        self._deadline = time.monotonic() + timeout_s
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None
        self._drain_patiently()
        last()
        try:
            with self._lock:
                return self._finish(final_status, summary, trials or {}, confirmed)
        except Exception as error:
            self._warn(in_short(error))
            return "partial"
        finally:
            self._deadline = math.inf

    def run_ids(self) -> dict[str, str]:
        """The MLflow run of each trial that has one, by the trial's label."""
        return {label: run for label, trial in self._sorted() if (run := trial.note.run_id)}

    def model_uris(self) -> dict[str, str]:
        """The MLflow model (`models:/m-...`) of each trial that has one, by the trial's label."""
        return {label: uri for label, trial in self._sorted() if (uri := trial.note.model_uri)}

    def ui_command(self) -> str:
        """Return what to run to look at the sweep: `sweeps serve-ui` for a store on this machine, else the URL."""
        if is_http(self._uri):
            return shown(self._uri)
        # The environment's own command, which need not be on the path.
        beside = Path(sys.executable).with_name("sweeps")
        storage = storage_of_sweep(self._folder)
        words = [str(beside) if beside.exists() else "sweeps", "serve-ui", self._sweep, "--storage", str(storage)]
        if not storage.is_local or self._uri != own_tracking_uri(storage):
            words += ["--tracking-uri", shown(self._uri)]
        return shlex.join(words)

    @property
    def shown_uri(self) -> str:
        """The tracking URI, without a password."""
        return shown(self._uri)

    def link(self) -> str:
        """Return where the browser shows the trials, best first. Empty for a store that `ui_command` serves."""
        if not is_http(self._uri):
            return ""
        base = shown(self._uri).rstrip("/")
        return f"{base}{self._page()}" if self._experiment_id is not None else base

    def _page(self) -> str:
        """Return the address of the trials on a server, from `/#` on."""
        assert self._experiment_id is not None
        if self._has_view:
            return view_link("", self._experiment_id, self._sweep_id)
        return plain_link("", self._experiment_id, self._sweep_id, self._objective)

    def publish(self, folder: Folder, names: Sequence[str], to: str = "report") -> None:
        """Make files artifacts of the sweep's run, below `to`, and link to them in its description.

        Raises nothing: what cannot be brought over is warned of.
        """
        try:
            files = {name: folder.read(name) for name in names}
            with self._lock:
                store = self._last_store or self._connect()
            store.put(store.parent_id, files, to)  # outside of the lock: it takes time
            with self._lock:
                self._publish_error = ""
                self._published = list(dict.fromkeys([*self._published, *(f"{to}/{name}" for name in names)]))
                if self._ended is not None:
                    store.log(store.parent_id, tags={"mlflow.note.content": self._text(store, *self._ended)})
        except Exception as error:  # tracking never fails a sweep
            said = f"MLflow has not got {', '.join(names)} of {folder}: {in_short(error)}"
            if said != self._publish_error:
                _log.warning("%s", said)
            self._publish_error = said

    def _warn(self, said: str) -> None:
        if said != self.last_error:
            _log.warning("MLflow is not up to date, the records wait in %s: %s", self._folder, said)
        self.last_error = said

    def _find_trials(self) -> None:
        for label in trial_labels(self._folder):
            if label not in self._trials:
                folder = trial_folder(self._folder, label)
                self._trials[label] = TrialUpload(folder, label, self._objective, self._floor, self._grid)

    def _sorted(self) -> list[tuple[str, TrialUpload]]:
        """The trials by number."""
        return sorted(self._trials.items(), key=lambda each: parts(each[0]))

    def _connect(self) -> Store:
        """The store, opened now if it was not before."""
        if self._store is None:
            store = Store(self._uri, self._sweep, self._sweep_id)
            plain = {k: str(v) for k, v in self._description.items() if isinstance(v, str | int | float)}
            own = {f"sweep.{key}": value for key, value in plain.items() if key not in ("name", "id", "role")}
            store.log(store.parent_id, tags=own)
            described = json.dumps(self._description, indent=2, default=str).encode()
            try:
                store.put(store.parent_id, {"sweep.json": described})
            except MisplacedFiles as error:  # what is no file can still be recorded
                self._warn(str(error))
            runs = store.trial_runs()
            for trial in self._trials.values():
                trial.reconcile(store, runs)
            self._store, self._last_store, self._experiment_id = store, store, store.experiment_id
            self._set_view(store, ("samples/final", "samples/film"))
        return self._store

    def _run(self) -> None:
        passes, wait = 0, _INTERVAL_S
        while not self._stopping.wait(wait):
            drained = self.drain(full=passes % _FULL_PASS_EVERY == 0)
            away = not drained and (self._store is None or not answers(self._uri))
            wait = min(2 * wait, _LONGEST_WAIT_S) if away else _INTERVAL_S
            passes += 1

    def _drain_patiently(self) -> None:
        """Drain until all is over, the deadline passes, or a server that does answer has refused three times."""
        refusals, wait = 0, 1.0
        while not self.drain() and refusals < 2 and time.monotonic() + wait < self._deadline:
            if self._store is not None and answers(self._uri):
                refusals += 1
            time.sleep(wait)
            wait = min(2 * wait, 8.0)

    def _upload(self, store: Store, label: str, trial: TrialUpload) -> bool:
        """Bring one trial over; whether it makes sense to go on with the next."""
        try:
            trial.upload(store)
        except Exception as error:  # one trial's trouble is not to hold the others up
            self._failed[label] = f"trial {label}: {in_short(error)}"
            self._warn(self._failed[label])
            return answers(self._uri)
        self._failed.pop(label, None)
        return True

    def _finish(
        self,
        status: str,
        summary: Mapping[str, str | float],
        trials: Mapping[str, Mapping[str, float]],
        confirmed: str,
    ) -> Literal["complete", "partial"]:
        store = self._connect()
        runs = store.trial_runs()
        for trial in self._trials.values():
            trial.reconcile(store, runs)
            trial.interrupt(store, runs)
        shortfalls = {label: said for label, trial in self._sorted() if (said := trial.shortfall(store, runs))}
        sync: Literal["complete", "partial"] = "partial" if shortfalls else "complete"
        tags = {key: value for key, value in summary.items() if isinstance(value, str)}
        self._ended = summary, confirmed
        tags.setdefault("mlflow.note.content", self._text(store, summary, confirmed))
        tags["mlflow.sync"] = sync
        tags["mlflow.sync.reason"] = "; ".join(f"trial {label}: {said}" for label, said in shortfalls.items()) or "-"
        store.log(store.parent_id, self._new_points(store, store.parent_id, summary), tags=tags)
        for label, metrics in trials.items():
            if (run_id := self._trials[label].note.run_id) is not None:
                store.log(run_id, self._new_points(store, run_id, metrics))
        if status == "FINISHED":
            means = {key for metrics in trials.values() for key in metrics if not key.endswith(BOUNDS)}
            self._show_leaders(store, sorted(means))
        store.terminate(store.parent_id, status)
        self.last_error = tags["mlflow.sync.reason"] if shortfalls else None
        self._store = None  # going on means looking again, and setting the sweep's run going
        return sync

    def _new_points(self, store: Store, run_id: str, summary: Mapping[str, str | float]) -> list[Point]:
        """The summary's numbers that the run does not have yet: the sweep may be stopped more than once."""
        had, now_ms = store.run(run_id).metrics, time.time_ns() // 1_000_000
        values = {key: float(value) for key, value in summary.items() if not isinstance(value, str)}
        new = {key: value for key, value in values.items() if math.isfinite(value) and had.get(key) != value}
        return [(key, value, now_ms, 0) for key, value in new.items()]

    def _set_view(self, store: Store, images: Sequence[str], scores: Sequence[str] = ()) -> None:
        """Have the link open a view of the trials that shows images of these keys, or the plain page if it cannot.

        scores: metrics with columns of their own beside the objective's.
        """
        has_floor = self._floor > 0
        try:
            value = view(self._sweep, self._sweep_id, self._objective, has_floor, self._searched, images, scores)
            store.tag_experiment(f"{VIEW_TAG}{self._sweep_id}", value)
            self._has_view = True
        except Exception as error:
            _log.warning("MLflow's page of the trials is not prepared: %s", in_short(error))

    def _show_leaders(self, store: Store, scores: Sequence[str]) -> None:
        """Have the view show the samples of the search's best trials alone.

        An image cannot be taken back, and the best change where a sweep is extended, so the key says of how many.
        """
        searched = [trial for label, trial in self._trials.items() if role_of(label) == "trial"]
        scored = [trial for trial in searched if trial.note.best is not None and trial.note.ended]
        key = f"best of {len(scored)}"
        try:
            for trial in sorted(scored, key=lambda trial: trial.note.best or 0.0)[:_LEADERS]:
                trial.show(store, f"samples/{key}", f"film/{key}")
        except Exception as error:
            _log.warning("MLflow has not all samples of the best trials: %s", in_short(error))
        else:
            if scored:
                self._set_view(store, (f"samples/{key}", f"film/{key}"), scores)

    def _text(self, store: Store, summary: Mapping[str, str | float], confirmed: str) -> str:
        """The description of the sweep's run."""
        page = self._page()
        place = Place(store.experiment_id, store.parent_id, page[page.index("#") :])
        winner = self._winner(store, summary)
        return parent_text(winner, self._objective, self._floor, confirmed, place, self._published)

    def _winner(self, store: Store, summary: Mapping[str, str | float]) -> Winner | None:
        name = summary.get("best.trial")
        value = summary.get(best_key(self._objective), summary.get(self._objective))
        if name is None or not isinstance(value, float | int):
            return None
        trial = self._trials.get(str(name))
        picture = trial.picture() if trial else None
        small = small_png(picture, _SMALL_SIDE) if picture else None
        if picture and small:
            try:
                store.put(store.parent_id, {PICTURE: picture, SMALL: small})
            except MisplacedFiles:
                small = None
        return Winner(
            trial=str(name),
            value=value,
            params=trial.params if trial else {},
            searched=self._searched,
            checkpoint=str(summary.get("best.checkpoint", "")),
            model_uri=trial.note.model_uri if trial else None,
            has_picture=small is not None,
        )
