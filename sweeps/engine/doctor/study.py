"""Check of the Optuna storage: the database must answer.

If the database has Optuna's tables, their version must be the installed one's.
"""

from __future__ import annotations

from pathlib import Path

import optuna
import sqlalchemy

from sweeps.engine.cluster.connection import reach
from sweeps.engine.doctor.check import Check, failed, ok, refused
from sweeps.engine.plan.sqlite_file import check_database, limit_all
from sweeps.engine.plan.uri import database, shown
from sweeps.engine.results.results import STUDY_FILE, study_url
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line, without_secrets

OTHER = "check --study-storage (or WGAN_STUDY_STORAGE)"


def check_study(url: str | None, storage: Folder) -> list[Check]:
    """Check the Optuna storage at a URL. None stands for the database file in each sweep's folder."""
    try:
        if not url:
            study_url(storage, None)
            return ok("study", f"{STUDY_FILE} in each sweep's folder of {storage}")
        file = database(url)
        if file is not None and not file.exists():
            return _absent(file)
        if file is not None:
            check_database(file)
            limit_all()
        made = sqlalchemy.make_url(url)
        if made.host:  # Otherwise the database library retries for minutes.
            reach(f"{made.host}:{made.port or _port(made.drivername)}")
        return _opened(url)
    except UserError as error:
        return refused("study", error)
    except Exception as error:  # Each database library has errors of its own.
        return failed("study", f"{shown(url or '')}: {without_secrets(one_line(error), url or '')}", OTHER)


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
