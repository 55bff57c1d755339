"""Access to the Optuna storage of a study."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna

from sweeps.engine.plan.sqlite_file import check_database, limit_all
from sweeps.engine.plan.uri import database, shown
from wgan_core.errors import UserError, without_secrets


def open_study(name: str, storage_url: str, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """Open the study of this name, or create it. Raises `UserError` if the storage cannot be opened."""
    with _opening(storage_url):
        return optuna.create_study(study_name=name, storage=_storage(storage_url), pruner=pruner, load_if_exists=True)


def read_trials(name: str, storage_url: str) -> list[optuna.trial.FrozenTrial]:
    """Read all trials of the study of this name. Raises `UserError` if it does not exist or cannot be read."""
    with _opening(storage_url):
        return optuna.load_study(study_name=name, storage=_storage(storage_url)).get_trials()


def place(storage_url: str) -> str:
    """Return the address of the storage, without a user name or password."""
    return shown(storage_url).split("@")[-1]


def _storage(url: str) -> optuna.storages.RDBStorage:
    file = database(url)
    if file is not None:
        check_database(file)
        limit_all()
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
