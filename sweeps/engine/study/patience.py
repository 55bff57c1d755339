"""Waiting for a database server that is away: being restarted, or cut off for a while."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from wgan_core.errors import one_line

LONGEST_S = 600.0
PAUSE_S = 0.5
# SQLSTATE of a server that cannot be reached, ends, or is not ready yet (PostgreSQL, appendix A). Without any, the
# driver could not connect, or was cut off.
_AWAY = ("08", "57P")
# What PostgreSQL says of a connection that it refuses for good, which has no SQLSTATE when it is made.
_NOT_AWAY = ("authentication failed", "does not exist", "no pg_hba.conf entry")

Result = TypeVar("Result")


class Patience:
    """Does things again while a database is away, for so long in all since it was last there.

    What is done again may have been done before: its commit can have arrived, and the answer been lost.
    """

    def __init__(self, place: str) -> None:
        """`place` names the database in the error, without its password."""
        self._place = place
        self._since: float | None = None

    def wait(self, act: Callable[[], Result]) -> Result:
        """What `act` returns. Raises what it raises, and `ConnectionError` if the database stays away."""
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
    """What the driver of the database said, if it is that the server is away; else None."""
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
