"""The leaderboard: best first, every column, and trials that have no score yet."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import MNIST, WGAN_GP
from sweeps.engine.results.leaderboard import checkpoint_of, leaderboard
from sweeps.engine.study.rows import Row, best_row, sort_rows
from wgan_core.data.folder import Folder

PARAMS = dict(WGAN_GP.presets[0])


def row(number: int, value: float, state: str = "COMPLETE", reason: str = "", step: int = 90) -> Row:
    return Row(number, str(number), state, PARAMS, value, 50, step, 1.0, reason)


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_best_first_and_without_a_score_last(make_plan: Callable[..., Plan]) -> None:
    rows = [row(0, 3.0), row(1, math.nan, "RUNNING", step=0), row(2, 1.0, "PRUNED"), row(3, 1.0)]
    header, rule, *lines = leaderboard(make_plan(), rows).splitlines()
    assert set(rule) == {"-"}
    assert [int(cells(line)[0]) for line in lines] == [2, 3, 0, 1]
    titles = ["trial", "λ", "lr", "n_critic", "β1", "β2", "score", "floor", "x floor", "state", "updates"]
    assert cells(header) == titles
    assert [each.number for each in sort_rows(rows)] == [2, 3, 0, 1]


def test_every_column(make_plan: Callable[..., Plan]) -> None:
    """The score stands beside its floor and as a multiple of it."""
    header, _, line = leaderboard(make_plan(), [row(7, 1.25)]).splitlines()
    assert dict(zip(cells(header), cells(line), strict=True)) == {
        "trial": "7",
        "λ": "10",
        "lr": "1.00e-04",
        "n_critic": "5",
        "β1": "0.000",
        "β2": "0.9000",
        "score": "1.25",
        "floor": "0.5",
        "x floor": "2.5",
        "state": "COMPLETE",
        "updates": "90",
    }


def test_the_columns_are_of_what_the_space_names(make_plan: Callable[..., Plan]) -> None:
    """Two rates stand in one column."""
    space = MNIST["wgan-clip"].space
    clipped = Row(0, "0", "COMPLETE", dict(space.presets[0]), 1.0, 50, 90, 1.0, "")
    header, _, line = leaderboard(make_plan(space=space), [clipped]).splitlines()
    assert cells(header)[1:6] == ["lr", "n_critic", "β1", "β2", "clip"]
    assert cells(line)[1:6] == ["5.00e-05", "5", "0.000", "0.9900", "0.01"]
    space = MNIST["mlp-blog"].space
    blog = Row(0, "0", "COMPLETE", dict(space.presets[0]), 1.0, 50, 90, 1.0, "")
    assert cells(leaderboard(make_plan(space=space), [blog]).splitlines()[2])[2] == "4.00e-03/1.00e-03"


def test_a_score_that_is_not_there_is_a_dash(make_plan: Callable[..., Plan]) -> None:
    header, _, line = leaderboard(make_plan(), [row(0, math.nan, "RUNNING", step=0)]).splitlines()
    shown = dict(zip(cells(header), cells(line), strict=True))
    assert (shown["score"], shown["x floor"], shown["updates"]) == ("-", "-", "0")


def test_no_multiple_of_a_floor_that_is_not_above_zero(make_plan: Callable[..., Plan]) -> None:
    """KID of real against real may be below zero."""
    header, _, line = leaderboard(make_plan(floors={"eval/a": -0.01}), [row(0, 1.0)]).splitlines()
    assert dict(zip(cells(header), cells(line), strict=True))["x floor"] == "-"


def test_why_trials_failed(make_plan: Callable[..., Plan]) -> None:
    text = leaderboard(make_plan(), [row(0, 1.0), row(1, math.nan, "FAIL", "not finite at critic update 30")])
    assert text.splitlines()[-1] == "trial 1 failed: not finite at critic update 30"


def test_columns_line_up(make_plan: Callable[..., Plan]) -> None:
    lines = leaderboard(make_plan(), [row(0, 123456.0), row(10, 0.001), row(2, 1.0, "PRUNED")]).splitlines()
    ends = [line.index("updates") + len("updates") for line in lines if "updates" in line]
    assert {len(line) for line in (*lines[:1], *lines[2:])} == set(ends)


def test_the_best_row() -> None:
    """Whatever became of its trial; none before the first score."""
    assert best_row([]) is None
    assert best_row([row(0, math.nan)]) is None
    found = best_row([row(0, 3.0), row(1, 1.0, "FAIL"), row(2, math.nan)])
    assert found is not None
    assert found.number == 1
    assert str(checkpoint_of(Folder.at("/sweep"), found)) == "/sweep/trials/1/checkpoints/000000050"
