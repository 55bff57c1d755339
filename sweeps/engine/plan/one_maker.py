"""Creation of a database's tables by one process at a time.

MLflow and Optuna look for their tables and then create them. Two processes that start at once both find none, and both
create. One of them then fails, and may leave the tables half-made.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sweeps.engine.plan.uri import database
from wgan_core.errors import UserError

# Longest wait for another process, which makes MLflow's tables in seconds, and pause between two looks.
WAIT_S, PAUSE_S = 120.0, 0.1
# Key of PostgreSQL's advisory lock, which all sweeps share: "wgan" in ASCII.
POSTGRESQL_KEY = 0x7767616E


@contextmanager
def one_maker(uri: str) -> Iterator[None]:
    """Hold a database for the duration of the block, so that one process at a time creates its tables.

    The lock of a SQLite file is a hidden file beside it, which is removed. That of PostgreSQL is the server's own.
    Other databases and servers are not locked.

    Raises:
        UserError: Another process holds the database for longer than `WAIT_S`.
    """
    file = database(uri)
    if file is not None:
        with _locked(file):
            yield
    elif uri.startswith("postgres"):
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            # The lock ends with the transaction, also if this process is killed, and behind a pooler of connections.
            connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = {round(1000 * WAIT_S)}"))
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({POSTGRESQL_KEY})"))
            yield
    else:
        yield


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Yield the path of a file to create, and put it in the place of `file` at the end of the block.

    So a process that is killed meanwhile leaves no half-made database in that place.
    """
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder, file.name)
        yield made
        for beside in ("-journal", "-wal", "-shm"):  # of a database that was removed; SQLite would roll them back
            with suppress(FileNotFoundError):
                file.with_name(file.name + beside).unlink()
        os.replace(made, file)


def is_unmade(file: Path) -> bool:
    """Return whether a file is missing in a folder that exists, or empty, as SQLite leaves one without tables."""
    return file.stat().st_size == 0 if file.exists() else file.parent.is_dir()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    path, end = file.with_name(f".{file.name}.lock"), time.monotonic() + WAIT_S
    try:
        while (descriptor := _taken(path)) is None:
            if time.monotonic() > end:
                raise UserError(
                    f"one process at a time makes the tables of {file}; another has not finished within {WAIT_S:.0f} "
                    "s: end it, or name another storage"
                )
            time.sleep(PAUSE_S)
    except OSError:  # The folder can only be read, so nobody makes tables here.
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _taken(path: Path) -> int | None:
    """Create and lock a lock file. Return its descriptor, or None if another process has it or has just removed it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before removed the file, and a third process may have locked a new one.
        if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a file system without locks
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
