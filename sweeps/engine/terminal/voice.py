"""What a sweep tells, whoever listens."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.leaderboard import checkpoint_of, standings
from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal.view import View


@dataclass(frozen=True)
class Ending:
    """What a sweep came to.

    Attributes:
        results: how it stands.
        seconds: how long it took.
        done: whether all trials have ended; else it was interrupted.
        ui_command: the command that shows its runs, or the address of the server that does.
        link: the page of its trials on that server; empty where a command shows them.
    """

    results: Results
    seconds: float
    done: bool
    ui_command: str
    link: str

    def text(self) -> str:
        """The leaderboard, and where to look further."""
        plan, rows = self.results.plan, self.results.rows
        floor = f"real against real {plan.floor:.4g}"
        lines = [f"\n{plan.name}: {plan.objective} on held-out data, {floor}; {self.seconds:.0f} s\n"]
        lines.append(standings(plan, rows, self.results.confirmation))
        best = self.results.best_so_far
        if best is not None:
            lines.append(f"\nbest checkpoint   {checkpoint_of(self.results.folder, best)}")
        lines.append(f"look at the runs  {self.ui_command}")
        if self.link:
            lines.append(f"then open         {self.link}")
        return "\n".join(lines)


class Reporter:
    """Tells a sweep to nobody. A sweep has one stage or several, each from `began` to `ended`, and one end.

    `say` may be called by any thread at any time, the other methods by one at a time.
    """

    def say(self, text: str) -> None:
        """A message for a person."""

    def began(self, plan: Plan) -> None:
        """A stage begins, whose trials this plan names."""

    def shows(self, view: View) -> None:
        """How the stage stands, every few seconds."""

    def not_known(self, why: str) -> None:
        """How it stands cannot be found out now."""

    def trial_ended(self, row: Row) -> None:
        """A trial has ended since the last view."""

    def ended(self, view: View | None) -> None:
        """The stage is over, and stands so; None if that is not known."""

    def finished(self, ending: Ending) -> None:
        """The sweep is over."""

    def failed(self, message: str) -> None:
        """It ends with an error, which a person reads on stderr."""
