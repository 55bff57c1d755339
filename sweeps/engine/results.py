"""A sweep's results, read from its storage alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.engine.layout import sweep_folder, trial_folder
from sweeps.engine.leaderboard import best_row, checkpoint_of
from sweeps.engine.options import storage_of, study_storage_of
from sweeps.engine.plan import FILE as PLAN_FILE
from sweeps.engine.plan import Plan, read_plan
from sweeps.engine.study import Row, read_rows
from sweeps.engine.tracking_note import read_note
from sweeps.engine.tracking_uri import database
from wgan_core.errors import UserError, one_line
from wgan_core.folder import Folder

STUDY_FILE = "study.db"


@dataclass(frozen=True)
class Results:
    """A sweep as it stands."""

    folder: Folder
    plan: Plan
    rows: list[Row]

    @property
    def best(self) -> Row:
        """The best trial. Raises `UserError` if none has a score yet."""
        row = best_row(self.rows)
        if row is None:
            raise UserError(f"no trial of {self.plan.name!r} has a score yet: wait for its first report")
        return row

    def best_as_json(self) -> dict[str, Any]:
        """trial, params, objective, value, floor, checkpoint, run_id, model_uri of the best trial."""
        row = self.best
        try:
            tracked = read_note(trial_folder(self.folder, row.number))
        except OSError as error:
            raise UserError(
                f"a trial's note must be a file that can be read; {one_line(error)}: check --storage"
            ) from error
        return {
            "trial": row.number,
            "params": {**row.params, **self.plan.space.hyper(row.params).as_json()},
            "objective": self.plan.objective,
            "value": row.value,
            "floor": self.plan.floor,
            "checkpoint": str(checkpoint_of(self.folder, row)),
            "run_id": tracked.run_id,
            "model_uri": tracked.model_uri,
        }


def open_results(storage: str | None, name: str, study_storage: str | None = None) -> Results:
    """The sweep of this name; None stands for the places that the scripts take. Raises `UserError` if there is none."""
    storage = storage_of(storage)
    folder = sweep_folder(storage, name)
    plan = read_plan(folder)
    if plan is None:
        known = known_sweeps(Folder.at(storage))
        raise UserError(
            f"no sweep named {name!r} in {storage}; there are: {', '.join(known) or 'none'}: check --storage"
        )
    url = study_url(folder, study_storage_of(study_storage))
    file = database(url)
    if file is not None and not file.is_file():  # Optuna would make an empty one
        raise UserError(
            f"a sweep's Optuna study must be there; {file} is not: check --storage, or give the sweep's --study-storage"
        )
    return Results(folder, plan, read_rows(plan.study_name, url)[: plan.trials])


def study_url(folder: Folder, given: str | None) -> str:
    """The Optuna storage: the one given, else a SQLite file in the sweep's folder.

    Raises `UserError` if the folder is of an object store, which cannot hold a SQLite file.
    """
    if given:
        return given
    if not folder.is_local:
        raise UserError(f"a sweep in an object store, {folder}, needs --study-storage: a PostgreSQL URL")
    return f"sqlite:///{folder.path}/{STUDY_FILE}"


def known_sweeps(storage: Folder) -> list[str]:
    """The names of the sweeps in a storage. Raises `UserError` if it cannot be read."""
    try:
        return [name for name in storage.names() if (storage / name).exists(PLAN_FILE)]
    except OSError as error:
        raise UserError(
            f"the storage must be a folder that can be read; {storage}: {one_line(error)}: check --storage"
        ) from error
