"""Checks of SQLite databases that somebody else may have written.

A database can do harm when it is opened. A journal beside it can name another file, which SQLite deletes when it rolls
the journal back. A view in place of a table runs its author's query, which may never end. So each database file is
checked before a library opens it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

from wgan_core.errors import UserError, one_line, quoted, shortened

# Last bytes of a journal that names a super-journal (https://www.sqlite.org/fileformat2.html, section 3). Only a
# transaction over several attached databases writes such a journal, and a sweep attaches none.
SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
SIDECARS = ("-journal", "-wal", "-shm")
LOCKED_S = 30.0
# Longest time to read a schema, in seconds, and most entries that it may have. MLflow's has fewer than 200. The pages
# of a crafted schema can form a graph in which a few kB count as billions of entries.
SCHEMA_S, MOST_ENTRIES = 10.0, 2_000
# Steps of SQLite's machine between two looks at the clock; they take milliseconds.
STEPS = 100_000
# Longest value to read, in bytes. The values of MLflow and Optuna are far shorter.
LONGEST = 1 << 24
# All that a schema may have besides names, types and keys. MLflow has a trigger on its table of secrets and a generated
# column in its table of spans. A sweep neither writes nor reads these tables.
TRIGGER = (
    "CREATE TRIGGER prevent_secrets_aad_mutation BEFORE UPDATE ON secrets FOR EACH ROW "
    "WHEN OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name BEGIN SELECT RAISE(ABORT, "
    "'secret_id and secret_name are immutable (used as AAD in encryption)'); END"
)
GENERATED = re.compile(r"GENERATED ALWAYS AS \(end_time_unix_nano - start_time_unix_nano\) STORED")
# Both kinds of quotes in one pass: an apostrophe inside a quoted name would otherwise seem to begin a text.
QUOTED = re.compile(r"'[^']*(?:''[^']*)*'|\"[^\"]*(?:\"\"[^\"]*)*\"")
LITERAL = r"(?:''|[+-]?\d{1,18})"
CHECKED = re.compile(
    rf"CHECK \(\s*\w{{1,60}}\s*(?:IN \(\s*{LITERAL}(?:\s*,\s*{LITERAL}){{0,200}}\s*\)|=\s*\d{{1,9}})\s*\)"
)
# Characters of the longest definition of a table. MLflow's have less than 3,000.
LONGEST_SCHEMA = 100_000
BEGINS = re.compile(r"CREATE (?:TABLE|UNIQUE INDEX|INDEX) ")
# Matches comments, other quotes of names, the operator || that makes values longer, and words that begin an expression.
EXPRESSION = re.compile(
    r"--|/\*|\||[`\[;]|\b(?:AS|CASE|CHECK|GENERATED|GLOB|LIKE|MATCH|REGEXP|SELECT|WHERE)\b", re.IGNORECASE
)
# Matches all that may precede a parenthesis: a type with its size, a key, or a table's name with its columns.
BEFORE = re.compile(
    r"(?:\b(?:TABLE|REFERENCES|ON)\s+(?:\w+|\"\w+\")|\b(?:CHAR|DECIMAL|FLOAT|KEY|NUMERIC|UNIQUE|VARCHAR))\s*\("
)
NO_DATABASE = ("file is not a database", "unable to open database file")


def check_database(file: Path) -> None:
    """Raise an error if a SQLite file holds more than plain tables. A file that is missing or is no database passes.

    Args:
        file: The path of the database.

    Raises:
        UserError: The file or one of its journals is not a regular file, or a journal names another file. Or the
            database is locked or damaged. Or it has views, virtual tables, or triggers or expressions other than
            MLflow's.
    """
    file = Path(os.path.realpath(file))  # SQLite names journals after the target of a link.
    _check_files(file)
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=LOCKED_S)) as database:
            limit(database)
            database.text_factory = lambda raw: raw.decode(errors="replace")
            odd = _odd_entry(database)
            # A damaged file may use a page twice, and so claim any number of rows, or values of any length.
            damage = None if odd else database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        if str(error) in NO_DATABASE:
            return  # The library that opens the file reports this.
        raise UserError(
            f"a database must be free and whole to be read; {file}: {one_line(error)}: try again once nobody else uses "
            "it, or do not use it"
        ) from error
    if odd:
        raise UserError(
            f"a database of a sweep must have plain tables and indices alone; {file} has {quoted(odd)}, which "
            "computes something: do not use it, as it was made to do more than hold data"
        )
    if damage and damage[0] != "ok":
        raise UserError(f"a database must be whole to be read; {file}: {shortened(str(damage[0]))}: use a backup of it")


def _odd_entry(database: sqlite3.Connection) -> str | None:
    """Return the name of the first entry of the schema that is more than a plain table or index, if there is one.

    Raises:
        sqlite3.Error: The schema has more than `MOST_ENTRIES` entries, or is not read within `SCHEMA_S`.
    """
    end = time.monotonic() + SCHEMA_S
    # SQLite reads the schema before the first statement, and calls the handler while it does so.
    database.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        for number, (name, sql) in enumerate(database.execute("SELECT name, sql FROM sqlite_master")):
            if number >= MOST_ENTRIES:
                raise sqlite3.DatabaseError(f"its schema has more than {MOST_ENTRIES:,} entries")
            if not _is_plain(str(name), sql):
                return str(name)
    except sqlite3.OperationalError as error:
        if time.monotonic() > end:
            raise sqlite3.OperationalError(f"its schema is not read within {SCHEMA_S:.0f} s") from error
        raise
    database.set_progress_handler(None, 0)
    return None


def limit(database: sqlite3.Connection) -> None:
    """Make a connection refuse values over 16 MiB. A file of a few kB can claim to hold values of 1 GB."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)


@cache
def limit_all() -> None:
    """Apply `limit` to each SQLite connection that SQLAlchemy makes in this process, for Optuna and MLflow."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def limited(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            limit(connection)

    event.listen(Engine, "connect", limited)


def _check_files(file: Path) -> None:
    for name in ("", *SIDECARS):
        path = Path(f"{file}{name}")
        # Do not open the database's file here. Closing it would release the locks that SQLite holds in this process.
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
        journal.seek(0)
        head = journal.read(28)
        pages, page = (int.from_bytes(head[at : at + 4]) for at in (16, 24))
        # A size of 0 stands for that of the database, which is at most 64 KiB.
        both = os.path.getsize(file) + os.path.getsize(journal.name)
        if head.startswith(SUPER_JOURNAL) and pages * (page or 1 << 16) > both:
            raise UserError(
                f"a database's journal must not make the database larger than both are; {journal.name} claims "
                f"{pages:,} pages: do not use this database, as no sweep writes such a journal"
            )


def _is_plain(name: str, sql: object) -> bool:
    """Return whether an entry of a schema is a table or an index that computes nothing.

    SQLite obeys only the text `sql`, so the other columns of `sqlite_master` can be wrong. The text is None only for an
    index that SQLite creates by itself.
    """
    if sql is None:
        return name.startswith("sqlite_autoindex_")
    if len(str(sql)) > LONGEST_SCHEMA:
        return False
    text = " ".join(str(sql).split())
    if text.rstrip("; ") == TRIGGER:
        return True
    text = QUOTED.sub(lambda found: "''" if found[0][0] == "'" else '"x"', text)
    if "'" in text.replace("''", ""):
        return False
    text = CHECKED.sub("", GENERATED.sub("", text))
    if not BEGINS.match(text) or EXPRESSION.search(text):
        return False
    return len(BEFORE.findall(text)) == text.count("(")
