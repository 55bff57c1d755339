"""How fast a sweep is, and how long it will take yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import ENDED, Row

USUAL_LENGTH = 0.3  # of the budget: what a trial lasts on average where two of three are stopped at each third
WINDOW_S = 60.0


@dataclass(frozen=True)
class Pace:
    """Seconds left, 0 once all trials have ended; critic updates per second of late; None where not known yet."""

    left_s: float | None
    updates_per_s: float | None


class Estimate:
    """Follows the trials of a plan from one look to the next."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # When, in seconds, the sum of critic updates over all trials changed, and to what: the first was done before.
        self._changes: list[tuple[float, int]] = []

    def look(self, rows: Sequence[Row], elapsed_s: float) -> Pace:
        """What follows from these trials, so many seconds after the beginning, and from all the looks before."""
        done = sum(row.step for row in rows)
        if not self._changes or done != self._changes[-1][1]:
            self._changes.append((elapsed_s, done))
        return Pace(self._left(rows, done, elapsed_s), self._of_late(elapsed_s))

    def _left(self, rows: Sequence[Row], done: int, elapsed_s: float) -> float | None:
        """From the pace so far and the mean length of the trials that ended."""
        ended = [row for row in rows if row.state in ENDED]
        if len(ended) == self._plan.trials:
            return 0.0
        pace = (done - self._changes[0][1]) / elapsed_s if elapsed_s > 0 else 0.0
        if pace <= 0:
            return None
        # As if two trials had ended at the usual length before, so that the first to end do not decide alone.
        expected = USUAL_LENGTH if self._plan.pruning else 1.0
        usual = (sum(row.step for row in ended) + 2 * expected * self._plan.budget) / (len(ended) + 2)
        open_updates = sum(self._open(row.step, usual) for row in rows if row not in ended)
        open_updates += usual * (self._plan.trials - len(rows))
        return open_updates / pace

    def _open(self, step: int, usual: float) -> float:
        """Updates a running trial has before it: one beyond the usual length has survived, and may go on to the end."""
        return max(usual - step, (self._plan.budget - step) / 2)

    def _of_late(self, now_s: float) -> float | None:
        """Over the last minute, or back to the report before the last where that was longer ago."""
        last_s, done = self._changes[-1]
        before = [change for change in self._changes[:-1] if change[0] <= now_s - WINDOW_S]
        since_s, since = before[-1] if before else self._changes[0]
        if done <= since:
            return None
        # Between two reports nothing changes, and the pace holds until the next one is overdue.
        return (done - since) / max(last_s - since_s, now_s - last_s)
