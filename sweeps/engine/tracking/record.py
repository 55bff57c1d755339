"""Queries of a sweep's records in MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.uri import database, in_short, shown
from sweeps.engine.tracking.store import connect
from sweeps.engine.tracking.view import VIEW_TAG, plain_link, view_link
from wgan_core.errors import UserError

if TYPE_CHECKING:
    from sweeps.engine.tracking.client import Client


@dataclass(frozen=True)
class Record:
    """A sweep in an MLflow store.

    Attributes:
        uri: Tracking URI of the store.
        plan: The sweep's plan.
        client: MLflow client of the store.
        experiment_id: Id of the sweep's experiment.
        has_view: Whether the store holds a prepared view of the trials.
    """

    uri: str
    plan: Plan
    client: Client
    experiment_id: str
    has_view: bool = False

    def link(self, base: str) -> str:
        """Return the URL that shows the trials, best first, on the server at `base`."""
        if self.has_view:
            return view_link(base, self.experiment_id, self.plan.id)
        return plain_link(base, self.experiment_id, self.plan.id, self.plan.objective)

    def trial_run(self, label: str) -> str:
        """Return the id of a trial's run. Raise `UserError` if the store has none."""
        own = f"tags.`sweep.id` = '{self.plan.id}' AND tags.`trial.number` = '{label}'"
        # If there are several runs, take the oldest one, as the uploader does.
        order = ["attributes.start_time ASC"]
        for run in self.client.search_runs([self.experiment_id], own, max_results=1, order_by=order):
            return str(run.info.run_id)
        raise UserError(
            f"trial {label} of {self.plan.name!r} must have a run in MLflow; {shown(self.uri)} has none: give the "
            "--tracking-uri that the sweep was run with, or continue the sweep, which uploads what waits in its folder"
        )


def open_record(uri: str, plan: Plan) -> Record:
    """Open the records of a plan's sweep.

    Raises:
        UserError: The store does not exist or does not answer, or it has no experiment of the sweep.
    """
    file = database(uri)
    if file is not None and not file.is_file():  # MLflow would create an empty one.
        raise UserError(f"a sweep's MLflow store must be there; {file} is not: give --tracking-uri")
    with said_in_one_line(uri):
        client = connect(uri)
        experiment = client.get_experiment_by_name(plan.name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow store must have an experiment of the sweep; {shown(uri)} has none named {plan.name!r}, or a "
            "deleted one: give the --tracking-uri that the sweep was run with"
        )
    return Record(uri, plan, client, str(experiment.experiment_id), f"{VIEW_TAG}{plan.id}" in experiment.tags)


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
