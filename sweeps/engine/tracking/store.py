"""A sweep in an MLflow store: its experiment, the sweep's run, the trials' runs, their points, files and models.

Every call names its run, because MLflow's active run differs between threads. Every call waits for its answer and may
be repeated: a run is searched by its tags before it is created, and MLflow keeps a repeated point only once.
Importing MLflow takes seconds, so it is imported when a store is opened, not with this module.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import quote

from sweeps.engine.plan.one_maker import is_unmade, new_file, one_maker
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.sqlite_file import check_database, limit_all
from sweeps.engine.plan.uri import (
    ANSWER_S,
    NOT_RECORDED,
    answers,
    database,
    in_short,
    is_http,
    make_room,
    prepare_environment,
    shown,
    sqlite_uri,
)
from sweeps.engine.storage.layout import parts
from sweeps.engine.tracking.server import program_beside
from sweeps.engine.tracking.texts import role_of
from sweeps.engine.tracking.view import VIEW_TAG, plain_link, view_link
from wgan_core.errors import UserError, shortened

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.store.entities import PagedList

    from sweeps.engine.tracking.client import Client

T = TypeVar("T")
_PAGES_S = 60.0
_OLDEST = ("attributes.start_time ASC",)
Point: TypeAlias = tuple[str, float, int, int]
"""A metric's name, value, time in milliseconds since 1970, and step. All four identify the point."""


class ServerUnreachable(UserError):
    """The tracking server does not answer or refuses access. A later attempt may succeed."""


class ExperimentDeleted(UserError):
    """The sweep's experiment is in MLflow's trash."""


@dataclass
class StoredSweep:
    """A sweep in an MLflow store.

    Attributes:
        uri: Tracking URI of the store.
        plan: The sweep's plan.
        client: Client of the store.
        experiment_id: Id of the sweep's experiment.
        has_view: Whether the experiment has a prepared view of the trials.
        run_id: Id of the sweep's run; empty before `begin`.
    """

    uri: str
    plan: Plan
    client: Client
    experiment_id: str
    has_view: bool = False
    run_id: str = ""

    def link(self, base: str) -> str:
        """Return the URL that shows the trials, best first, on the server at `base`."""
        if self.has_view:
            return view_link(base, self.experiment_id, self.plan.id)
        return plain_link(base, self.experiment_id, self.plan.id, self.plan.objective)

    def artifact_link(self, path: str) -> str:
        """Return the URL of an artifact of the sweep's run, from `#` on."""
        page = f"#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{quote(path)}"
        return f"{page}?workflowType=machine_learning"

    def begin(self) -> None:
        """Create the sweep's run, or continue it."""
        found = self._oldest_run("tags.`sweep.role` = 'sweep'")
        tags = {**self._tags("sweep"), "mlflow.sync": "partial"}
        if found is None:
            found = self.client.create_run(self.experiment_id, tags=tags, run_name=self.plan.name)
        else:
            self.log(found.info.run_id, tags=tags)
            self.client.update_run(found.info.run_id, status="RUNNING")
        self.run_id = str(found.info.run_id)

    def trial_run(self, label: str) -> Run | None:
        """Return a trial's run, or None if there is none or it is deleted."""
        return self._oldest_run(f"tags.`trial.number` = '{label}'")

    def _oldest_run(self, condition: str) -> Run | None:
        own = f"tags.`sweep.id` = '{self.plan.id}' AND {condition}"
        return next(iter(self.client.search_runs([self.experiment_id], own, max_results=1, order_by=[*_OLDEST])), None)

    def _tags(self, role: str) -> dict[str, str]:
        return {"sweep.name": self.plan.name, "sweep.id": self.plan.id, "sweep.role": role}

    def trial_runs(self) -> dict[str, Run]:
        """Return all runs of the sweep's trials by run id, including deleted runs."""
        from mlflow.entities import ViewType

        wanted = f"tags.`sweep.id` = '{self.plan.id}' AND tags.`sweep.role` != 'sweep'"
        found = pages(
            lambda token: self.client.search_runs(
                [self.experiment_id], wanted, ViewType.ALL, max_results=1000, page_token=token
            )
        )
        return {str(run.info.run_id): run for run in found}

    def create_trial_run(self, label: str, name: str, started_ms: int) -> str:
        """Create a run for a trial as a child of the sweep's run, and return its id."""
        tags = {
            **self._tags(role_of(label)),
            "trial.number": label,
            "trial.state": "RUNNING",
            "mlflow.parentRunId": self.run_id,
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

    def put(self, run_id: str, files: Mapping[str, bytes], to: str | None = None) -> None:
        """Upload files, by name, as artifacts of a run below `to`. Replace files of the same name."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            self.client.log_artifacts(run_id, folder, to)

    def models(self, run_id: str) -> list[LoggedModel]:
        """Return the models of a run."""
        return list(self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'"))

    def create_model(self, run_id: str, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> LoggedModel:
        """Create a model of a run, whose files are not there yet."""
        return self.client.create_logged_model(
            self.experiment_id,
            name=name,
            source_run_id=run_id,
            params=dict(params),
            tags=dict(tags),
            model_type="generator",
        )

    def finish_model(self, model_id: str, run_id: str, step: int, score: Point | None) -> LoggedModel:
        """Link a model to its run as an output at `step`, and to its score. Mark it as ready, as its files are there.

        Args:
            model_id: Id of the model.
            run_id: Id of its run.
            step: Critic updates of the checkpoint.
            score: The run's point that holds the score, if there is one.
        """
        from mlflow.entities import LoggedModelOutput

        outputs = self.client.get_run(run_id).outputs
        # MLflow refuses a second link.
        if all(output.model_id != model_id for output in (outputs.model_outputs if outputs else [])):
            self.client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
        if score is not None:
            self.client.log_metric(run_id, *score, synchronous=True, model_id=model_id)
        return self.client.finalize_logged_model(model_id, "READY")


def is_deleted(run: Run) -> bool:
    """Return whether a run is in MLflow's trash."""
    return bool(run.info.lifecycle_stage == "deleted")


def create_stored(uri: str, plan: Plan) -> StoredSweep:
    """Find or create a sweep's experiment and run.

    Raises:
        ServerUnreachable: The server does not answer or refuses access.
        ExperimentDeleted: The experiment is in MLflow's trash.
        Exception: MLflow cannot open the URI.
    """
    client, file = connect(uri), database(uri)
    experiment = client.get_experiment_by_name(plan.name)
    if experiment is None:
        # Keep artifacts beside the database. MLflow's default would be the current folder.
        at = None if file is None else (file.parent / "mlartifacts" / plan.name).as_uri()
        stored = StoredSweep(uri, plan, client, str(client.create_experiment(plan.name, artifact_location=at)))
    elif experiment.lifecycle_stage == "deleted":
        raise ExperimentDeleted(
            f"the sweep's MLflow experiment must not be deleted; {plan.name!r} (id {experiment.experiment_id}) "
            f"is: run `{_restoring(uri, str(experiment.experiment_id))}` or name the sweep otherwise"
        )
    else:
        stored = StoredSweep(uri, plan, client, str(experiment.experiment_id))
    stored.begin()
    return stored


def _restoring(uri: str, experiment_id: str) -> str:
    """Return the command that brings an experiment back from MLflow's trash."""
    # MLflow's command knows neither this store nor, unless it is on PATH, this environment's MLflow.
    program = program_beside("mlflow") or "mlflow"
    command = shlex.join([program, "experiments", "restore", "-x", experiment_id])
    return f"MLFLOW_TRACKING_URI={shlex.quote(shown(uri))} {command}"


def open_stored(uri: str, plan: Plan) -> StoredSweep:
    """Open a sweep that is in an MLflow store, to look at it.

    Raises:
        UserError: The sweep is not recorded, the store does not exist or does not answer, or it has no experiment of
            the sweep.
    """
    if uri == NOT_RECORDED:
        raise UserError(
            f"a sweep must be recorded in MLflow for this; the tracking URI of {plan.name!r} is {NOT_RECORDED}: run "
            "its script again with another --tracking-uri, which brings its records, or give the one that has them"
        )
    file = database(uri)
    with said_in_one_line(uri):
        if file is not None and not file.is_file():  # MLflow would create an empty one.
            raise UserError(f"a sweep's MLflow store must be there; {shortened(str(file))} is not: give --tracking-uri")
    with said_in_one_line(uri):
        client = connect(uri)
        experiment = client.get_experiment_by_name(plan.name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow store must have an experiment of the sweep; {shown(uri)} has none named {plan.name!r}, or a "
            "deleted one: give the --tracking-uri that the sweep was run with"
        )
    return StoredSweep(uri, plan, client, str(experiment.experiment_id), f"{VIEW_TAG}{plan.id}" in experiment.tags)


@contextmanager
def said_in_one_line(uri: str) -> Iterator[None]:
    """Turn any error of MLflow inside the block into a `UserError` with a one-line message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow passes on errors of databases, connections and file stores.
        raise UserError(
            f"MLflow at {shown(uri)} must do what it is asked; it says: {in_short(error, uri)}: check --tracking-uri"
        ) from error


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
    try:
        with nullcontext() if is_http(uri) else one_maker(uri):
            if file is not None:
                check_database(file)
                limit_all()
                if is_unmade(file):
                    _make_tables(file)
            client = Client(uri)
            client.search_experiments(max_results=1)
    except MlflowException as error:
        if error.get_http_status_code() in (401, 403):
            raise ServerUnreachable(
                f"the MLflow server must let us in; {shown(uri)} refused: set MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        raise
    return client


def _make_tables(file: Path) -> None:
    """Create a SQLite file with MLflow's tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with new_file(file) as made:
        store = SqlAlchemyStore(sqlite_uri(str(made)), str(file.with_name("mlartifacts")))
        store.engine.dispose()


def credentials_sent() -> str:
    """Return whose credentials MLflow's client sends, and where it found them, without the secrets."""
    from mlflow.utils.credentials import read_mlflow_creds

    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return "the token of MLFLOW_TRACKING_TOKEN"
    found = read_mlflow_creds()
    if not found.username:
        return "a client without user and password"
    place = "MLFLOW_TRACKING_USERNAME" if os.environ.get("MLFLOW_TRACKING_USERNAME") else "~/.mlflow/credentials"
    return f"user {found.username!r} of {place}" + ("" if found.password else ", without a password")
