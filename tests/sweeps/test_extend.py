"""`sweeps extend`, which trains a trial on, and `--warm-start`, which begins with the best settings of other sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from sweeps.cli import main
from sweeps.engine.plan.options import chosen, parse
from sweeps.engine.plan.plan import Extension, Plan, read_plan, settle, write_plan
from sweeps.engine.plan.presets import MNIST as MNIST_PRESETS
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range, Space
from sweeps.engine.results.extension import Extended, extension_name
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.results.warm_start import warm_started
from sweeps.engine.study.study import Study
from sweeps.engine.worker.held_trials import HeldTrials
from sweeps.engine.worker.holder import Holder
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.scorer import Scorer
from tests.sweeps.made import Made, confirm, finish, finished, made_plan, made_sweep
from tests.sweeps.processes import MNIST, Surroundings
from tests.sweeps.stored import Stored
from wgan_core.config import trial_seed
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made_sweep(tmp_path_factory.mktemp("made"), "first")


def extended(results: Results, label: str) -> Extended:
    return Extended.read(f"{results.plan.name}:{label}", str(Path(results.folder.path).parent), None)


def of_state(results: Results, state: str) -> str:
    return next(row.label for row in results.rows if row.state == state and row.step)


@pytest.mark.slow
def test_an_extension_ends_as_a_trial_that_had_the_larger_budget(
    joined: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    """The same bits and scores, one curve from the first report on, in MLflow too."""
    options = (MNIST, tmp_path, "--data", small_data, "--trials", 1, "--no-pruning")
    joined.run(*options, "--name", "long", "--budget", 27).succeeded()
    joined.run(*options, "--name", "short", "--budget", 9).succeeded()
    more = ("--trials", 1, "--name", "more", "--budget", 27, "--extends", "short:0")
    joined.run(MNIST, tmp_path, "--data", small_data, *more).succeeded()
    folders = [tmp_path / name / "trials" / "0" / "checkpoints" / "000000027" for name in ("long", "more")]
    straight, later = ((folder / "state.safetensors").read_bytes() for folder in folders)
    assert straight == later
    ((_, _, long),) = Stored(tmp_path, "long").search()
    ((_, _, both),) = Stored(tmp_path, "more").search()
    assert list(both) == [*range(1, 10), *range(12, 28, 3)]
    assert {step: both[step] for step in long if step in both} == {step: long[step] for step in long if step in both}
    assert Stored(tmp_path, "more").curves()[0] == pytest.approx(both, rel=1e-12)
    joined.run(MNIST, tmp_path, "--data", small_data, *more).succeeded()  # the same command again changes nothing
    assert Stored(tmp_path, "more").search()[0][2] == both
    told = ("--extends", "short:0", "--budget", 27, "--name", "other", "--set", "batch_size=32")
    joined.run(MNIST, tmp_path, "--data", small_data, *told).refused("an extension must have", "batch_size")


def test_the_plan_of_an_extension(made: Results) -> None:
    label = of_state(made, "PRUNED")
    row = made.row(label)
    source = extended(made, label)
    plan = source.plan(replace(made.plan, id="new", name="more", trials=1, budget=10_000, pruning=False))
    assert plan.trial_seed(0) == trial_seed(made.plan.seed, row.number)
    assert plan.space.presets == (row.params,)
    assert plan.extends == Extension("first", label, plan.trial_seed(0), row.step)
    assert plan.grid[0] == row.step
    assert plan.grid[-1] == 10_000
    assert Plan.from_json(plan.as_json()) == plan
    assert extension_name(plan, "0", 20_000) == f"first-trial{label}-20000"
    with pytest.raises(UserError, match="different from 'first': objective"):
        source.plan(replace(made.plan, objective="eval/sliced_wasserstein", trials=1, budget=10_000))
    with pytest.raises(UserError, match="--budget must be more than"):
        source.plan(replace(made.plan, trials=1, budget=row.step))


def test_trials_that_cannot_be_extended(tmp_path: Path) -> None:
    finish(tmp_path, made_plan("first", 3), trials=(Made({10: 2.0}, "FAIL", "not finite"), *[Made({10: 3.0})] * 2))
    with pytest.raises(UserError, match="trial 0 of 'first' is FAIL"):
        Extended.read("first:0", str(tmp_path), None)
    for bad in ("first", "first:", "first:../0", "first:9", "none:0"):
        with pytest.raises(UserError):
            Extended.read(bad, str(tmp_path), None)


def test_rates_that_have_fallen_to_0_are_not_extended(tmp_path: Path) -> None:
    plan = made_plan("first", 3)
    finish(tmp_path, replace(plan, space=replace(plan.space, fixed={**plan.space.fixed, "decay_updates": 20})))
    with pytest.raises(UserError, match="fall to 0 at critic update 20"):
        Extended.read("first:1", str(tmp_path), None).plan(replace(plan, trials=1, budget=21))


def test_options_that_an_extension_does_not_take() -> None:
    for bad in (["--confirm", "1x2", "--name", "a"], ["--warm-start", "c", "--name", "a"], []):
        with pytest.raises(UserError, match="--extends must come with a --name"):
            parse("mnist", "", 12, 900, ["--extends", "b:0", *bad])
    given = parse("mnist", "", 12, 900, ["--extends", "b:0", "--name", "a", "--smoke", "--budget", "5000"])
    assert (given.trials, given.budget, given.pruning) == (1, 5000, False)


def test_a_published_schedule_can_be_extended() -> None:
    given = parse(
        "mnist", "", 12, 900, ["--full", "--extends", "b:0", "--name", "a", "--budget", "2000000"], MNIST_PRESETS
    )
    assert given.budget == 2_000_000


def test_a_notebook_extends_by_a_method_alone() -> None:
    with pytest.raises(TypeError, match="extends"):
        chosen("a", 12, 900, {"extends": "b:0"})


def test_reports_that_a_kill_kept_from_the_study_are_made_up(tmp_path: Path) -> None:
    """The process was killed after the first of three copied reports had reached the study of the extension."""
    sweep = finish(tmp_path, made_plan("first", 3), trials=(Made({10: 3.0, 20: 1.0, 30: 2.0}), *[Made({10: 4.0})] * 2))
    source = Extended.read("first:0", str(tmp_path), None)
    plan = source.plan(replace(sweep.plan, id="new", name="more", trials=1, budget=900, pruning=False))
    folder = Folder.at(tmp_path / "more")
    write_plan(folder, plan)
    source.copy(folder)
    study = Study(plan, f"sqlite:///{tmp_path}/more/study.db", "s")
    study.claim("a", 1)
    study.report("a", {0: (10, 3.0)}, {})
    (claim,) = study.held("a")
    job = cast("Job", SimpleNamespace(plan=plan, folder=folder, lanes=1))
    told = SimpleNamespace(report=lambda *given: study.report("a", *given), check=lambda numbers: None)
    scorer = SimpleNamespace(beside=lambda scores: {})
    found = HeldTrials(job, cast("Holder", told), cast("Scorer", scorer), "").start(claim)
    assert found is not None
    (row,) = study.rows()
    assert (row.step, row.value, row.best_step) == (30, 1.0, 20)
    assert checkpoint_of(folder, row).exists("manifest.json")


def test_an_extension_is_no_search_to_confirm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    since = Extension("first", "0", 1, 9)
    finish(tmp_path, made_plan("more", 1, extends=since), trials=(Made({20: 1.0}),))
    assert main(["confirm", "more", "--storage", str(tmp_path)]) == 2
    assert "run `sweeps confirm first`" in capsys.readouterr().err


def test_the_best_settings_come_first_and_into_the_ranges(made: Results) -> None:
    ranges = {**WGAN_GP.ranges, "lr": Range(1e-6, 1e-5, log=True)}
    space = Space(ranges, WGAN_GP.fixed, ({**WGAN_GP.presets[0], "lr": 1e-5},))
    found, taken, said = warm_started(space, ["first"], lambda _: made, None)
    best = sorted((row for row in made.rows if row.state != "FAIL"), key=lambda row: row.value)[:3]
    assert set(taken) == {"first"}
    assert set(taken["first"]) <= {row.label for row in best}
    assert found.presets[0] == {**best[0].params, "lr": 1e-5}
    assert space.presets[0] in found.presets
    assert len(found.presets) == len({tuple(point.values()) for point in found.presets})
    assert any("is not in 1e-06..1e-05:log" in line for line in said)
    assert said[-1].startswith("tried first: trials ")


def test_other_ranges_and_losses(tmp_path: Path) -> None:
    """A searched value that is fixed now is dropped; one that the earlier loss does not use comes from the preset."""
    earlier = Space(
        {"lr": Range(1e-4, 1e-2, log=True), "n_critic": Range(1, 5, whole=True)}, {"beta1": 0.5, "beta2": 0.9}
    )
    structure = replace(made_plan("a", 1).structure, loss="wgan-clip")
    plan = made_plan("first", 1, structure, space=replace(earlier, presets=({"lr": 1e-3, "n_critic": 2},)))
    results = finished(Folder.at(tmp_path), plan, (Made({10: 1.0}),))
    now = Space(
        {"lambda_gp": Range(1, 20), "lr_critic": Range(1e-4, 1e-2, log=True)},
        {"lr_generator": 1e-3, "n_critic": 5, "beta1": 0.0, "beta2": 0.9},
        ({"lambda_gp": 10.0, "lr_critic": 2e-3},),
    )
    found, _, _ = warm_started(now, ["first"], lambda _: results, None)
    assert found.presets[0] == {"lambda_gp": 10.0, "lr_critic": 1e-3}


def test_the_confirmed_settings_are_the_best(tmp_path: Path) -> None:
    sweep = finish(tmp_path, made_plan("first", 3))
    confirm(sweep)
    _, taken, _ = warm_started(WGAN_GP, ["first"], lambda _: open_results(str(tmp_path), "first"), None)
    assert taken["first"][0] == "1"


def test_a_continued_sweep_keeps_its_starting_points(made: Results, tmp_path: Path) -> None:
    """The earlier sweep may have better trials by now."""
    space, taken, _ = warm_started(WGAN_GP, ["first"], lambda _: made, None)
    plan = made_plan("second", 12, space=space, warm_start=taken)
    folder = finished(Folder.at(tmp_path), plan, ()).folder
    write_plan(folder, plan)
    fewer = replace(made, rows=[row for row in made.rows if row.label not in taken["first"]])
    again, still, _ = warm_started(WGAN_GP, ["first"], lambda _: fewer, read_plan(folder))
    assert again == space
    assert settle(folder, replace(plan, space=again, warm_start=still)) == plan
    with pytest.raises(UserError, match="warm_start"):
        settle(folder, replace(plan, space=WGAN_GP, warm_start={}))


def test_an_earlier_sweep_must_have_a_score(tmp_path: Path) -> None:
    results = finished(Folder.at(tmp_path), made_plan("first", 1), (Made({}, "RUNNING"),))
    with pytest.raises(UserError, match="'first' has none"):
        warm_started(WGAN_GP, ["first"], lambda _: results, None)
