"""`--dry-run`: the arithmetic of its forecast against a schedule by hand, and that it starts nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.driver.dry_run import BETWEEN_S, START_S, Cost, expected, span_text
from sweeps.engine.plan.space import Space
from tests.sweeps.made import made_plan
from tests.sweeps.processes import MNIST, Surroundings

COST = Cost(2.0, 0.01, 0.02, 0.5, 1000, 10)
# Four trials of 900 critic updates with an n_critic of 2 take 9 s for critics, 9 s for generators, 9 reports of .5 s.
FIXED = Space({}, {"lambda_gp": 10, "lr": 1e-4, "n_critic": 2, "beta1": 0, "beta2": 0.9})
TRIAL_S = 9 + 9 + 4.5 + BETWEEN_S
PLAN = made_plan("dry", 4, space=FIXED, pruning=False)


def test_trials_that_all_train_to_the_end() -> None:
    one, three = (expected(PLAN, COST, 0, count, (1, 0.0)) for count in (1, 3))
    assert one.most_s == one.least_s == pytest.approx(START_S + 2 + 4 * TRIAL_S)
    assert three.most_s == pytest.approx(START_S + 2 + 2 * TRIAL_S)  # the fourth waits for the first
    assert one.size == 4 * (4 * 1000 + 2 * 9 * 10)
    assert one.gpu_s == 0


def test_confirmations_come_after_the_search() -> None:
    found = expected(PLAN, COST, 2, 2, (1, 1.0))
    assert found.most_s == pytest.approx(START_S + 2 + 3 * TRIAL_S)
    assert found.gpu_s == pytest.approx(6 * TRIAL_S)


def test_lanes_share_a_process_and_wait_for_each_others_reports() -> None:
    found = expected(PLAN, COST, 0, 4, (4, 0.5))
    assert found.most_s == pytest.approx(START_S + 2 + TRIAL_S + 3 * 4.5)
    assert found.gpu_s == pytest.approx((TRIAL_S + 3 * 4.5) * 4 / 4 * 0.5)


def test_early_stopping_saves_at_most_two_thirds_at_each_rung() -> None:
    """Rungs at 1/9 and 1/3 of the budget: 1/9 + 2/9 / 3 + 2/3 / 9 of the updates remain."""
    found = expected(replace(PLAN, pruning=True), COST, 0, 1, (1, 0.0))
    updates = round(900 * (1 / 9 + 2 / 27 + 2 / 27))
    assert found.least_s == pytest.approx(START_S + 2 + 4 * (updates * 0.02 + 3 * 0.5 + BETWEEN_S))
    assert found.most_s == pytest.approx(START_S + 2 + 4 * TRIAL_S)


@pytest.mark.parametrize(
    ("seconds", "text"), [(40.4, "40 s"), (170, "3 min"), (3_599, "1 h 0 min"), (19_200, "5 h 20 min")]
)
def test_times_as_a_person_says_them(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


@pytest.mark.slow
def test_nothing_is_started(surroundings: Surroundings, small_data: Path, tmp_path: Path) -> None:
    options = ("--data", small_data, "--budget", 90, "--no-pruning", "--max-concurrent", 1, "--dry-run")
    ran = surroundings.run(MNIST, tmp_path, *options).succeeded()
    assert "a critic update takes" in ran.out
    assert "time: " in ran.out
    assert [each.name for each in tmp_path.iterdir()] == ["mlflow.db"]  # `surroundings` makes this file
