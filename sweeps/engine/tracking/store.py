"""A sweep's requests to MLflow: its experiment, the sweep's run, the trials' runs, their points and tags.

Every call names its run, because MLflow's active run differs between threads. Every call waits for its answer and may
be repeated: a run is searched by its tags before it is created, and MLflow keeps a repeated point only once.
Importing MLflow takes seconds, so it is imported when a `Store` is made, not with this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from sweeps.engine.plan.sqlite_file import check_database, limit_all
from sweeps.engine.plan.uri import ANSWER_S, answers, database, make_room, prepare_environment, shown
from sweeps.engine.storage.layout import parts
from sweeps.engine.tracking.note import role_of
from wgan_core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList

    from sweeps.engine.tracking.client import Client

T = TypeVar("T")
_PAGES_S = 60.0
Point: TypeAlias = tuple[str, float, int, int]
"""A metric's name, value, time in milliseconds since 1970, and step. All four identify the point."""


class ServerUnreachable(UserError):
    """The tracking server does not answer or refuses access. A later attempt may succeed."""


class ExperimentDeleted(UserError):
    """The sweep's experiment is in MLflow's trash."""


@dataclass(frozen=True)
class StoredRun:
    """A run in MLflow. `metrics` holds each metric's value at its largest step."""

    run_id: str
    status: str
    deleted: bool
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Store:
    """One sweep in one MLflow store.

    Args:
        uri: Tracking URI of the store.
        sweep: The sweep's name, which is also the experiment's name.
        sweep_id: Tells the sweep's runs from the runs of other sweeps with the same name.

    Raises:
        ServerUnreachable: The server does not answer or refuses access.
        ExperimentDeleted: The experiment is in MLflow's trash.
        Exception: MLflow cannot open the URI.
    """

    def __init__(self, uri: str, sweep: str, sweep_id: str) -> None:
        self.client = connect(uri)
        self._sweep, self._sweep_id = sweep, sweep_id
        self.experiment_id = self._experiment(uri)
        self.parent_id = self._parent()

    def _experiment(self, uri: str) -> str:
        experiment = self.client.get_experiment_by_name(self._sweep)
        if experiment is None:
            file = database(uri)
            # Keep artifacts beside the database. MLflow's default would be the current folder.
            at = None if file is None else (file.parent / "mlartifacts" / self._sweep).as_uri()
            return str(self.client.create_experiment(self._sweep, artifact_location=at))
        if experiment.lifecycle_stage == "deleted":
            raise ExperimentDeleted(
                f"the sweep's MLflow experiment must not be deleted; {self._sweep!r} (id {experiment.experiment_id}) "
                f"is: run `mlflow experiments restore -x {experiment.experiment_id}` or name the sweep otherwise"
            )
        return str(experiment.experiment_id)

    def _parent(self) -> str:
        found = self._find("tags.`sweep.role` = 'sweep'")
        tags = {**self._tags("sweep"), "mlflow.sync": "partial"}
        if found is None:
            return str(self.client.create_run(self.experiment_id, tags=tags, run_name=self._sweep).info.run_id)
        self.log(found.run_id, tags=tags)
        self.set_running(found.run_id)
        return found.run_id

    def _find(self, condition: str) -> StoredRun | None:
        """Return the oldest run of this sweep that meets a condition, or None."""
        own = f"tags.`sweep.id` = '{self._sweep_id}' AND {condition}"
        runs = self.client.search_runs([self.experiment_id], own, max_results=1, order_by=["attributes.start_time ASC"])
        return next(map(_stored, runs), None)

    def _tags(self, role: str) -> dict[str, str]:
        return {"sweep.name": self._sweep, "sweep.id": self._sweep_id, "sweep.role": role}

    def run(self, run_id: str) -> StoredRun:
        """Return one run in its current state."""
        return _stored(self.client.get_run(run_id))

    def trial_run(self, label: str) -> StoredRun | None:
        """Return a trial's run, or None if there is none or it is deleted."""
        return self._find(f"tags.`trial.number` = '{label}'")

    def trial_runs(self) -> dict[str, StoredRun]:
        """Return all runs of the sweep's trials by run id, including deleted runs."""
        from mlflow.entities import ViewType

        wanted = f"tags.`sweep.id` = '{self._sweep_id}' AND tags.`sweep.role` != 'sweep'"
        found = pages(
            lambda token: self.client.search_runs(
                [self.experiment_id], wanted, ViewType.ALL, max_results=1000, page_token=token
            )
        )
        return {run.run_id: run for run in map(_stored, found)}

    def create_trial_run(self, label: str, name: str, started_ms: int) -> str:
        """Create a run for a trial as a child of the sweep's run, and return its id."""
        tags = {
            **self._tags(role_of(label)),
            "trial.number": label,
            "trial.state": "RUNNING",
            "mlflow.parentRunId": self.parent_id,
        }
        number, letter = parts(label)
        if letter:
            tags["trial.confirms"] = str(number)
        run = self.client.create_run(self.experiment_id, start_time=started_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write points, params and tags to a run in as few requests as possible. MLflow cuts overlong values."""
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run_id,
            [Metric(*point) for point in points],
            [Param(key, value) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
            synchronous=True,
        )

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment. Its value may have at most 5,000 characters."""
        self.client.set_experiment_tag(self.experiment_id, key, value)

    def put(self, run_id: str, files: Mapping[str, bytes], to: str | None = None) -> None:
        """Upload files, by name, as artifacts of a run below `to`. Replace files of the same name."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, name).write_bytes(content)
            self.client.log_artifacts(run_id, folder, to)

    def set_running(self, run_id: str) -> None:
        """Set a run's status to RUNNING, even if it has ended."""
        self.client.update_run(run_id, status="RUNNING")

    def terminate(self, run_id: str, status: str, ended_ms: int | None = None) -> None:
        """End a run with status FINISHED, KILLED or FAILED, now or at a time in milliseconds since 1970."""
        self.client.set_terminated(run_id, status, ended_ms)

    def points_stored(self, run_id: str, keys: Iterable[str]) -> dict[str, int]:
        """Return how many points MLflow has of each metric of a run. Each metric takes one request."""
        return {key: len(self.client.get_metric_history(run_id, key)) for key in keys}


def pages(search: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Yield the entries of all pages of a search.

    Args:
        search: Returns the page at a token; None stands for the first page.

    Raises:
        ServerUnreachable: The pages do not end. A broken or hostile server must not keep a sweep waiting forever.
    """
    token, began, seen = None, time.monotonic(), {None, ""}
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
        if token in seen or time.monotonic() - began > _PAGES_S:
            raise ServerUnreachable(
                f"the MLflow server must list its entries within {_PAGES_S:.0f} s; its pages do not end: give another "
                "--tracking-uri"
            )
        seen.add(token)


def join_model(client: MlflowClient, run_id: str, model_id: str, step: int) -> None:
    """Link a model to a run as its output, unless it is linked already: MLflow refuses a second link."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    if all(output.model_id != model_id for output in (outputs.model_outputs if outputs else [])):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])


def _stored(run: Run) -> StoredRun:
    info, data = run.info, run.data
    return StoredRun(info.run_id, info.status, info.lifecycle_stage == "deleted", data.tags, data.metrics)


def connect(uri: str) -> Client:
    """Connect to an MLflow store. If the URI names a database that does not exist, create it.

    Raises:
        ServerUnreachable: The server does not answer or refuses access.
        Exception: MLflow cannot open the URI.
    """
    prepare_environment()
    if not answers(uri):
        raise ServerUnreachable(
            f"the MLflow server must answer within {ANSWER_S:.0f} s; {shown(uri)} did not: "
            "start it, or give the URI of another (sqlite:///mlflow.db needs no server)"
        )
    from mlflow.exceptions import MlflowException

    from sweeps.engine.tracking.client import Client

    make_room(uri)
    file = database(uri)
    if file is not None:
        check_database(file)
        limit_all()
    client = Client(uri)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        if error.get_http_status_code() in (401, 403):
            raise ServerUnreachable(
                f"the MLflow server must let us in; {shown(uri)} refused: set MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        raise
    return client
