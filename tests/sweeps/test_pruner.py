"""Early stopping: what survives a rung depends on the values there, and on nothing else."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.study.halving import rungs, survives
from sweeps.engine.study.pruner import HalvingPruner
from wgan_core.config import report_grid

GRID = report_grid(90, 9)
ETA = 3
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
scores = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30)


def survivors(values: list[float], eta: int) -> list[float]:
    """The values that survive once all are there."""
    return [value for i, value in enumerate(values) if survives(value, values[:i] + values[i + 1 :], eta)]


def test_rungs_are_a_third_and_a_ninth_of_the_grid() -> None:
    assert rungs(GRID, ETA) == (10, 30)
    assert rungs(range(1, 28), ETA) == (1, 3, 9)
    assert rungs(range(1, 82), ETA) == (1, 3, 9, 27)
    assert rungs(range(1, 10), 2) == (1, 2, 4)


@pytest.mark.parametrize("reports", [1, 2])
def test_a_grid_too_short_to_divide_has_no_rungs(reports: int) -> None:
    assert rungs(range(reports), ETA) == ()


@given(st.integers(1, 100), st.integers(2, 5))
def test_the_last_report_is_no_rung(reports: int, eta: int) -> None:
    """A trial that has come to the end of its budget is not stopped early."""
    grid = tuple(range(10, 10 * reports + 1, 10))
    found = rungs(grid, eta)
    assert set(found) <= set(grid[:-1])
    assert found == tuple(sorted(set(found)))


@given(st.lists(finite, min_size=1, max_size=30), st.integers(2, 5))
def test_the_best_always_survives(values: list[float], eta: int) -> None:
    assert min(values) in survivors(values, eta)


@given(st.lists(finite, min_size=1, max_size=30, unique=True), st.integers(2, 5))
def test_an_eta_th_survives_and_it_is_the_best_one(values: list[float], eta: int) -> None:
    """Of n different values exactly n // eta, or one where that is none, and no better one is left out."""
    places = max(1, len(values) // eta)
    assert sorted(survivors(values, eta)) == sorted(values)[:places]


@given(finite, scores, st.integers(2, 5), st.randoms())
def test_the_order_of_reports_does_not_matter(value: float, others: list[float], eta: int, random: object) -> None:
    shuffled = list(others)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert survives(value, others, eta) == survives(value, shuffled, eta)


@given(finite, finite, scores, st.integers(2, 5))
def test_a_better_value_survives_wherever_a_worse_one_does(a: float, b: float, others: list[float], eta: int) -> None:
    better, worse = sorted((a, b))
    assert survives(better, others, eta) or not survives(worse, others, eta)


@given(scores, st.integers(2, 5))
def test_nan_never_survives(others: list[float], eta: int) -> None:
    assert not survives(math.nan, others, eta)


@given(finite, st.integers(1, 20), st.integers(2, 5))
def test_nan_is_better_than_nothing(value: float, count: int, eta: int) -> None:
    """Trials that have come to nothing push nobody out."""
    assert survives(value, [math.nan] * count, eta)


@given(finite, st.integers(1, 20), st.integers(2, 5))
def test_equal_values_survive_together(value: float, count: int, eta: int) -> None:
    """None of them is better than another, so none is stopped for coming later."""
    assert survivors([value] * count, eta) == [value] * count


def test_alone_a_trial_survives() -> None:
    assert survives(1e9, [], ETA)


def study_of(reports: list[dict[int, float]]) -> optuna.Study:
    """A study whose trials, all running, have these values by step."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=HalvingPruner(GRID, ETA))
    for values in reports:
        trial = study.ask()
        for step, value in values.items():
            trial.report(value, step)
    return study


def verdicts(study: optuna.Study) -> list[bool]:
    return [optuna.Trial(study, trial._trial_id).should_prune() for trial in study.get_trials()]


def test_judged_at_rungs_only() -> None:
    """The worst of many goes on between the rungs, is stopped at them, and is judged by the values of that step."""
    good = {10: 1.0, 20: 1.0, 30: 1.0, 40: 1.0}
    for step, stopped in ((10, True), (20, False), (30, True), (40, False)):
        worst = {each: 9.0 for each in good if each <= step}
        assert verdicts(study_of([good, good, good, worst])) == [False] * 3 + [stopped]


def test_trials_that_are_not_there_yet_do_not_count() -> None:
    assert verdicts(study_of([{10: 5.0, 20: 5.0, 30: 5.0}, {10: 1.0}, {10: 1.0}])) == [False, False, False]
    assert verdicts(study_of([{}, {10: 5.0}])) == [False, False]


@given(st.lists(finite, min_size=1, max_size=9), st.randoms())
def test_asked_again_it_says_the_same(values: list[float], random: object) -> None:
    """The pruner keeps nothing: a second one, that sees the trials in another order, comes to the same verdicts."""
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    study = study_of([{10: value} for value in values])
    first = verdicts(study)
    assert verdicts(study) == first
    shuffled = verdicts(study_of([{10: values[i]} for i in order]))
    assert [shuffled[order.index(i)] for i in range(len(values))] == first


def test_those_that_ended_count_too() -> None:
    """A verdict is by all values ever reported at the step, whatever became of their trials."""
    study = study_of([{10: 1.0}, {10: 2.0}, {10: 3.0}])
    study.tell(0, state=optuna.trial.TrialState.FAIL)
    study.tell(1, state=optuna.trial.TrialState.PRUNED)
    assert verdicts(study)[2]
