"""Access to the Optuna storage of a study."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna
import sqlalchemy

from sweeps.engine.plan.one_maker import is_unmade, new_file, one_maker
from sweeps.engine.plan.plan import MOST_TRIALS
from sweeps.engine.plan.sqlite_file import check_database, limit_all
from sweeps.engine.plan.uri import database, shown, sqlite_uri
from wgan_core.errors import UserError, without_secrets

ATTRIBUTES = ("user_attributes", "system_attributes")
# Tables that hold parts of a study's trials. A lost connection can leave a few trials too many. A trial reports its
# objective at most 81 times, and has fewer parameters and attributes.
TABLES = tuple(f"trial_{of}" for of in ("params", "values", *ATTRIBUTES, "intermediate_values"))
SPARE_ROWS, ROWS_PER_TRIAL = 1_000, 100
# Attributes are kept as JSON. A trial's longest one has the scores of at most 1,000 metrics.
SPARE_LENGTH, LENGTH_PER_TRIAL = 1 << 20, 1 << 17


def open_study(
    name: str, storage_url: str, pruner: optuna.pruners.BasePruner, trials: int = MOST_TRIALS
) -> optuna.Study:
    """Open the study of this name, or create it.

    Args:
        name: Name of the study.
        storage_url: URL of the Optuna storage.
        pruner: Pruner of the study.
        trials: Trials of the plan.

    Raises:
        UserError: The storage cannot be opened, or holds far more than so many trials.
    """
    with _opening(storage_url):
        storage = _storage(storage_url)
        _check_size(storage, name, trials)
        # `Sampling` draws all points. Optuna asks the study's own sampler whenever it opens a trial, for nothing.
        idle = optuna.samplers.RandomSampler()
        return optuna.create_study(study_name=name, storage=storage, sampler=idle, pruner=pruner, load_if_exists=True)


def make_study(name: str, storage_url: str, trials: int) -> None:
    """Create the study of this name, or check that it opens as `open_study` does.

    An error that an actor of Ray raises in its constructor is printed by Ray too, with all its causes.
    """
    with _opening(storage_url):
        storage = _storage(storage_url)
        try:
            _check_size(storage, name, trials)
            optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
        finally:
            storage.engine.dispose()


def read_trials(name: str, storage_url: str, trials: int) -> list[optuna.trial.FrozenTrial]:
    """Read all trials of the study of this name, whose plan has so many trials.

    Raises `UserError` if the study does not exist, cannot be read, or holds far more than so many trials.
    """
    with _opening(storage_url):
        storage = _storage(storage_url)
        _check_size(storage, name, trials)
        return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)


def _check_size(storage: optuna.storages.RDBStorage, name: str, trials: int) -> None:
    """Raise `UserError` if a study has far more rows or text than its plan allows. Optuna would read them all."""
    of_study = "study_id IN (SELECT study_id FROM studies WHERE study_name = :name)"
    of_trials = f"trial_id IN (SELECT trial_id FROM trials WHERE {of_study})"
    text, most_text = "COALESCE(SUM(LENGTH(value_json)), 0)", SPARE_LENGTH + trials * LENGTH_PER_TRIAL
    checks = [(table, of_trials, "rows", "COUNT(*)", SPARE_ROWS + trials * ROWS_PER_TRIAL) for table in TABLES]
    checks.append(("trials", of_study, "rows", "COUNT(*)", SPARE_ROWS + trials))
    for attributes in ATTRIBUTES:
        checks.append((f"trial_{attributes}", of_trials, "characters", text, most_text))
        checks.append((f"study_{attributes}", of_study, "characters", text, most_text))
    with storage.engine.connect() as connection:
        for table, where, what, measure, most in checks:
            query = sqlalchemy.text(f"SELECT {measure} FROM {table} WHERE {where}")
            count = connection.execute(query, {"name": name}).scalar_one()
            if count > most:
                raise UserError(
                    f"the study of a sweep of {trials:,} trials must have at most {most:,} {what} in its table "
                    f"{table}; it has {count:,}: use a backup of its database"
                )


def place(storage_url: str) -> str:
    """Return the address of the storage, without a user name or password."""
    return shown(storage_url).split("@")[-1]


def _storage(url: str) -> optuna.storages.RDBStorage:
    file = database(url)
    with one_maker(url):
        if file is not None:
            check_database(file)
            limit_all()
            if is_unmade(file):
                with new_file(file) as made:
                    optuna.storages.RDBStorage(sqlite_uri(str(made))).engine.dispose()
        # Test each connection before use: the server may have cut it, and SQLAlchemy then opens a new one.
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


@contextlib.contextmanager
def _opening(storage_url: str) -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the search needs its Optuna storage; {place(storage_url)!r} gives: "
            f"{without_secrets(reason, storage_url)}: check --study-storage"
        ) from error
