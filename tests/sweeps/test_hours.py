"""`--hours`: a sweep that ends by itself when its time is up, and continues."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.driver.time_limit import CONFIRM_SHARE, TimeLimit, unfinished_text
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.results import Results
from sweeps.engine.study.reports import Verdict
from sweeps.engine.study.rows import read_rows
from sweeps.engine.study.study import Study
from tests.sweeps.processes import MNIST, Surroundings
from tests.sweeps.stored import Stored
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError


def test_a_confirmation_gets_its_share_of_the_time() -> None:
    before = time.monotonic()
    limit = TimeLimit.of(2, confirms=True)
    assert limit.whole - before == pytest.approx(7200, abs=60)
    assert limit.whole - limit.search == pytest.approx(7200 * CONFIRM_SHARE)
    alone = TimeLimit.of(2, confirms=False)
    assert alone.search == alone.whole
    assert TimeLimit.of(None, confirms=True) == TimeLimit(math.inf, math.inf)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e400"])
def test_hours_that_are_none(hours: str) -> None:
    with pytest.raises(UserError, match="--hours must be a finite number > 0"):
        parse("mnist", "", 12, 900, ["--hours", hours])


def test_once_the_time_is_up_no_trial_begins_and_reports_pause(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, url = make_plan(trials=3, pruning=False), f"sqlite:///{tmp_path}/study.db"
    until = time.monotonic() + 3600
    study = Study(plan, url, "s", until)
    first, second = study.claim("a", 2)
    assert study.report("a", {0: (10, 1.0)}, {0: 1.0}) == {0: Verdict.GO_ON}
    study._until = time.monotonic()
    assert study.claim("b", 1) == []
    assert study.report("a", {0: (20, 1.0), 1: (90, 1.0)}, {0: 1.0, 1: 1.0})[0] is Verdict.PAUSE
    assert study.is_over()
    assert not study.is_done()
    # A cohort that only now begins hands its trials back.
    assert study.began("a", "node") == []
    again = Study(plan, url, "t")
    assert [claim.trial.number for claim in again.claim("c", 3)] == [0, 1, 2]
    assert [claim.step for claim in again.held("c")] == [20, 90, 0]
    assert first.trial.seed == again.held("c")[0].trial.seed
    assert second.params == again.held("c")[1].params


def test_a_trial_that_would_stop_is_not_paused(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(trials=6)
    study = Study(plan, f"sqlite:///{tmp_path}/study.db", "s", time.monotonic() + 3600)
    study.claim("a", 6)
    study.report("a", {number: (10, float(number)) for number in range(5)}, {})
    study._until = time.monotonic()
    assert study.report("a", {5: (10, 9.0)}, {}) == {5: Verdict.STOP}


def test_what_is_left_undone(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, url = make_plan(trials=4, pruning=False), f"sqlite:///{tmp_path}/study.db"
    study = Study(plan, url, "s")
    study.claim("a", 2)
    study.finish("a", 0, "FAIL", "not finite")
    said = unfinished_text(0.5, Results(Folder.at(tmp_path), plan, read_rows(plan, url)))
    assert "1 trials have begun and not ended, 2 trials have not begun" in said


@pytest.mark.slow
def test_a_sweep_ends_by_itself_and_continues(joined: Surroundings, small_data: Path, tmp_path: Path) -> None:
    options = ("--data", small_data, "--name", "timed", "--trials", 400, "--budget", 90, "--hours", 0.004)
    ran = joined.run(MNIST, tmp_path, *options).succeeded()
    assert "the same command again continues" in ran.out
    first = Stored(tmp_path, "timed").search()
    assert len(first) < 400
    assert (tmp_path / "timed" / "report" / "sweep.html").is_file()
    joined.run(MNIST, tmp_path, *options).succeeded()
    second = Stored(tmp_path, "timed").search()
    assert len(second) > len(first)
    assert all(each in second for each in first if each[0] != "RUNNING")
