"""SQLite databases that somebody else may have written.

SQLite obeys more than the data of a file. A journal beside a database can name another file, which SQLite deletes when
it rolls the journal back. A view in place of a table runs a query of whoever wrote it, which may never end. So each
database file is looked at before a library opens it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from wgan_core.errors import UserError, one_line, quoted

# What ends a journal that names a super-journal (https://www.sqlite.org/fileformat2.html, section 3). Only a
# transaction over several attached databases writes one, and a sweep has none.
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
SIDECARS = ("-journal", "-wal", "-shm")
LOCKED_S = 30.0
# What MLflow's and Optuna's tables are made of.
KINDS = ("table", "index")
# MLflow's own tables with a trigger, and with a generated column. A sweep neither writes nor reads them.
GUARDED = ("secrets", "spans")
# Functions in a CHECK, a DEFAULT or an index that can make large values of small ones, or take endless time.
DEAR = re.compile(
    r"\b(zeroblob|randomblob|hex|unhex|instr|printf|replace|group_concat|quote)\b|\bformat\W*\(",
    re.IGNORECASE,
)
NO_DATABASE = ("file is not a database", "unable to open database file")


def check_database(file: Path) -> None:
    """Refuse a SQLite file that is more than tables. Nothing happens if it is not there, or is no database.

    Args:
        file: the path of the database.

    Raises:
        UserError: The file or one beside it is no regular file, a journal names another file, or the database has
            views, triggers, virtual tables or generated columns.
    """
    file = Path(os.path.realpath(file))  # the files beside it have the name of what a link points to
    _check_files(file)
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=LOCKED_S)) as database:
            database.text_factory = lambda raw: raw.decode(errors="replace")
            found = database.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master").fetchall()
            odd = [name for kind, name, table, page, sql in found if not _is_plain(kind, table, page, sql)]
            if not odd:
                tables = [str(name) for kind, name, *_ in found if kind == "table" and name not in GUARDED]
                odd = [name for name in tables if _has_generated(database, name)]
    except sqlite3.Error as error:
        if str(error) in NO_DATABASE:
            return  # whoever opens it says so
        raise UserError(
            f"a database must be free and whole to be read; {file}: {one_line(error)}: try again once nobody else uses "
            "it, or do not use it"
        ) from error
    if odd:
        raise UserError(
            f"a database of a sweep must have tables and indices alone; {file} has {quoted(str(odd[0]))}, a view, a "
            "trigger or the like: do not use it, as it was made to do more than hold data"
        )


def _check_files(file: Path) -> None:
    for name in ("", *SIDECARS):
        path = Path(f"{file}{name}")
        # The database's file is not opened here: to close it would end the locks that SQLite holds on it in this
        # process.
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
                raise UserError(f"a database's files must be regular files; {path} is none: remove it")
    with suppress(FileNotFoundError), open(f"{file}{SIDECARS[0]}", "rb") as journal:
        journal.seek(max(0, journal.seek(0, os.SEEK_END) - len(SUPER_JOURNAL)))
        if journal.read() == SUPER_JOURNAL:
            raise UserError(
                f"a database's journal must name no other file, which SQLite would delete; {file}{SIDECARS[0]} does: "
                "do not use this database, as no sweep writes such a journal"
            )


def _is_plain(kind: object, table: object, page: object, sql: object) -> bool:
    if kind == "trigger":
        return table in GUARDED
    # Views and virtual tables have no page of their own, whatever their text says.
    return kind in KINDS and bool(page) and not DEAR.search(str(sql or ""))


def _has_generated(database: sqlite3.Connection, table: str) -> bool:
    # A hidden column of kind 2 or 3 is worked out, by an expression of whoever made the table.
    columns = database.execute("SELECT hidden FROM pragma_table_xinfo(?)", [table])
    return any(hidden > 1 for (hidden,) in columns)
