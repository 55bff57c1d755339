"""The interface of all reporters, and the final results that they report."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.leaderboard import checkpoint_of, standings
from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import Row, score_text
from sweeps.engine.terminal.view import View


@dataclass(frozen=True)
class Ending:
    """The end of a sweep.

    Attributes:
        results: The sweep's results.
        seconds: Duration in seconds.
        done: Whether all trials have ended; otherwise the sweep was interrupted, or `--hours` are over.
        ui_command: The command that shows the sweep's runs, or the URL of the MLflow server; empty if the sweep is not
            recorded.
        link: URL of the trials on that server; empty if `ui_command` is no URL.
        unfinished: What is left undone because `--hours` are over; empty otherwise.
    """

    results: Results
    seconds: float
    done: bool
    ui_command: str
    link: str
    unfinished: str = ""

    def text(self) -> str:
        """Format the leaderboard, the best checkpoint, and where to see the runs."""
        plan, rows = self.results.plan, self.results.rows
        floor = f"real against real {score_text(plan.floor, plan.floor_error)}"
        lines = [f"\n{plan.name}: {plan.objective} on held-out data, {floor}; {self.seconds:.0f} s\n"]
        lines.append(standings(plan, rows, self.results.confirmation))
        best = self.results.best_so_far
        if best is not None:
            lines.append(f"\nbest checkpoint   {checkpoint_of(self.results.folder, best)}")
        if self.ui_command:
            lines.append(f"look at the runs  {self.ui_command}")
        if self.link:
            lines.append(f"then open         {self.link}")
        if self.unfinished:
            lines.append(self.unfinished)
        return "\n".join(lines)


class Reporter:
    """A listener to a sweep's progress. This base class ignores all events.

    A sweep has one or more stages, each from `began` to `ended`, and one end: `finished` or `failed`. Any thread may
    call `say` at any time. The other methods are called by one thread at a time.
    """

    def say(self, text: str) -> None:
        """Report a message for a person."""

    def began(self, plan: Plan) -> None:
        """Report that the stage with this plan begins."""

    def shows(self, view: View) -> None:
        """Report the state of the stage; called every few seconds."""

    def not_known(self, why: str) -> None:
        """Report that the state of the stage cannot be read now, and why."""

    def trial_ended(self, row: Row) -> None:
        """Report that a trial has ended since the last view."""

    def ended(self, view: View | None) -> None:
        """Report that the stage is over, with its final state, or None if that is unknown."""

    def finished(self, ending: Ending) -> None:
        """Report that the sweep is over."""

    def failed(self, message: str) -> None:
        """Report that the sweep ends with an error. The error also goes to stderr, for a person."""
