"""The error for bad command-line arguments."""

from __future__ import annotations

REFUSED = 2
"""Exit status for bad arguments, and for other errors that the user can correct."""


class BadArguments(SystemExit):
    """Bad arguments. The parser has already printed the message `said` on stderr."""

    def __init__(self, said: str) -> None:
        super().__init__(REFUSED)
        self.said = said
