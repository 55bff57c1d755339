"""Progress: what runs, how far, the best so far, the pace and the time left; and who is told of it when."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal import view as pace
from sweeps.engine.terminal import watch
from sweeps.engine.terminal.reporter import Reporter
from sweeps.engine.terminal.reporters import Plain
from sweeps.engine.terminal.view import Estimate, View, clock, line
from sweeps.engine.terminal.watch import Watch
from tests.sweeps.processes import wait_for

SESSION = "this driver"


def row(number: int, state: str, step: int, value: float = math.nan, session: str = SESSION) -> Row:
    return Row(number, str(number), state, {}, value, step, step, 0.0, "", session)


def view(plan: Plan, rows: Sequence[Row], elapsed_s: float = 0.0, estimate: Estimate | None = None) -> View:
    return View(plan, rows, elapsed_s, (estimate or Estimate(plan)).look(rows, elapsed_s), SESSION)


def test_before_the_first_trial(make_plan: Callable[..., Plan]) -> None:
    assert line(view(make_plan(), [])) == "0:00  0 of 12 trials ended  |  time left not known yet"


def test_in_the_middle(make_plan: Callable[..., Plan]) -> None:
    """Each running trial with how far it is, and the best of all that have a value."""
    plan = make_plan()
    estimate = Estimate(plan)
    estimate.look([row(0, "RUNNING", 0)], 0.0)
    rows = [
        row(0, "COMPLETE", 90, 2.0),
        row(1, "PRUNED", 10, 5.0),
        row(2, "FAIL", 10),
        row(3, "RUNNING", 45, 1.5),
        row(4, "RUNNING", 0),
        row(5, "RUNNING", 30, 3.0, session=""),
        row(6, "RUNNING", 30, 3.0, session="an earlier driver"),
    ]
    said = line(view(plan, rows, 3725.0, estimate))
    for part in ("1:02:05", "3 of 12 trials ended", "running 3 (50%), 4 (0%)  ", "best 1.5 (trial 3)", "left"):
        assert part in said
    assert "\n" not in said
    assert view(plan, rows).waiting == 12 - 3 - 2


def test_a_line_names_eight_running_trials_at_most(make_plan: Callable[..., Plan]) -> None:
    rows = [row(number, "RUNNING", 9) for number in range(64)]
    assert "6 (10%), 7 (10%) and 56 more  |" in line(view(make_plan(trials=64), rows))


def test_the_time_left_follows_from_the_pace(make_plan: Callable[..., Plan]) -> None:
    """With everything at the same pace, about as long as the open updates take; none once all have ended."""
    plan = make_plan(trials=4)
    estimate = Estimate(plan)
    estimate.look([], 0.0)
    rows = [row(0, "COMPLETE", 90, 1.0), row(1, "COMPLETE", 90, 1.0)]
    left_s = estimate.look(rows, 180.0).left_s  # an update a second: two whole trials are 180 s at most
    assert left_s is not None
    assert 60 <= left_s <= 180
    assert f"about {clock(left_s)} left" in line(view(plan, rows, 180.0, estimate))
    done = [row(number, "PRUNED", 10, 1.0) for number in range(4)]
    assert estimate.look(done, 200.0).left_s == 0
    assert line(view(plan, done, 200.0, estimate)).endswith("all trials have ended")


def test_what_was_done_before_does_not_count_as_pace(make_plan: Callable[..., Plan]) -> None:
    """A sweep that is continued has updates from before; they took no time now."""
    estimate = Estimate(make_plan())
    before = [row(0, "COMPLETE", 90, 1.0), row(1, "RUNNING", 0)]
    for elapsed_s in (0.0, 60.0):
        found = estimate.look(before, elapsed_s)
        assert (found.left_s, found.updates_per_s) == (None, None)
    found = estimate.look([*before[:1], row(1, "RUNNING", 45, 1.0)], 60.0)
    assert found.left_s is not None
    assert found.updates_per_s == 45 / 60


def test_throughput_is_that_of_the_last_minute(make_plan: Callable[..., Plan]) -> None:
    """A hundred updates a second at first, then ten, reported every ten seconds."""
    estimate = Estimate(make_plan(budget=100_000))
    done, rate = 0, None
    for second in range(0, 301, 10):
        done += 0 if second == 0 else 1000 if second <= 200 else 100
        rate = estimate.look([row(0, "RUNNING", done)], float(second)).updates_per_s
        if second == 200:
            assert rate == 100
    assert rate == 10


def test_throughput_where_reports_are_rare(make_plan: Callable[..., Plan]) -> None:
    """A report every five minutes: the pace holds in between, and falls once the next one is overdue."""
    estimate = Estimate(make_plan(budget=100_000))
    for second in (0, 300, 600):
        estimate.look([row(0, "RUNNING", 10 * second)], float(second))
    found = [estimate.look([row(0, "RUNNING", 6000)], second).updates_per_s for second in (700.0, 900.0, 1200.0)]
    assert found[0] == found[1] == 10
    assert found[2] == 5


class Heard(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.views: list[View] = []

    def began(self, plan: Plan) -> None:
        self.told.append("began")

    def shows(self, view: View) -> None:
        self.views.append(view)

    def not_known(self, why: str) -> None:
        self.told.append(why)

    def trial_ended(self, row: Row) -> None:
        self.told.append(f"{row.state} {row.number}")

    def ended(self, view: View | None) -> None:
        self.told.append("ended" if view else "ended, how is not known")


def test_a_stage_is_watched_while_it_lasts(make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at though nobody asks; each end is told once, and none from before; nothing is left running."""
    monkeypatch.setattr(watch, "REFRESH_S", 0.01)
    heard, asked = Heard(), threading.Event()

    def rows() -> list[Row]:
        ended = [row(0, "COMPLETE", 90, 1.0)]
        if len(heard.views) >= 3:
            ended.append(row(1, "FAIL", 10))
        return [*ended, row(2, "PRUNED" if asked.is_set() else "RUNNING", 10, 3.0)]

    with Watch(heard, make_plan(), rows, SESSION):
        wait_for(lambda: len(heard.views) >= 6, "six views", 30)
        asked.set()
    assert heard.told == ["began", "FAIL 1", "PRUNED 2", "ended"]
    assert heard.views[0].running == [row(2, "RUNNING", 10, 3.0)]
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_rows_that_cannot_be_had_do_not_end_the_sweep(make_plan: Callable[..., Plan]) -> None:
    def rows() -> list[Row]:
        raise ConnectionError("the actor is being restarted")

    heard = Heard()
    with Watch(heard, make_plan(), rows):
        pass
    why = "ConnectionError: the actor is being restarted"
    assert heard.told == ["began", why, why, "ended, how is not known"]


def test_an_interrupt_amid_the_last_look_still_ends_the_stage(make_plan: Callable[..., Plan]) -> None:
    """Else a terminal would stay as the view has set it."""
    heard = Heard()

    def rows() -> list[Row]:
        if heard.views:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt), Watch(heard, make_plan(), rows):
        pass
    assert heard.told == ["began", "ended, how is not known"]


def test_plain_lines_come_when_something_changed(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every 15 s at the most, every five minutes at the least, and at the end; the clock is made to leap."""
    now_s = 1000.0
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now_s))
    plan, plain = make_plan(), Plain()

    def told(after_s: float, step: int) -> list[str]:
        nonlocal now_s
        now_s += after_s
        plain.shows(view(plan, [row(3, "RUNNING", step)]))
        return capsys.readouterr().out.splitlines()

    assert len(told(0, 0)) == 1
    assert told(14, 10) == []
    (said,) = told(2, 10)
    assert "running 3 (11%)" in said
    assert told(200, 10) == []
    assert len(told(110, 10)) == 1
    plain.not_known("TimeoutError: the search waits")
    assert capsys.readouterr().out == ""
    now_s += 15
    plain.not_known("TimeoutError: the search waits")
    plain.trial_ended(row(3, "PRUNED", 10, 1.0))
    plain.trial_ended(row(4, "FAIL", 10))
    plain.ended(view(plan, [row(3, "PRUNED", 10, 1.0)]))
    unknown, failed, last = capsys.readouterr().out.splitlines()
    assert unknown == "  progress is not known now: TimeoutError: the search waits"
    assert failed.startswith("trial 4 failed: ")
    assert "1 of 12 trials ended" in last
