"""What MLflow has of a sweep, for those who look at it: nothing of the sweep's runs is changed."""

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
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Record:
    """A sweep in the MLflow store at `uri`. has_view: whether a page of its trials is prepared there."""

    uri: str
    plan: Plan
    client: MlflowClient
    experiment_id: str
    has_view: bool = False

    def link(self, base: str) -> str:
        """Where the browser shows its trials, best first, on the server at `base`."""
        if self.has_view:
            return view_link(base, self.experiment_id, self.plan.id)
        return plain_link(base, self.experiment_id, self.plan.id, self.plan.objective)

    def trial_run(self, label: str) -> str:
        """The id of a trial's run. Raises `UserError` if it has none here."""
        own = f"tags.`sweep.id` = '{self.plan.id}' AND tags.`trial.number` = '{label}'"
        # As the uploader does: the oldest.
        order = ["attributes.start_time ASC"]
        for run in self.client.search_runs([self.experiment_id], own, max_results=1, order_by=order):
            return str(run.info.run_id)
        raise UserError(
            f"trial {label} of {self.plan.name!r} must have a run in MLflow; {shown(self.uri)} has none: give the "
            "--tracking-uri that the sweep was run with, or continue the sweep, which uploads what waits in its folder"
        )


def open_record(uri: str, plan: Plan) -> Record:
    """The sweep of this plan. Raises `UserError` if the store is away or not there, or does not know the sweep."""
    file = database(uri)
    if file is not None and not file.is_file():  # MLflow would make an empty one
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
    """Whatever MLflow raises within becomes a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow hands on what its database, its connection or its storage of files raises
        raise UserError(
            f"MLflow at {shown(uri)} must do what it is asked; it says: {in_short(error, uri)}: check --tracking-uri"
        ) from error
