"""Arguments that a command does not have."""

from __future__ import annotations

REFUSED = 2
"""Exit status of a command that was given something that it does not take."""


class BadArguments(SystemExit):
    """Arguments that a command does not have, which was said on stderr."""

    def __init__(self, said: str) -> None:
        super().__init__(REFUSED)
        self.said = said
