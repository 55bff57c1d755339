"""The state of a plan's trials, its estimated time left, and both as lines of text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import ENDED, Row, best_row, score_text


@dataclass(frozen=True)
class View:
    """The state of a plan's trials at one time.

    Attributes:
        plan: The plan of the stage.
        rows: The trials.
        elapsed_s: Seconds since the stage began.
        pace: The speed and the time left.
        session: Id of this driver's session. Its trials are running; those of earlier sessions are not.
    """

    plan: Plan
    rows: Sequence[Row]
    elapsed_s: float
    pace: Pace
    session: str = ""

    @cached_property
    def ended(self) -> list[Row]:
        return [row for row in self.rows if row.state in ENDED]

    @cached_property
    def running(self) -> list[Row]:
        """The trials of this session that a process trains or will get, by number."""
        return [row for row in self.rows if row.state == "RUNNING" and row.session == self.session]

    @property
    def waiting(self) -> int:
        """The number of trials that are interrupted or have not begun."""
        return self.plan.trials - len(self.ended) - len(self.running)

    @cached_property
    def best(self) -> Row | None:
        return best_row(self.rows)

    def count(self, state: str) -> int:
        """Return how many trials are in an Optuna state."""
        return sum(row.state == state for row in self.rows)


# Expected mean length of a trial, as a share of the budget, if two of three trials are stopped at each rung.
USUAL_LENGTH = 0.3
WINDOW_S = 60.0


@dataclass(frozen=True)
class Pace:
    """The speed of a stage; each value is None while it is unknown.

    Attributes:
        left_s: Estimated seconds left; 0 once all trials have ended.
        updates_per_s: Recent critic updates per second, over all trials.
    """

    left_s: float | None
    updates_per_s: float | None


class Estimate:
    """An estimator of speed and time left that follows the trials of a plan over time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Times in seconds at which the sum of critic updates over all trials changed, and the new sums. The first entry
        # is that of the first look: its updates were done before.
        self._changes: list[tuple[float, int]] = []

    def look(self, rows: Sequence[Row], elapsed_s: float) -> Pace:
        """Return the pace that follows from the trials now and from all earlier calls.

        Args:
            rows: The trials now.
            elapsed_s: Seconds since the stage began.
        """
        done = sum(row.step for row in rows)
        if not self._changes or done != self._changes[-1][1]:
            self._changes.append((elapsed_s, done))
        return Pace(self._left(rows, done, elapsed_s), self._of_late(elapsed_s))

    def _left(self, rows: Sequence[Row], done: int, elapsed_s: float) -> float | None:
        """Estimate the seconds left from the speed so far and the mean length of the trials that ended."""
        ended = [row for row in rows if row.state in ENDED]
        if len(ended) == self._plan.trials:
            return 0.0
        pace = (done - self._changes[0][1]) / elapsed_s if elapsed_s > 0 else 0.0
        if pace <= 0:
            return None
        # Count two imaginary trials of the expected length, so that the first trials to end do not decide alone.
        expected = USUAL_LENGTH if self._plan.pruning else 1.0
        usual = (sum(row.step for row in ended) + 2 * expected * self._plan.budget) / (len(ended) + 2)
        open_updates = sum(self._open(row.step, usual) for row in rows if row not in ended)
        open_updates += usual * (self._plan.trials - len(rows))
        return open_updates / pace

    def _open(self, step: int, usual: float) -> float:
        """Estimate the updates left of a trial. One longer than usual has survived pruning, and may reach the end."""
        return max(usual - step, (self._plan.budget - step) / 2)

    def _of_late(self, now_s: float) -> float | None:
        """Return the updates per second since the last earlier change at least a minute ago, else since the first."""
        last_s, done = self._changes[-1]
        before = [change for change in self._changes[:-1] if change[0] <= now_s - WINDOW_S]
        since_s, since = before[-1] if before else self._changes[0]
        if done <= since:
            return None
        # The sum changes only at reports. The speed stays constant until the next report is overdue.
        return (done - since) / max(last_s - since_s, now_s - last_s)


SHOWN = 8


def line(view: View) -> str:
    """Format the whole view as one line."""
    parts = [f"{clock(view.elapsed_s)}  {len(view.ended)} of {view.plan.trials} trials ended"]
    if view.running:
        shown = [f"{row.label} ({row.step / view.plan.budget:.0%})" for row in view.running[:SHOWN]]
        more = len(view.running) - len(shown)
        parts.append("running " + ", ".join(shown) + (f" and {more} more" if more else ""))
    if view.best is not None:
        parts.append(f"best {score_text(view.best.value, view.best.error)} (trial {view.best.label})")
    parts.append(left(view))
    return "  |  ".join(parts)


def left(view: View) -> str:
    """Format the time left."""
    if len(view.ended) == view.plan.trials:
        return "all trials have ended"
    left_s = view.pace.left_s
    return "time left not known yet" if left_s is None else f"about {clock(left_s)} left"


def clock(seconds: float) -> str:
    """Format seconds as H:MM:SS, or as M:SS below one hour."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


LINE_EVERY_S = 15.0
# Longest time without a line. Even if nothing has changed, a line shows that the sweep does not hang.
AT_LEAST_EVERY_S = 300.0


class Throttle:
    """A limiter of progress lines: one every 15 s if something has changed, else one every five minutes."""

    def __init__(self) -> None:
        self._told_s = -math.inf
        self._told: object = ()

    def is_due(self, view: View | None) -> bool:
        """Return whether a line is due now. If so, restart the wait.

        Args:
            view: The current view, or None if it is unknown.
        """
        now_s, stands = time.monotonic(), _stands(view)
        since_s = now_s - self._told_s
        if since_s < LINE_EVERY_S or (since_s < AT_LEAST_EVERY_S and stands == self._told):
            return False
        self._told_s, self._told = now_s, stands
        return True


def _stands(view: View | None) -> object:
    return None if view is None else [(row.number, row.state, row.step, row.session) for row in view.rows]
