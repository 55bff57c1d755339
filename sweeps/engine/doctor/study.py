"""Check of the Optuna storage: the database must answer, and have the tables of the installed Optuna."""

from __future__ import annotations

import socket
from pathlib import Path

import optuna
import sqlalchemy

from sweeps.engine.doctor.check import Check, failed, ok
from sweeps.engine.plan.sqlite_file import check_database
from sweeps.engine.plan.uri import ANSWER_S, database, shown
from wgan_core.data.folder import Folder
from wgan_core.errors import one_line, without_secrets

OTHER = "check --study-storage (or WGAN_STUDY_STORAGE)"


def check_study(url: str | None, storage: Folder) -> list[Check]:
    """Check the Optuna storage at a URL. None stands for the database file in each sweep's folder."""
    if not url:
        if storage.is_local:
            return ok("study", f"study.db in each sweep's folder of {storage}")
        return failed(
            "study", f"an object store, {storage}, holds no database", "give --study-storage: a PostgreSQL URL"
        )
    file = database(url)
    if file is not None and not file.exists():
        return _absent(file)
    try:
        if file is not None:
            check_database(file)
        made = sqlalchemy.make_url(url)
        if made.host:  # Otherwise the database's driver retries for minutes.
            socket.create_connection((made.host, made.port or _port(made.drivername)), timeout=ANSWER_S).close()
        return _opened(url)
    except Exception as error:  # Each database's driver has errors of its own.
        return failed("study", f"{shown(url)}: {without_secrets(one_line(error), url)}", OTHER)


def _opened(url: str) -> list[Check]:
    engine = sqlalchemy.create_engine(url)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if not {"studies", "version_info", "alembic_version"} <= tables:
        return ok("study", f"{shown(url)} is there; the first sweep makes its tables")
    # Optuna checks the version of its tables here. They exist, so it writes nothing.
    count = len(optuna.storages.RDBStorage(url, skip_table_creation=True).get_all_studies())
    return ok("study", f"{shown(url)}, {count} sweeps, tables of Optuna {optuna.__version__}")


def _absent(file: Path) -> list[Check]:
    if file.parent.is_dir():
        return ok("study", f"{file}, which the first sweep makes")
    return failed("study", f"{file}: its folder is not there", f"make it, or {OTHER}")


def _port(driver: str) -> int:
    return 3306 if driver.startswith(("mysql", "mariadb")) else 5432
