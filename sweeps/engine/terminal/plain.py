"""A sweep told in plain lines: to a log, or a terminal that can do no more."""

from __future__ import annotations

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal.lines import line, not_known
from sweeps.engine.terminal.outlet import put
from sweeps.engine.terminal.pace import Seldom
from sweeps.engine.terminal.view import View
from sweeps.engine.terminal.voice import Ending, Voice


class Plain(Voice):
    """One line now and then, and the leaderboard at the end."""

    def __init__(self) -> None:
        self._seldom = Seldom()

    def say(self, text: str) -> None:
        put(text)

    def began(self, plan: Plan) -> None:
        self._seldom = Seldom()

    def shows(self, view: View) -> None:
        if self._seldom.is_due(view):
            self.say(line(view))

    def not_known(self, why: str) -> None:
        if self._seldom.is_due(None):
            self.say(not_known(why))

    def trial_ended(self, row: Row) -> None:
        if row.state == "FAIL":
            self.say(f"trial {row.label} failed: {row.reason}")

    def ended(self, view: View | None) -> None:
        if view is not None:
            self.say(line(view))

    def finished(self, ending: Ending) -> None:
        self.say(ending.text())
