"""Retries while a database server is unreachable, for example during a restart."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from wgan_core.errors import one_line

LONGEST_S = 600.0
PAUSE_S = 0.5
# SQLSTATE of a server that cannot be reached, shuts down, or is not ready yet (PostgreSQL, appendix A). If an error has
# no SQLSTATE, the database library could not connect or was cut off.
_AWAY = ("08", "57P")
# Messages of PostgreSQL for a connection that it will always refuse. These errors have no SQLSTATE at connection time.
_NOT_AWAY = ("authentication failed", "does not exist", "no pg_hba.conf entry")

Result = TypeVar("Result")


class Retries:
    """Retries of database calls while the server is away, for at most `LONGEST_S` seconds since the first failure.

    A retried call may already have succeeded: the commit can arrive although its answer is lost.
    """

    def __init__(self, place: str) -> None:
        """Take `place`, the name of the database for error messages, without its password."""
        self._place = place
        self._since: float | None = None

    def call(self, act: Callable[[], Result]) -> Result:
        """Call `act` until the database answers, and return its result.

        Raises:
            ConnectionError: The database stayed away for too long. Any other error of `act` is raised as it is.
        """
        while True:
            try:
                result = act()
            except Exception as error:
                said = _away(error)
                if said is None:
                    raise
                now = time.monotonic()
                self._since = now if self._since is None else self._since
                if now - self._since >= LONGEST_S:
                    raise ConnectionError(
                        f"the search's storage, {self._place!r}, has been away for {LONGEST_S:.0f} s: {one_line(said)}"
                    ) from error
                time.sleep(PAUSE_S)
            else:
                self._since = None
                return result


def _away(error: BaseException | None) -> BaseException | None:
    """Return the database library's error if it says that the server is away, and None otherwise."""
    while error is not None:
        if isinstance(error, DBAPIError) and not isinstance(error.orig, sqlite3.Error):
            state: str | None = getattr(error.orig, "sqlstate", None)
            unreachable = state is None and isinstance(error, OperationalError | InterfaceError)
            if any(said in str(error.orig) for said in _NOT_AWAY):
                return None
            if error.connection_invalidated or unreachable or (state or "").startswith(_AWAY):
                return error.orig
        error = error.__cause__ or error.__context__
    return None
