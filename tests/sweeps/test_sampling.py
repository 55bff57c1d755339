"""The samplers by name: seeds, restarts, spaces that each takes, and what a failed trial teaches."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.samplers import SAMPLERS, check_sampler, grid_notice
from sweeps.engine.plan.space import Range, Space
from sweeps.engine.study import sampling
from sweeps.engine.study.attributes import DEATH, NO_MEMORY, REASON
from sweeps.engine.study.deaths import MAX_LOSSES, Death
from sweeps.engine.study.sampling import Sampling, evidence, failed_by_itself
from sweeps.engine.study.study import Study
from tests.sweeps.made import made_plan
from wgan_core.errors import UserError

REST = {"lambda_gp": 1.0, "n_critic": 1, "beta2": 0.9}
PLANE = Space({"lr": Range(1e-4, 1.0, log=True), "beta1": Range(0.0, 0.8)}, REST, ({"lr": 1e-4, "beta1": 0.1},))
LISTS = Space(
    {"n_critic": Range.of([1, 2, 5], whole=True), "beta1": Range.of([0.0, 0.5])},
    {"lambda_gp": 1.0, "lr": 1e-3, "beta2": 0.9},
    ({"n_critic": 5, "beta1": 0.0},),
)
Score = Callable[[dict[str, Any]], float | None]
RANGES = [name for name in SAMPLERS if name != "grid"]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(plan: Plan, score: Score, count: int, study: optuna.Study, restarts: bool = False) -> list[dict[str, Any]]:
    """The points of so many further trials, each scored before the next is drawn. A score of None is a failure."""
    points, drawn = [], Sampling(plan)
    for _ in range(count):
        drawn = Sampling(plan) if restarts else drawn
        trial = study.ask()
        frozen = study.get_trials(deepcopy=False)[trial.number]
        starts = plan.space.presets
        point = dict(starts[trial.number]) if trial.number < len(starts) else drawn.point(study, frozen)
        for name, distribution in drawn.distributions.items():
            study._storage.set_trial_param(
                trial._trial_id, name, distribution.to_internal_repr(point[name]), distribution
            )
        value = score(point)
        trial.report(math.nan if value is None else value, 1)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.tell(trial, value, state)
        points.append(point)
    return points


def plan_of(sampler: str, space: Space = PLANE, trials: int = 40, seed: int = 0) -> Plan:
    return made_plan("sampled", trials, space=space, sampler=sampler, seed=seed)


def bowl(point: dict[str, Any]) -> float:
    return abs(math.log10(point["lr"]) + 2) + point["beta1"]


@pytest.mark.parametrize("sampler", RANGES)
def test_a_restart_repeats_no_draws_and_changes_none(sampler: str) -> None:
    """A sampler that is made anew for each trial draws what one that lives draws; another seed draws another point."""
    plan = plan_of(sampler)
    unbroken = search(plan, bowl, 20, optuna.create_study())
    assert search(plan, bowl, 20, optuna.create_study(), restarts=True) == unbroken
    assert len({tuple(point.values()) for point in unbroken}) == 20
    assert all(bounds.holds(point[name]) for point in unbroken for name, bounds in PLANE.ranges.items())
    assert unbroken[0] == dict(PLANE.presets[0])
    assert search(plan_of(sampler, seed=1), bowl, 3, optuna.create_study())[1:] != unbroken[1:3]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_samplers_that_learn_beat_chance(sampler: str) -> None:
    def late(name: str) -> float:
        scores = [bowl(point) for point in search(plan_of(name), bowl, 36, optuna.create_study())]
        return sum(scores[24:]) / 12

    assert late(sampler) < 0.75 * late("random")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_failed_trial_moves_the_sampler_away(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The score is best beside a cliff. Fewer points fall off if the failures are seen."""

    def cliff(point: dict[str, Any]) -> float | None:
        return None if math.log10(point["lr"]) > -1 else -math.log10(point["lr"]) + point["beta1"]

    def falls() -> int:
        points = search(plan_of(sampler), cliff, 36, optuna.create_study())
        return sum(cliff(point) is None for point in points[12:])

    taught = falls()
    monkeypatch.setattr(sampling, "failed_by_itself", lambda trial: False)
    blind = falls()
    assert taught < blind


def ended(
    number: int, state: TrialState, value: float | None = None, pickled: str | None = None, **attributes: Any
) -> FrozenTrial:
    distributions = Sampling(plan_of("tpe")).distributions
    reports = {} if value is None else {1: value}
    found = create_trial(
        state=state,
        value=value if state is TrialState.COMPLETE else None,
        params={"lr": 1e-3, "beta1": 0.5},
        distributions=distributions,
        intermediate_values=reports,
        user_attrs=attributes,
        system_attrs={} if pickled is None else {"cma:optimizer:0": pickled},
    )
    found.number = number
    return found


FINISHED = [ended(0, TrialState.COMPLETE, 3.0), ended(1, TrialState.PRUNED, 9.0)]
NOT_FINITE = ended(2, TrialState.FAIL, 1.0, **{REASON: "its score is nan"})


def test_a_failure_is_worse_than_any_finished_trial() -> None:
    """Whatever it reported before. The trial itself stays FAIL."""
    seen = evidence([*FINISHED, NOT_FINITE], PLANE.ranges, by_value=True)
    assert [trial.value for trial in seen] == [3.0, 9.0, 15.0]
    assert {trial.state for trial in seen} == {TrialState.COMPLETE}
    ranked = evidence([*FINISHED, NOT_FINITE], PLANE.ranges, by_value=False)
    assert [(trial.state.name, trial.intermediate_values) for trial in ranked] == [
        ("COMPLETE", {1: 3.0}),
        ("PRUNED", {1: 9.0}),
        ("PRUNED", {}),
    ]
    assert (NOT_FINITE.state, NOT_FINITE.intermediate_values) == (TrialState.FAIL, {1: 1.0})


@pytest.mark.parametrize(
    "attributes",
    [
        {DEATH: replace(Death(), losses=MAX_LOSSES).as_json(), REASON: "its node was lost (10 so far)"},
        {REASON: f"{NO_MEMORY} (8 GiB): give a smaller batch_size"},
    ],
)
def test_a_lost_node_and_a_lack_of_memory_teach_nothing(attributes: dict[str, Any]) -> None:
    lost = ended(2, TrialState.FAIL, **attributes)
    assert not failed_by_itself(lost)
    assert failed_by_itself(NOT_FINITE)
    for by_value in (True, False):
        assert evidence([*FINISHED, lost], PLANE.ranges, by_value) == evidence(FINISHED, PLANE.ranges, by_value)


def test_failures_are_never_among_the_good_trials_of_tpe() -> None:
    """TPE takes the best tenth for good. So it sees at most nine failures for each finished trial, and none alone."""
    failures = [ended(number, TrialState.FAIL) for number in range(2, 42)]
    assert len(evidence([*FINISHED, *failures], PLANE.ranges, by_value=False)) == 2 + 18
    assert evidence(failures, PLANE.ranges, by_value=False) == []


def test_running_trials_and_incomplete_ones() -> None:
    """The Gaussian process sees what runs. A trial without all its parameters teaches nothing."""
    running, incomplete = ended(2, TrialState.RUNNING), ended(3, TrialState.FAIL)
    incomplete.params = {"lr": 1e-3}
    assert [trial.number for trial in evidence([*FINISHED, running, incomplete], PLANE.ranges, by_value=True)] == [
        0,
        1,
        2,
    ]


class Opened:
    """An object whose unpickling shows."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("a pickle of the study was opened",)


def test_the_pickle_that_optuna_keeps_of_cmaes_is_never_opened() -> None:
    """Somebody else may have written the study."""
    study, plan = optuna.create_study(), plan_of("cmaes")
    search(plan, bowl, 20, study)
    assert not [key for trial in study.get_trials() for key in trial.system_attrs if "optimizer" in key]
    generations = {trial.system_attrs.get("cma:generation") for trial in study.get_trials()}
    assert {0, 1, 2} <= generations
    study.add_trial(ended(20, TrialState.COMPLETE, 1.0, pickled=pickle.dumps(Opened()).hex()))
    with pytest.raises(pytest.fail.Exception):
        optuna.samplers.CmaEsSampler()._restore_optimizer(study.get_trials())
    assert len(search(plan, bowl, 2, study)) == 2


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc", "random"])
def test_lists_are_drawn_by_all_but_cmaes(sampler: str) -> None:
    mixed = Space({**LISTS.ranges, "lr": Range(1e-4, 1e-2, log=True)}, {"lambda_gp": 1.0, "beta2": 0.9})
    points = search(plan_of(sampler, mixed), lambda point: point["lr"] * point["n_critic"], 12, optuna.create_study())
    assert all(bounds.holds(point[name]) for point in points for name, bounds in mixed.ranges.items())
    assert {point["n_critic"] for point in points} == {1, 2, 5}


def test_a_draw_of_qmc_that_is_repeated_after_a_crash_is_the_same() -> None:
    study, plan = optuna.create_study(), plan_of("qmc")
    points = search(plan, bowl, 12, study)
    *_, last = study.get_trials()
    assert Sampling(plan).point(study, last) == points[-1]
    assert len({tuple(point.values()) for point in points[len(plan.space.presets) :]}) == 12 - len(plan.space.presets)


def test_a_grid_visits_every_point_once_across_a_restart(tmp_path: Path) -> None:
    """On a real study, with a new session for each trial, after the presets, which are points of the grid."""
    plan, url, found = plan_of("grid", LISTS, trials=6), f"sqlite:///{tmp_path}/study.db", []
    for number in range(6):
        study = Study(plan, url, f"session {number}")
        (claim,) = study.claim("a", 1)
        found.append((claim.params["n_critic"], claim.params["beta1"]))
        study.finish("a", number, "FAIL", "its score is nan")
    assert found[0] == (5, 0.0)
    assert sorted(found) == [(n, beta) for n in (1, 2, 5) for beta in (0.0, 0.5)]
    assert Study(plan, url, "last").is_done()


def test_nothing_to_search() -> None:
    """All is fixed, or each range has one value: the trials differ in their seeds alone."""
    for sampler in ("tpe", "gp", "qmc", "random"):
        space = Space({"beta1": Range(0.5, 0.5)}, {**REST, "lr": 1e-3})
        assert search(plan_of(sampler, space), lambda point: 1.0, 3, optuna.create_study()) == [{"beta1": 0.5}] * 3


@pytest.mark.parametrize(
    ("sampler", "ranges", "trials", "said"),
    [
        (
            "cmaes",
            LISTS.ranges,
            12,
            "--sampler cmaes takes two or more ranges, and no lists; given the lists n_critic, ",
        ),
        ("cmaes", {"lr": Range(1.0, 2.0)}, 12, "given the lists none and the ranges lr"),
        ("grid", PLANE.ranges, 12, "--sampler grid takes lists of values alone; given the ranges lr, beta1: search "),
        ("grid", LISTS.ranges, 7, "--trials must be at most 6, the number of points of the grid; given 7"),
        (
            "grid",
            {name: Range.of([*range(1, 400)]) for name in ("lr", "clip")},
            12,
            "a grid must have at most 100,000 points; it has 159,201: search shorter lists",
        ),
        ("sobol", PLANE.ranges, 12, "--sampler must be one of tpe, gp, cmaes, qmc, random, grid; given 'sobol'"),
    ],
)
def test_spaces_that_a_sampler_cannot_take(sampler: str, ranges: dict[str, Range], trials: int, said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_sampler(sampler, ranges, trials)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_grid_with_more_points_than_trials_is_told() -> None:
    assert (
        grid_notice("grid", LISTS.ranges, 4)
        == "the grid has 6 points, and 4 trials try as many of them: --trials 6 tries all"
    )
    assert grid_notice("grid", LISTS.ranges, 6) == grid_notice("tpe", LISTS.ranges, 4) == ""


def names(options: Sequence[str]) -> tuple[str, str]:
    found = parse("mnist", "", 12, 900, options)
    return found.sampler, found.name


def test_a_sampler_has_a_sweep_of_its_own() -> None:
    assert names([]) == ("tpe", "mnist")
    assert names(["--sampler", "gp"]) == ("gp", "mnist-gp")
    assert Plan.from_json(plan_of("gp", WGAN_GP).as_json()) == plan_of("gp", WGAN_GP)
    earlier = {name: value for name, value in plan_of("tpe", WGAN_GP).as_json().items() if name != "sampler"}
    assert Plan.from_json(earlier) == plan_of("tpe", WGAN_GP)
