"""Mark as deleted what hangs on deleted runs: the runs below them, and their models. Called by `clean-up`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.store.entities.paged_list import PagedList


def main() -> None:
    client = MlflowClient()
    for experiment in _all(client.search_experiments, view_type=ViewType.ALL):
        runs: list[Run] = _all(client.search_runs, [experiment.experiment_id], run_view_type=ViewType.ALL)
        gone = {run.info.run_id for run in runs if run.info.lifecycle_stage == "deleted"}
        for run in runs:
            if run.data.tags.get("mlflow.parentRunId") in gone - {run.info.run_id} and run.info.run_id not in gone:
                client.delete_run(run.info.run_id)
                gone.add(run.info.run_id)
                print(f"run {run.info.run_id} is deleted with the one above it")
        for model in _all(client.search_logged_models, [experiment.experiment_id]):
            if model.source_run_id in gone:
                client.delete_logged_model(model.model_id)
                print(f"model {model.model_id} is deleted with its run")


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
