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
from sweeps.engine.study.rows import read_rows
from sweeps.engine.study.study import Study
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


def test_what_is_left_undone(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan, url = make_plan(trials=4, pruning=False), f"sqlite:///{tmp_path}/study.db"
    study = Study(plan, url, "s")
    study.claim("a", 2)
    study.finish("a", 0, "FAIL", "not finite")
    said = unfinished_text(0.5, Results(Folder.at(tmp_path), plan, read_rows(plan, url)))
    assert "trials begun and not ended: 1; trials not begun: 2" in said
