"""Remove for good what people have deleted: `clean_up.py [AGE]`. Called by `clean-up`.

`mlflow gc` would send the admin's password to whoever listens at the server's port, delete at any place that an account
named, and end at the first such place that it cannot reach. So this deletes by itself, in the database and in the
server's own artifacts alone.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowException
from mlflow.entities import Experiment, LoggedModel, Run, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.uri import validate_path_is_safe

_AGE = re.compile(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?")


def main() -> None:
    age_ms = _milliseconds(sys.argv[1]) if len(sys.argv) > 1 else 0
    store = SqlAlchemyStore(os.environ["MLFLOW_BACKEND_STORE_URI"], "mlflow-artifacts:/")
    _mark(store)
    removal = Removal(store, os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    for run_id in store._get_deleted_runs(older_than=age_ms):
        removal.run(store.get_run(run_id))
    for model_id in store._get_deleted_logged_models(older_than=age_ms):
        removal.model(store.get_logged_model(model_id, allow_deleted=True))
    before_ms = time.time() * 1000 - age_ms
    for experiment in _all(store.search_experiments, view_type=ViewType.DELETED_ONLY):
        if experiment.last_update_time <= before_ms:
            removal.experiment(experiment)
    if removal.problems:
        found = "; ".join(f"{what} {problem}" for what, problem in removal.problems.items())
        sys.exit(f"error: only what lies in the server's artifacts is removed; {found}: remove the rest by hand")


def _milliseconds(age: str) -> int:
    found = _AGE.fullmatch(age)
    with suppress(OverflowError, ValueError):
        if found is not None:
            days, hours, minutes, seconds = (float(each or 0) for each in found.groups())
            return int(timedelta(days, seconds, hours=hours, minutes=minutes).total_seconds() * 1000)
    print(f"error: the second argument must be an age such as 30d or 12h; given {age!r}: name one", file=sys.stderr)
    sys.exit(2)


def _mark(store: SqlAlchemyStore) -> None:
    """Mark as deleted what hangs on deleted runs: the runs below them, and their models."""
    for experiment in _all(store.search_experiments, view_type=ViewType.ALL):
        runs: list[Run] = _all(store.search_runs, [experiment.experiment_id], "", ViewType.ALL)
        gone = {run.info.run_id for run in runs if run.info.lifecycle_stage == "deleted"}
        for run in runs:
            if run.data.tags.get("mlflow.parentRunId") in gone - {run.info.run_id} and run.info.run_id not in gone:
                store.delete_run(run.info.run_id)
                gone.add(run.info.run_id)
                print(f"run {run.info.run_id} is deleted with the one above it")
        for model in _all(store.search_logged_models, [experiment.experiment_id]):
            if model.source_run_id in gone:
                store.delete_logged_model(model.model_id)
                print(f"model {model.model_id} is deleted with its run")


class Removal:
    """Removes runs, models and experiments from a store, with their artifacts.

    Attributes:
        problems: What could not be removed, and why.
    """

    def __init__(self, store: SqlAlchemyStore, destination: str) -> None:
        self.problems: dict[str, str] = {}
        self._store, self._artifacts = store, get_artifact_repository(destination)

    def run(self, run: Run) -> bool:
        """Remove a run. Return whether its record is gone."""
        return self._remove("run", run.info.run_id, run.info.artifact_uri, self._store._hard_delete_run)

    def model(self, model: LoggedModel) -> None:
        self._remove("model", model.model_id, model.artifact_location, self._store._hard_delete_logged_model)

    def experiment(self, experiment: Experiment) -> None:
        """Remove an experiment with its runs, unless one of them cannot be removed."""
        key = experiment.experiment_id
        runs: list[Run] = _all(self._store.search_runs, [key], "", ViewType.DELETED_ONLY)
        if sum(self.run(run) for run in runs) == len(runs):
            self._store._hard_delete_experiment(key)
            print(f"experiment {key} is removed")

    def _remove(self, kind: str, key: str, location: str, forget: Callable[[str], None]) -> bool:
        """Delete artifacts, then the record. Artifacts at a place that an account named are left there.

        Without their record, they cannot stop the next clean-up too.
        """
        what = f"{kind} {key}"
        path = _path(location)
        try:
            # An account must not name the folder of another's.
            if key in path.split("/"):
                self._artifacts.delete_artifacts(path)
            else:
                self.problems[what] = f"has artifacts at {ascii(location)[:200]}"
            forget(key)
        except Exception as error:
            self.problems[what] = f"gives {ascii(str(error))[:200]}"
            return False
        print(f"{what} is removed")
        return True


def _path(location: str) -> str:
    """Return the path of a location below the server's artifacts; an empty one if it is elsewhere."""
    with suppress(MlflowException, ValueError):
        parts = urlsplit(location)
        if parts.scheme == "mlflow-artifacts" and not parts.netloc:
            return str(validate_path_is_safe(parts.path.lstrip("/")))
    return ""


def _all(search: Callable[..., PagedList[Any]], *what: object, **how: object) -> list[Any]:
    """All pages of a search."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(*what, page_token=token, **how)
        found += page
        token = page.token
        if not token:
            return found


if __name__ == "__main__":
    main()
