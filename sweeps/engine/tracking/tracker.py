"""The upload of a sweep to MLflow, from the spools that its trials write.

    sweep folder/trials/<label>/spool/  ->  one uploader thread in the driver  ->  MLflow

Training never talks to MLflow. The uploader may be stopped, killed and restarted at any time, and the server may be
down meanwhile. A record stays in the spool until MLflow has it, and MLflow stores each record only once.
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
_SMALL_SIDE = 72  # Largest side, in pixels, of the picture beside the winner's lines.
# Number of best trials whose samples the view shows. MLflow puts the best trial last, so all must fit side by side
# into 690 pixels.
_LEADERS = 4


class Tracker:
    """An uploader of one sweep to one MLflow store.

    Args:
        folder: The sweep's folder, which holds `trials/<label>/`.
        sweep: The sweep's name, which is also the experiment's name.
        sweep_id: Tells the sweep's runs from the runs of other sweeps with the same name.
        tracking_uri: Tracking URI of the MLflow store.
        objective: The metric to minimise, such as `eval/fid`.
        floor: Score of real samples against real samples; NaN if there is none.
        description: The sweep's plan. It becomes the artifact `sweep.json` of the sweep's run. Its strings and numbers
            also become tags.
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
        """Why the last pass did not upload everything; None if it did."""

    def open(self, first_start: bool) -> None:
        """Find or create the sweep's experiment and run, and bring the runs' states up to date.

        Args:
            first_start: Raise if the store does not open. A continued sweep only warns: its records wait in the spool.

        Raises:
            UserError: The experiment is in MLflow's trash. On the first start also: the store does not open, the server
                does not answer within seconds, or it refuses access.
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
        """Upload all new records in one pass. Raise nothing: `last_error` says what went wrong.

        Args:
            full: Visit every trial. Otherwise skip trials whose end is uploaded, and trials whose last upload failed.

        Returns:
            Whether MLflow now has every record.
        """
        with self._lock:
            try:
                self._find_trials()
                store = self._connect()
            except Exception as error:  # Tracking must never fail a sweep. The next pass tries again.
                self._warn(in_short(error))
                return False
            for label, trial in self._sorted():
                if not full and (trial.cursor.ended or label in self._failed):
                    continue
                if time.monotonic() > self._deadline or not self._upload(store, label, trial):
                    return False
            if not self._failed:
                self.last_error = None
            return not self._failed

    def start(self) -> None:
        """Start a thread that drains every two seconds, and less often while MLflow cannot be reached."""
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
        """Upload the rest, compare MLflow with the spools, and end the sweep's run.

        The run of a trial that has not ended is shown as KILLED, with the tag WAITING, until the sweep continues.

        Args:
            final_status: Status of the sweep's run.
            summary: Results of the sweep. Strings become tags of the sweep's run, numbers become metrics.
            trials: Further metrics of single trials, by trial label.
            confirmed: A line of HTML for the run's description that says how sure the best trial is.
            timeout_s: Seconds to wait for MLflow.
            last: Called after the trials are uploaded and before the sweep's run ends.

        Returns:
            The value of the tag `mlflow.sync`. If the result is "partial", the next start uploads the rest.
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
        """Return the MLflow run id of each trial that has a run, by trial label."""
        return {label: run for label, trial in self._sorted() if (run := trial.cursor.run_id)}

    def model_uris(self) -> dict[str, str]:
        """Return the MLflow model URI (`models:/m-...`) of each trial that has a model, by trial label."""
        return {label: uri for label, trial in self._sorted() if (uri := trial.cursor.model_uri)}

    def ui_command(self) -> str:
        """Return the `sweeps serve-ui` command that shows the sweep, or the URL if the store is a server."""
        if is_http(self._uri):
            return shown(self._uri)
        # The command beside this Python works even if the environment is not on PATH.
        beside = Path(sys.executable).with_name("sweeps")
        storage = storage_of_sweep(self._folder)
        words = [str(beside) if beside.exists() else "sweeps", "serve-ui", self._sweep, "--storage", str(storage)]
        if not storage.is_local or self._uri != own_tracking_uri(storage):
            words += ["--tracking-uri", shown(self._uri)]
        return shlex.join(words)

    @property
    def shown_uri(self) -> str:
        """The tracking URI without its password."""
        return shown(self._uri)

    def link(self) -> str:
        """Return the URL of the trials, best first. Empty if the store is no server; then see `ui_command`."""
        if not is_http(self._uri):
            return ""
        base = shown(self._uri).rstrip("/")
        return f"{base}{self._page()}" if self._experiment_id is not None else base

    def _page(self) -> str:
        """Return the part of the trials' URL from `/#` on."""
        assert self._experiment_id is not None
        if self._has_view:
            return view_link("", self._experiment_id, self._sweep_id)
        return plain_link("", self._experiment_id, self._sweep_id, self._objective)

    def publish(self, folder: Folder, names: Sequence[str], to: str = "report") -> None:
        """Upload files as artifacts of the sweep's run, and link to them in its description. Warn of any error.

        Args:
            folder: Folder of the files.
            names: Names of the files.
            to: Artifact folder.
        """
        try:
            files = {name: folder.read(name) for name in names}
            with self._lock:
                store = self._last_store or self._connect()
            store.put(store.parent_id, files, to)  # The upload takes time, so it must not hold the lock.
            with self._lock:
                self._publish_error = ""
                self._published = list(dict.fromkeys([*self._published, *(f"{to}/{name}" for name in names)]))
                if self._ended is not None:
                    store.log(store.parent_id, tags={"mlflow.note.content": self._text(store, *self._ended)})
        except Exception as error:  # Tracking must never fail a sweep.
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
        """Return the trials by number."""
        return sorted(self._trials.items(), key=lambda each: parts(each[0]))

    def _connect(self) -> Store:
        """Return the store. Open it and update the runs' states if it is not open."""
        if self._store is None:
            store = Store(self._uri, self._sweep, self._sweep_id)
            plain = {k: str(v) for k, v in self._description.items() if isinstance(v, str | int | float)}
            own = {f"sweep.{key}": value for key, value in plain.items() if key not in ("name", "id", "role")}
            store.log(store.parent_id, tags=own)
            described = json.dumps(self._description, indent=2, default=str).encode()
            try:
                store.put(store.parent_id, {"sweep.json": described})
            except MisplacedFiles as error:  # Points and tags can still be uploaded.
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
        """Drain until MLflow has everything, the deadline passes, or a reachable store fails three times."""
        refusals, wait = 0, 1.0
        while not self.drain() and refusals < 2 and time.monotonic() + wait < self._deadline:
            if self._store is not None and answers(self._uri):
                refusals += 1
            time.sleep(wait)
            wait = min(2 * wait, 8.0)

    def _upload(self, store: Store, label: str, trial: TrialUpload) -> bool:
        """Upload one trial. Return False if the server is down, so that further trials would fail too."""
        try:
            trial.upload(store)
        except Exception as error:  # A failing trial must not delay the others.
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
            if (run_id := self._trials[label].cursor.run_id) is not None:
                store.log(run_id, self._new_points(store, run_id, metrics))
        if status == "FINISHED":
            means = {key for metrics in trials.values() for key in metrics if not key.endswith(BOUNDS)}
            self._show_leaders(store, sorted(means))
        store.terminate(store.parent_id, status)
        self.last_error = tags["mlflow.sync.reason"] if shortfalls else None
        self._store = None  # If the sweep continues, `_connect` opens it again and reopens the sweep's run.
        return sync

    def _new_points(self, store: Store, run_id: str, summary: Mapping[str, str | float]) -> list[Point]:
        """Return the summary's numbers that the run lacks, as the sweep may be stopped more than once."""
        had, now_ms = store.run(run_id).metrics, time.time_ns() // 1_000_000
        values = {key: float(value) for key, value in summary.items() if not isinstance(value, str)}
        new = {key: value for key, value in values.items() if math.isfinite(value) and had.get(key) != value}
        return [(key, value, now_ms, 0) for key, value in new.items()]

    def _set_view(self, store: Store, images: Sequence[str], scores: Sequence[str] = ()) -> None:
        """Prepare the view that the link opens. If that fails, the link opens the plain page.

        Args:
            store: The open store.
            images: Keys of the images to show.
            scores: Metrics that get columns beside the objective's columns.
        """
        has_floor = self._floor > 0
        try:
            value = view(self._sweep, self._sweep_id, self._objective, has_floor, self._searched, images, scores)
            store.tag_experiment(f"{VIEW_TAG}{self._sweep_id}", value)
            self._has_view = True
        except Exception as error:
            _log.warning("MLflow's page of the trials is not prepared: %s", in_short(error))

    def _show_leaders(self, store: Store, scores: Sequence[str]) -> None:
        """Show only the samples of the search's best trials in the view.

        MLflow cannot delete an image, but an extended sweep may have other best trials. Therefore the key of the images
        holds the number of trials.
        """
        searched = [trial for label, trial in self._trials.items() if role_of(label) == "trial"]
        scored = [trial for trial in searched if trial.cursor.best is not None and trial.cursor.ended]
        key = f"best of {len(scored)}"
        try:
            for trial in sorted(scored, key=lambda trial: trial.cursor.best or 0.0)[:_LEADERS]:
                trial.show(store, f"samples/{key}", f"film/{key}")
        except Exception as error:
            _log.warning("MLflow has not all samples of the best trials: %s", in_short(error))
        else:
            if scored:
                self._set_view(store, (f"samples/{key}", f"film/{key}"), scores)

    def _text(self, store: Store, summary: Mapping[str, str | float], confirmed: str) -> str:
        """Return the description of the sweep's run."""
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
            model_uri=trial.cursor.model_uri if trial else None,
            has_picture=small is not None,
        )
