"""Progress: what runs, how far, the best so far and the time left, in one line."""

from __future__ import annotations

import io
import math
import sys
import threading
from collections.abc import Callable

import pytest

from sweeps.engine import progress as module
from sweeps.engine.plan import Plan
from sweeps.engine.progress import Progress
from sweeps.engine.study import Row
from tests.sweeps.processes import wait_for


def row(number: int, state: str, step: int, value: float = math.nan) -> Row:
    return Row(number, str(number), state, {}, value, step, step, 0.0, "")


def test_before_the_first_trial(make_plan: Callable[..., Plan]) -> None:
    assert Progress(make_plan(), list).line([], 0.0) == "0:00  0 of 12 trials ended  |  time left not known yet"


def test_in_the_middle(make_plan: Callable[..., Plan]) -> None:
    """Each running trial with how far it is, and the best of all that have a value."""
    progress = Progress(make_plan(), list)
    progress.line([row(0, "RUNNING", 0)], 0.0)
    rows = [
        row(0, "COMPLETE", 90, 2.0),
        row(1, "PRUNED", 10, 5.0),
        row(2, "FAIL", 10),
        row(3, "RUNNING", 45, 1.5),
        row(4, "RUNNING", 0),
    ]
    line = progress.line(rows, 3725.0)
    for part in ("1:02:05", "3 of 12 trials ended", "running 3 (50%), 4 (0%)", "best 1.5 (trial 3)", "left"):
        assert part in line
    assert "\n" not in line


def test_the_time_left_follows_from_the_pace(make_plan: Callable[..., Plan]) -> None:
    """With everything at the same pace, about as long as the open updates take; none once all have ended."""
    progress = Progress(make_plan(trials=4), list)
    progress.line([], 0.0)
    rows = [row(0, "COMPLETE", 90, 1.0), row(1, "COMPLETE", 90, 1.0)]
    slow = progress.line(rows, 180.0)  # an update a second: two whole trials are 180 s at most
    minutes, seconds = slow.rpartition("about ")[2].removesuffix(" left").split(":")
    assert 60 <= 60 * int(minutes) + int(seconds) <= 180
    done = [row(number, "PRUNED", 10, 1.0) for number in range(4)]
    assert progress.line(done, 200.0).endswith("all trials have ended")


def test_what_was_done_before_does_not_count_as_pace(make_plan: Callable[..., Plan]) -> None:
    """A sweep that is continued has updates from before; they took no time now."""
    progress = Progress(make_plan(), list)
    before = [row(0, "COMPLETE", 90, 1.0), row(1, "RUNNING", 0)]
    assert "not known yet" in progress.line(before, 0.0)
    assert "not known yet" in progress.line(before, 60.0)
    assert "about " in progress.line([*before[:1], row(1, "RUNNING", 45, 1.0)], 60.0)


def test_lines_come_by_themselves_and_the_last_at_the_end(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the sweep runs, though nobody asks; and nothing is left running after it."""
    monkeypatch.setattr(module, "REFRESH_S", 0.01)
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    asked = []

    def rows() -> list[Row]:
        asked.append(0)
        return [row(0, "RUNNING", len(asked) % 90, 1.0)]

    with Progress(make_plan(), rows):
        wait_for(lambda: len(asked) >= 3, "three lines", 30)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(asked)
    assert all("0 of 12 trials ended" in line for line in lines)
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_on_a_terminal_one_line_is_overwritten(make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(module, "REFRESH_S", 0.01)
    with Progress(make_plan(), list):
        wait_for(lambda: terminal.getvalue().count("\r") >= 3, "three lines", 30)
    text = terminal.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")


def test_rows_that_cannot_be_had_do_not_end_the_sweep(
    make_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    def rows() -> list[Row]:
        raise ConnectionError("the actor is being restarted")

    with Progress(make_plan(), rows):
        pass
    assert "progress is not known now: ConnectionError" in capsys.readouterr().out
