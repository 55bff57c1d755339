"""The study's storage, opened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna

from sweeps.engine.plan.sqlite_file import check_database
from sweeps.engine.plan.uri import database, shown
from wgan_core.errors import UserError, without_secrets


def open_study(name: str, storage_url: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study of this name, made if it is not there. Raises `UserError` if the storage cannot be opened."""
    with _opening(storage_url):
        return optuna.create_study(study_name=name, storage=_storage(storage_url), pruner=pruner, load_if_exists=True)


def read_trials(name: str, storage_url: str) -> list[optuna.trial.FrozenTrial]:
    """All trials of the study of this name. Raises `UserError` if it is not there."""
    with _opening(storage_url):
        return optuna.load_study(study_name=name, storage=_storage(storage_url)).get_trials()


def place(storage_url: str) -> str:
    """Where the storage is, without a password."""
    return shown(storage_url).split("@")[-1]


def _storage(url: str) -> optuna.storages.RDBStorage:
    file = database(url)
    if file is not None:
        check_database(file)
    # A connection to a server may have been cut since it was last used: it is tried first, and made anew.
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
