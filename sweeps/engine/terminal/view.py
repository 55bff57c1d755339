"""How the trials of a plan stand, as lines of text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.leaderboard import best_row
from sweeps.engine.study.rows import ENDED, Row


@dataclass(frozen=True)
class View:
    """The trials of a plan after so many seconds. session: that of the driver, which holds the trials that run."""

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
        """Those handed out to a process, or on their way to one, by number."""
        return [row for row in self.rows if row.state == "RUNNING" and row.session == self.session]

    @property
    def waiting(self) -> int:
        """Trials that nobody trains: interrupted, or not begun yet."""
        return self.plan.trials - len(self.ended) - len(self.running)

    @cached_property
    def best(self) -> Row | None:
        return best_row(self.rows)

    def count(self, state: str) -> int:
        """How many trials are in a state of Optuna's."""
        return sum(row.state == state for row in self.rows)


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


SHOWN = 8


def line(view: View) -> str:
    """All of it in one line."""
    parts = [f"{clock(view.elapsed_s)}  {len(view.ended)} of {view.plan.trials} trials ended"]
    if view.running:
        shown = [f"{row.label} ({row.step / view.plan.budget:.0%})" for row in view.running[:SHOWN]]
        more = len(view.running) - len(shown)
        parts.append("running " + ", ".join(shown) + (f" and {more} more" if more else ""))
    if view.best is not None:
        parts.append(f"best {view.best.value:.4g} (trial {view.best.label})")
    parts.append(left(view))
    return "  |  ".join(parts)


def left(view: View) -> str:
    """The time left."""
    if len(view.ended) == view.plan.trials:
        return "all trials have ended"
    left_s = view.pace.left_s
    return "time left not known yet" if left_s is None else f"about {clock(left_s)} left"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds; without the hours where there are none."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def not_known(why: str) -> str:
    """What is said where the trials cannot be asked for now."""
    return f"  progress is not known now: {why}"


LINE_EVERY_S = 15.0
# Even if nothing has changed, so that it is not taken to hang.
AT_LEAST_EVERY_S = 300.0


class Throttle:
    """Every 15 s if something has changed, and every five minutes if not."""

    def __init__(self) -> None:
        self._told_s = -math.inf
        self._told: object = ()

    def is_due(self, view: View | None) -> bool:
        """Whether to tell now; if so, the next time counts from here. None: there is no view."""
        now_s, stands = time.monotonic(), _stands(view)
        since_s = now_s - self._told_s
        if since_s < LINE_EVERY_S or (since_s < AT_LEAST_EVERY_S and stands == self._told):
            return False
        self._told_s, self._told = now_s, stands
        return True


def _stands(view: View | None) -> object:
    return None if view is None else [(row.number, row.state, row.step, row.session) for row in view.rows]
