"""The upload of a sweep to MLflow, from the spools that its trials write.

    sweep folder/trials/<label>/spool/  ->  one uploader thread in the driver  ->  MLflow

The uploader may be stopped, killed and restarted at any time, and the server may be down meanwhile. A record stays in
the spool until MLflow has it, and MLflow stores each record only once.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sweeps.engine.plan.plan import BOUNDS, Plan
from sweeps.engine.plan.settings import settings_of
from sweeps.engine.plan.space import text_of
from sweeps.engine.plan.uri import MisplacedFiles, answers, in_short, is_http, own_tracking_uri, shown
from sweeps.engine.storage.layout import parts, storage_of_sweep, trial_folder, trial_labels
from sweeps.engine.tracking.files import shrunk
from sweeps.engine.tracking.recorder import NO_RESULTS, Summary, SweepState, Sync
from sweeps.engine.tracking.server import program_beside
from sweeps.engine.tracking.store import ExperimentDeleted, Point, StoredSweep, create_stored
from sweeps.engine.tracking.texts import anchor, best_key, model_use, params_text, role_of, score_text
from sweeps.engine.tracking.trial import TrialUpload
from sweeps.engine.tracking.view import VIEW_TAG, searched, view
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

_log = logging.getLogger(__name__)

_INTERVAL_S = 2.0
_LONGEST_WAIT_S = 60.0
_FULL_PASS_EVERY = 15
_REPORT = "report"  # Artifact folder of the sweep's report.
# Pictures of the best trial's samples, in full size and beside the trial's lines in the sweep's description.
_PICTURE, _SMALL, _SMALL_SIDE = "best.png", "best-small.png", 72
# Number of best trials whose samples the view shows. MLflow puts the best trial last, so all must fit side by side
# into 690 pixels.
_LEADERS = 4


class MlflowRecorder:
    """An uploader of one sweep to one MLflow store.

    The plan becomes the artifact `sweep.json` of the sweep's run. Its strings and numbers also become tags.

    Args:
        folder: The sweep's folder, which holds `trials/<label>/`.
        plan: The sweep's plan.
        uri: Tracking URI of the MLflow store.
    """

    def __init__(self, folder: Folder, plan: Plan, uri: str) -> None:
        self._folder, self._plan, self._uri = folder, plan, uri
        self._stored: StoredSweep | None = None
        self._trials: dict[str, TrialUpload] = {}
        self._failed: dict[str, str] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._deadline = math.inf
        self._thread: threading.Thread | None = None
        self._published: list[str] = []
        self._publish_error = ""
        # The results that the sweep's run ended with; None while the run goes on.
        self._ended: Summary | None = None
        self.last_error: str | None = None

    def open(self, first_start: bool) -> None:
        """Find or create the sweep's experiment and run, and bring the runs' states up to date.

        Raises:
            UserError: The experiment is in MLflow's trash. On the first start also: the store does not open, the server
                does not answer within seconds, or it refuses access.
        """
        with self._lock:
            self._find_trials()
            try:
                self._connect()
            except Exception as error:
                if isinstance(error, ExperimentDeleted) or (first_start and isinstance(error, UserError)):
                    raise
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
                stored = self._connect()
            except Exception as error:  # Tracking must never fail a sweep. The next pass tries again.
                self._warn(in_short(error))
                return False
            for label, trial in self._sorted():
                if not full and (trial.cursor.ended or label in self._failed):
                    continue
                if time.monotonic() > self._deadline or not self._upload(stored, label, trial):
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
        state: SweepState,
        summary: Summary = NO_RESULTS,
        timeout_s: float = 60.0,
        last: Callable[[], object] = lambda: None,
    ) -> Sync:
        """Upload the rest, compare MLflow with the spools, and end the sweep's run.

        The run of a trial that has not ended is shown as KILLED, with the tag WAITING, until the sweep continues.

        Returns:
            The value of the tag `mlflow.sync`.
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
                return self._finish(state, summary)
        except Exception as error:
            self._warn(in_short(error))
            return "partial"
        finally:
            self._deadline = math.inf

    def ui_command(self) -> str:
        """Return the `sweeps serve-ui` command that shows the sweep, or the URL if the store is a server."""
        if is_http(self._uri):
            return self.shown_uri
        storage = storage_of_sweep(self._folder)
        # The command beside this Python works even if the environment is not on PATH.
        words = [program_beside("sweeps") or "sweeps", "serve-ui", self._plan.name, "--storage", str(storage)]
        if not storage.is_local or self._uri != own_tracking_uri(storage):
            words += ["--tracking-uri", self.shown_uri]
        return shlex.join(words)

    @property
    def shown_uri(self) -> str:
        return shown(self._uri)

    def link(self) -> str:
        if not is_http(self._uri):
            return ""
        base = self.shown_uri.rstrip("/")
        return base if self._stored is None else self._stored.link(base)

    def publish(self, folder: Folder, names: Sequence[str]) -> None:
        """Upload files as artifacts of the sweep's run, and link to them in its description."""
        try:
            files = {name: folder.read(name) for name in names}
            with self._lock:
                stored = self._stored or self._connect()
            stored.put(stored.run_id, files, _REPORT)  # The upload takes time, so it must not hold the lock.
            with self._lock:
                self._publish_error = ""
                self._published = list(dict.fromkeys([*self._published, *(f"{_REPORT}/{name}" for name in names)]))
                if self._ended is not None:
                    stored.log(stored.run_id, tags={"mlflow.note.content": self._text(stored, self._ended)})
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
                self._trials[label] = TrialUpload(trial_folder(self._folder, label), label, self._plan)

    def _sorted(self) -> list[tuple[str, TrialUpload]]:
        """Return the trials by number."""
        return sorted(self._trials.items(), key=lambda each: parts(each[0]))

    def _connect(self) -> StoredSweep:
        """Return the store. Open it and update the runs' states if it is not open, or if the sweep's run has ended."""
        if self._stored is None or self._ended is not None:
            stored, plan = create_stored(self._uri, self._plan), self._plan.as_json()
            plain = {key: str(value) for key, value in plan.items() if isinstance(value, str | int | float)}
            settings, searched_names = settings_of(self._plan.structure), self._plan.space.ranges
            plain |= {name: text_of(value) for name, value in settings.items() if name not in searched_names}
            own = {f"sweep.{key}": value for key, value in plain.items() if key not in ("name", "id")}
            stored.log(stored.run_id, tags=own)
            try:
                stored.put(stored.run_id, {"sweep.json": json.dumps(plan, indent=2).encode()})
            except MisplacedFiles as error:  # Points and tags can still be uploaded.
                self._warn(str(error))
            runs = stored.trial_runs()
            for trial in self._trials.values():
                trial.reconcile(stored, runs)
            self._stored, self._ended = stored, None
            self._set_view(stored, ("samples/final", "samples/film"))
        return self._stored

    def _run(self) -> None:
        passes, wait = 0, _INTERVAL_S
        while not self._stopping.wait(wait):
            drained = self.drain(full=passes % _FULL_PASS_EVERY == 0)
            away = not drained and (self._stored is None or not answers(self._uri))
            wait = min(2 * wait, _LONGEST_WAIT_S) if away else _INTERVAL_S
            passes += 1

    def _drain_patiently(self) -> None:
        """Drain until MLflow has everything, the deadline passes, or a reachable store fails three times."""
        refusals, wait = 0, 1.0
        while not self.drain() and refusals < 2 and time.monotonic() + wait < self._deadline:
            if self._stored is not None and answers(self._uri):
                refusals += 1
            time.sleep(wait)
            wait = min(2 * wait, 8.0)

    def _upload(self, stored: StoredSweep, label: str, trial: TrialUpload) -> bool:
        """Upload one trial. Return False if the server is down, so that further trials would fail too."""
        try:
            trial.upload(stored)
        except Exception as error:  # A failing trial must not delay the others.
            self._failed[label] = f"trial {label}: {in_short(error)}"
            self._warn(self._failed[label])
            return answers(self._uri)
        self._failed.pop(label, None)
        return True

    def _finish(self, state: str, summary: Summary) -> Sync:
        stored = self._connect()
        runs = stored.trial_runs()
        for trial in self._trials.values():
            trial.reconcile(stored, runs)
            trial.interrupt(stored, runs)
        shortfalls = [
            f"trial {label}: {said}" for label, trial in self._sorted() if (said := trial.shortfall(stored, runs))
        ]
        sync: Sync = "partial" if shortfalls else "complete"
        tags = {
            "mlflow.note.content": self._text(stored, summary),
            **{key: value for key, value in summary.values.items() if isinstance(value, str)},
            "mlflow.sync": sync,
            "mlflow.sync.reason": "; ".join(shortfalls) or "-",
        }
        stored.log(stored.run_id, self._new_points(stored, stored.run_id, summary.values), tags=tags)
        for label, metrics in summary.trials.items():
            if (run_id := self._trials[label].cursor.run_id) is not None:
                stored.log(run_id, self._new_points(stored, run_id, metrics))
        if state == "FINISHED":
            means = {key for metrics in summary.trials.values() for key in metrics if not key.endswith(BOUNDS)}
            self._show_leaders(stored, sorted(means))
        stored.client.set_terminated(stored.run_id, state)
        self.last_error = tags["mlflow.sync.reason"] if shortfalls else None
        self._ended = summary  # If the sweep continues, `_connect` reopens the sweep's run.
        return sync

    def _new_points(self, stored: StoredSweep, run_id: str, values: Mapping[str, str | float]) -> list[Point]:
        """Return the numbers that the run lacks, as the sweep may be stopped more than once."""
        had, now_ms = stored.client.get_run(run_id).data.metrics, time.time_ns() // 1_000_000
        numbers = {key: float(value) for key, value in values.items() if not isinstance(value, str)}
        new = {key: value for key, value in numbers.items() if math.isfinite(value) and had.get(key) != value}
        return [(key, value, now_ms, 0) for key, value in new.items()]

    def _set_view(self, stored: StoredSweep, images: Sequence[str], scores: Sequence[str] = ()) -> None:
        """Prepare the view that the link opens; see `view`. If that fails, the link opens the plain page."""
        try:
            tag = f"{VIEW_TAG}{self._plan.id}"
            stored.client.set_experiment_tag(stored.experiment_id, tag, view(self._plan, images, scores))
            stored.has_view = True
        except Exception as error:
            _log.warning("MLflow's page of the trials is not prepared: %s", in_short(error))

    def _show_leaders(self, stored: StoredSweep, scores: Sequence[str]) -> None:
        """Show only the samples of the search's best trials in the view.

        MLflow cannot delete an image, but an extended sweep may have other best trials. Therefore the key of the images
        holds the number of trials.
        """
        in_search = [trial for label, trial in self._trials.items() if role_of(label) == "trial"]
        scored = [trial for trial in in_search if trial.cursor.best is not None and trial.cursor.ended]
        key = f"best of {len(scored)}"
        try:
            for trial in sorted(scored, key=lambda trial: trial.cursor.best or 0.0)[:_LEADERS]:
                trial.show(stored, key)
        except Exception as error:
            _log.warning("MLflow has not all samples of the best trials: %s", in_short(error))
        else:
            if scored:
                self._set_view(stored, (f"samples/{key}", f"film/{key}"), scores)

    def _text(self, stored: StoredSweep, summary: Summary) -> str:
        """Return the description of the sweep's run in Markdown.

        MLflow shows only about 100 pixels of it at first, so the best trial comes first, beside its picture.
        """
        plan, values = self._plan, summary.values
        links = [anchor(stored.link("").lstrip("/"), "all trials, best first")]
        links += [anchor(stored.artifact_link(path), path) for path in self._published]
        name, score = values.get("best.trial"), values.get(best_key(plan.objective))
        if name is None or not isinstance(score, float | int):
            return f"No trial has completed yet.<br>{' · '.join(links)}"
        trial = self._trials.get(str(name))
        params = params_text(trial.params if trial else {}, searched(plan.space))
        best = f"<b>Best: trial {name}</b>, {score_text(plan.objective, score, plan.floor)}"
        lines = filter(None, (best, summary.confirmed, params, " · ".join(links)))
        cells = [f"<td>{'<br>'.join(lines)}</td>"]
        if trial and self._has_picture(stored, trial.picture()):
            picture = f'<img src="get-artifact?path={_SMALL}&run_uuid={stored.run_id}">'
            cells.append(f"<td>{anchor(stored.artifact_link(_PICTURE), picture)}</td>")
        said = [f"<table><tr>{''.join(cells)}</tr></table>"]
        if checkpoint := values.get("best.checkpoint"):
            said.append(f"Checkpoint: `{checkpoint}`")
        if trial and trial.cursor.model_uri:
            said.append(model_use(trial.cursor.model_uri))
        return "\n\n".join(said)

    def _has_picture(self, stored: StoredSweep, picture: bytes) -> bool:
        """Upload the picture of the best trial's samples. Return False if there is none or its place is not allowed."""
        small = shrunk(picture, _SMALL_SIDE, "PNG")
        if small is None:
            return False
        try:
            stored.put(stored.run_id, {_PICTURE: picture, _SMALL: small})
        except MisplacedFiles:
            return False
        return True
