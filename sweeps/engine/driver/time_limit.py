"""The times at which a command with `--hours` ends its search and its confirmation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import ENDED, Row

CONFIRM_SHARE = 1 / 3
"""Share of the hours that is reserved for the confirmation, if one is asked for."""


@dataclass(frozen=True)
class TimeLimit:
    """Times of `time.monotonic` from which no trial begins, for the search and for the whole command.

    The clock is that of this machine, which also runs the study.
    """

    search: float = math.inf
    whole: float = math.inf

    @classmethod
    def of(cls, hours: float | None, confirms: bool) -> TimeLimit:
        """Start the clock. None sets no limit. `confirms` reserves `CONFIRM_SHARE` for a confirmation."""
        if hours is None:
            return cls()
        now, seconds = time.monotonic(), 3600 * hours
        return cls(now + seconds * (1 - CONFIRM_SHARE * confirms), now + seconds)


def limit_text(hours: float, confirms: bool) -> str:
    """Format the message that a command with `--hours` prints at its start."""
    share = ", a third of it reserved for the confirmation" if confirms else ""
    return f"--hours {hours:g}: no trial begins after {hours:g} h{share}; running trials stop at their next report"


def unfinished_text(hours: float, results: Results) -> str:
    """Format what a sweep that was ended by `--hours` has left undone."""
    left = _left(results.plan.trials, results.rows, "trials")
    if results.confirmation is not None:
        left += _left(results.confirmation.plan.trials, results.confirmation.rows, "confirming trials")
    return f"ended by --hours {hours:g}; {'; '.join(left)}; the same command again continues"


def _left(asked: int, rows: list[Row], what: str) -> list[str]:
    begun = sum(row.state not in ENDED for row in rows)
    counts = ((begun, "begun and not ended"), (asked - len(rows), "not begun"))
    return [f"{what} {said}: {count}" for count, said in counts if count]
