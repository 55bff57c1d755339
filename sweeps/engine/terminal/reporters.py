"""The reporters of a sweep: plain lines, quiet, JSON Lines, or a live view."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.finite import finite
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.study.rows import Row, sort_rows
from sweeps.engine.terminal.reporter import Ending, Reporter
from sweeps.engine.terminal.text import put
from sweeps.engine.terminal.view import Throttle, View, line


class Plain(Reporter):
    """A reporter that prints a line now and then, and the leaderboard at the end."""

    def __init__(self) -> None:
        self._throttle = Throttle()

    def say(self, text: str) -> None:
        put(text)

    def began(self, plan: Plan) -> None:
        self._throttle = Throttle()

    def shows(self, view: View) -> None:
        if self._throttle.is_due(view):
            self._progress(view)

    def not_known(self, why: str) -> None:
        if self._throttle.is_due(None):
            self.say(f"  progress is not known now: {why}")

    def trial_ended(self, row: Row) -> None:
        if row.state == "FAIL":
            self.say(f"trial {row.label} failed: {row.reason}")

    def ended(self, view: View | None) -> None:
        if view is not None:
            self._progress(view)

    def finished(self, ending: Ending) -> None:
        self.say(ending.text())

    def _progress(self, view: View) -> None:
        self.say(line(view))


class Quiet(Reporter):
    """A reporter that prints only the best checkpoint's path at the end, for use as `$(...)`.

    It prints nothing if the sweep was interrupted or has no best trial.
    """

    def __init__(self) -> None:
        # Silence the warnings of libraries too, in the whole process.
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")

    def finished(self, ending: Ending) -> None:
        best = ending.results.best_so_far
        if (ending.done or ending.unfinished) and best is not None:
            put(str(checkpoint_of(ending.results.folder, best)))


class JsonLines(Plain):
    """A reporter that prints one JSON object per line.

    The field `event` names the kind of line: started, progress, trial, message, finished or error. Each stage begins
    with `started`. The sweep ends with `finished`. Unknown and non-finite values are null.
    """

    def say(self, text: str) -> None:
        _put("message", text=text.strip())

    def began(self, plan: Plan) -> None:
        super().began(plan)
        _put(
            "started",
            name=plan.name,
            stage=_stage(plan),
            trials=plan.trials,
            budget=plan.budget,
            objective=plan.objective,
            floor=plan.floor,
            floor_error=plan.floor_error,
        )

    def trial_ended(self, row: Row) -> None:
        _put("trial", **_ended(row))

    def finished(self, ending: Ending) -> None:
        results = ending.results
        _put(
            "finished",
            done=ending.done,
            unfinished=ending.unfinished,
            best=None if results.best_so_far is None else results.best_as_json(),
            leaderboard=[{**_ended(row), "params": row.params} for row in sort_rows(results.all_rows)],
            seconds=ending.seconds,
            ui_command=ending.ui_command,
            link=ending.link,
        )

    def failed(self, message: str) -> None:
        _put("error", message=message)

    def _progress(self, view: View) -> None:
        best = view.best
        _put(
            "progress",
            stage=_stage(view.plan),
            elapsed_s=view.elapsed_s,
            left_s=view.pace.left_s,
            updates_per_s=view.pace.updates_per_s,
            ended=len(view.ended),
            trials=view.plan.trials,
            running=[{"trial": row.label, "step": row.step, "score": row.value} for row in view.running],
            best=None if best is None else {"trial": best.label, "score": best.value, "error": best.error},
        )


def _stage(plan: Plan) -> str:
    return "confirmation" if plan.confirms else "search"


def _ended(row: Row) -> dict[str, Any]:
    return {
        "trial": row.label,
        "state": row.state,
        "score": row.value,
        **row.beside,
        "updates": row.step,
        "reason": row.reason,
    }


def _put(event: str, **fields: Any) -> None:
    put(json.dumps({"event": event, **finite(fields)}, allow_nan=False))
