"""Results of a sweep, read from its storage alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.engine.plan.arguments import storage_of, study_storage_of, tracking_uri_given
from sweeps.engine.plan.plan import CONFIRM_FILE, Plan, is_name, read_plan, read_started
from sweeps.engine.plan.plan import FILE as PLAN_FILE
from sweeps.engine.plan.uri import MLFLOW_FILE, NOT_RECORDED, database, own_tracking_uri, sqlite_uri
from sweeps.engine.results.confirmation import Confirmation, check_leaders
from sweeps.engine.results.finite import finite
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.storage.layout import storage_of_sweep, sweep_folder, trial_folder
from sweeps.engine.study.rows import Row, best_row, read_rows
from sweeps.engine.tracking import read_cursor
from wgan_core.config import Structure
from wgan_core.data.folder import Folder
from wgan_core.errors import HIDDEN, UserError, one_line, shortened

STUDY_FILE = "study.db"


@dataclass(frozen=True)
class Results:
    """Current state of a sweep. `rows` holds the trials of its search, without those of the confirmation."""

    folder: Folder
    plan: Plan
    rows: list[Row]
    confirmation: Confirmation | None = None

    @property
    def all_rows(self) -> list[Row]:
        """Return the trials of the search, then the trials of the confirmation."""
        return [*self.rows, *(self.confirmation.rows if self.confirmation is not None else ())]

    @property
    def best_so_far(self) -> Row | None:
        """Return the best run of the confirmation's winner, else the search's best trial, or None before any score."""
        confirmed = self.confirmation.best if self.confirmation is not None else None
        return confirmed or best_row(self.rows)

    @property
    def program_use(self) -> tuple[str, str]:
        """Return Python code of inputs for 64 samples of the exported generator, and the shape of its output."""
        best = self.best_so_far
        structure = self.plan.structure if best is None else self.structure_of(best)
        inputs = f"torch.randn(64, {structure.z_length})"
        if structure.classes:
            inputs += f", torch.randint({structure.classes}, (64,))"
        if structure.conditions is not None:
            means = ", ".join(column.typical for column in structure.conditions.columns)
            inputs += f", torch.tensor([[{means}]] * 64, dtype=torch.float64)"
        return inputs, f"({', '.join(map(str, (64, *structure.sample_shape)))})"

    @property
    def best(self) -> Row:
        """Return `best_so_far`. Raises `UserError` if no trial has a score yet."""
        row = self.best_so_far
        if row is None:
            raise UserError(f"no trial of {self.plan.name!r} has a score yet: wait for its first report")
        return row

    def row(self, label: str) -> Row:
        """Return the trial with this label. Raises `UserError` if there is none or it has no score."""
        scored = {row.label: row for row in self.all_rows if not math.isnan(row.value)}
        if label not in scored:
            raise UserError(
                f"--trial must be a trial of {self.plan.name!r} that has a score; given {label!r}, and these have one: "
                f"{', '.join(scored) or 'none'}: name another, or leave it out for the best"
            )
        return scored[label]

    def best_as_json(self) -> dict[str, Any]:
        """Return `as_json` of the best trial."""
        return self.as_json(self.best)

    def as_json(self, row: Row) -> dict[str, Any]:
        """Describe a trial that has a score: what was trained, its value, its floor, and where its files are.

        Add the items of `Row.beside`. For a run of the confirmation's winner, add the items of `confirmed_as_json`.
        """
        structure = self.structure_of(row).as_json()
        try:
            tracked = read_cursor(trial_folder(self.folder, row.label))
        except OSError as error:
            raise UserError(
                f"a trial's note must be a file that can be read; {one_line(error)}: check --storage"
            ) from error
        return {
            "trial": row.label,
            "params": {**row.params, **self.plan.space.hyper(row.params).as_json()},
            "structure": {name: value for name, value in structure.items() if name not in ("coding", "conditions")},
            "sampler": self.plan.sampler,
            "extends": None if self.plan.extends is None else vars(self.plan.extends),
            "objective": self.plan.objective,
            "value": row.value,
            "floor": self.plan.floor,
            "floor_error": finite(self.plan.floor_error),
            **row.beside,
            "checkpoint": str(checkpoint_of(self.folder, row)),
            "run_id": tracked.run_id,
            "model_uri": tracked.model_uri,
            **self.confirmed_as_json(row),
        }

    def structure_of(self, row: Row) -> Structure:
        """Return the structure of a trial of the search or of the confirmation."""
        return self.plan.structure_of(row.params)

    def plan_of(self, row: Row) -> Plan:
        """Return the plan of a trial: that of the search or that of the confirmation."""
        is_searched = self.confirmation is None or row.label == self.plan.label(row.number)
        return self.plan if self.confirmation is None or is_searched else self.confirmation.plan

    def confirmed_as_json(self, row: Row) -> dict[str, Any]:
        """Return the trial that a run of the winner repeats, and the scores of all such runs; else an empty dict."""
        setting = None if self.confirmation is None else self.confirmation.winner
        if setting is None or row.label not in {run.label for run in setting.runs}:
            return {}
        return {
            "confirms": setting.leader.label,
            "early_value": setting.leader.value,
            "failed_runs": len(setting.failed),
            "validation": None if setting.validation is None else setting.validation.as_json(),
            "test": None if setting.test is None else setting.test.as_json(),
        }


def open_results(storage: str | None, name: str, study_storage: str | None = None) -> Results:
    """Read the results of a sweep.

    Args:
        storage: Storage folder; None for the default of the scripts.
        name: Name of the sweep.
        study_storage: URL of the Optuna storage; None for the default of the scripts.

    Raises:
        UserError: There is no such sweep, or its study cannot be read.
    """
    folder, plan = open_plan(storage, name)
    url = study_url(folder, study_storage_of(study_storage))
    file = database(url)
    if file is not None and not file.is_file():  # otherwise Optuna would create an empty file
        raise UserError(
            f"a sweep's Optuna study must be there; {file} is not: check --storage, or give the sweep's --study-storage"
        )
    rows = read_rows(plan, url)
    return Results(folder, plan, rows, read_confirmation(folder, rows, url))


def open_plan(storage: str | None, name: str) -> tuple[Folder, Plan]:
    """Return the folder and the plan of a sweep. Raises `UserError` if there is no sweep of this name."""
    storage = storage_of(storage)
    folder = sweep_folder(storage, name) if is_name(name) else None
    plan = None if folder is None else read_plan(folder)
    if folder is None or plan is None:
        known = known_sweeps(Folder.at(storage))
        raise UserError(
            f"no sweep named {name!r} in {storage}; there are: {', '.join(known) or 'none'}: check --storage"
        )
    return folder, plan


def read_confirmation(folder: Folder, searched: Sequence[Row], url: str) -> Confirmation | None:
    """Read the confirmation of a sweep, or return None if there is none.

    `searched` holds the rows of the search's trials. Raises `UserError` if the confirmation cannot be read.
    """
    plan = read_plan(folder, CONFIRM_FILE)
    if plan is None:
        return None
    check_leaders(plan, searched)
    return Confirmation(plan, read_rows(plan, url), searched)


def study_url(folder: Folder, given: str | None) -> str:
    """Return the URL of the Optuna storage: the given one, else a SQLite file in the sweep's folder.

    Raises `UserError` if none is given and the folder is in an object store, which cannot hold a SQLite file.
    """
    if given:
        return given
    if not folder.is_local:
        raise UserError(
            f"a sweep in an object store needs a database server for its search; {folder} is one, and none was named: "
            "give a PostgreSQL URL with --study-storage"
        )
    return sqlite_uri(folder.file(STUDY_FILE))


def tracking_uri_of(folder: Folder, given: str | None) -> str:
    """Return the MLflow address of the sweep in this folder, or `NOT_RECORDED`.

    It is the given address, else `$MLFLOW_TRACKING_URI`, else the database in the storage folder: the one with the name
    that the sweep notes, or mlflow.db. The function never follows an address that is written in the folder. The author
    of the folder chose that address, and its server would receive the user's credentials. After a move or copy, it
    would also be the old place.

    Raises:
        UserError: No address was given, and the sweep was logged elsewhere or its storage is an object store.
    """
    asked = tracking_uri_given(given)
    if asked:
        return asked
    noted = read_started(folder).tracking_uri
    if noted == NOT_RECORDED:
        return noted
    file, storage = database(noted), storage_of_sweep(folder)
    if file is not None and storage.is_local and storage.exists(file.name):
        return sqlite_uri(storage.file(file.name))
    if noted and (file is None or file.name != MLFLOW_FILE):
        address = "the address with its password" if HIDDEN in noted else shlex.quote(noted)
        raise UserError(
            f"an MLflow address must be given by you to be followed; the sweep in {folder} notes {shortened(noted)}, "
            f"and none was given: if you trust it, give --tracking-uri {address}, or set MLFLOW_TRACKING_URI"
        )
    return own_tracking_uri(storage)


def _holds_sweep(storage: Folder, name: str) -> bool:
    """Return whether a folder holds a sweep. A link counts as one, so that opening it raises an error that says why."""
    try:
        return (storage / name).exists(PLAN_FILE)
    except UserError:
        return True
    except OSError:
        return False


def known_sweeps(storage: Folder) -> list[str]:
    """Return the names of the sweeps in a storage folder. Raises `UserError` if the folder cannot be read."""
    try:
        return [name for name in storage.names() if is_name(name) and _holds_sweep(storage, name)]
    except OSError as error:
        raise UserError(
            f"the storage must be a folder that can be read; {storage}: {one_line(error)}: check --storage"
        ) from error
