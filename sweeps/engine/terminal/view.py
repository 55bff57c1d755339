"""How a sweep stands at one moment, as all the ways of telling it have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.leaderboard import best_row
from sweeps.engine.study.rows import ENDED, Row
from sweeps.engine.terminal.estimate import Pace


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
