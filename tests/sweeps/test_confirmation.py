"""Leaders trained again with fresh seeds: what is asked, which runs there are then, and what follows from them."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from scipy import stats

from sweeps.cli import main
from sweeps.engine.driver.time_limit import TimeLimit
from sweeps.engine.driver.training import Stage
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import CONFIRM_FILE, Plan, read_plan, read_started, write_plan
from sweeps.engine.results.confirmation import (
    Confirmation,
    Interval,
    confirmed_line,
    confirmed_metrics,
    plan_confirmation,
)
from sweeps.engine.results.leaderboard import checkpoint_of, confirmation_table
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.study.rows import Row
from sweeps.engine.study.study import Study
from tests.sweeps.processes import ROOT, Surroundings, copy_tables, wait_for
from wgan_core.config import trial_seed
from wgan_core.data.folder import Folder
from wgan_core.data.toy import load_toy
from wgan_core.errors import UserError
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.sampling.generator import averaged_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.samples import TEST_SEED, evaluation_z

GAUSSIANS = ROOT / "sweeps" / "gaussians.py"
POINT = {"lambda_gp": 10.0, "lr": 1e-4, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.1}


def row(number: int, value: float, label: str = "", state: str = "COMPLETE", test: float | None = None) -> Row:
    scores = {} if test is None else {"test/a": test}
    params = {**POINT, "lr": 1e-4 * (number + 1)}
    return Row(number, label or str(number), state, params, value, 50, 90, 1.0, "", test=scores)


SEARCHED = [row(0, 3.0), row(1, 1.0), row(2, math.nan, state="FAIL"), row(3, 2.0, state="PRUNED")]


@pytest.fixture
def search(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(trials=4)


def planned(search: Plan, asked: str, found: Plan | None = None, rows: Sequence[Row] = SEARCHED) -> Plan:
    return plan_confirmation(search, rows, ConfirmationSize.read(asked), found, {"split": "test"}, {"eval/a": 0.6})


def confirmation(plan: Plan, validation: Sequence[float], test: Sequence[float], states: str = "") -> Confirmation:
    """`states`: C for COMPLETE, F for FAIL, R for RUNNING, a letter a run; by default all are complete."""
    names = {"C": "COMPLETE", "F": "FAIL", "R": "RUNNING"}
    rows = [
        row(number, value, plan.label(number), names[state], score if state == "C" else None)
        for number, (value, score, state) in enumerate(
            zip(validation, test, states or "C" * len(validation), strict=False)
        )
    ]
    return Confirmation(plan, rows, SEARCHED)


def test_an_earlier_confirmation_is_of_trials_of_the_search(search: Plan) -> None:
    found = replace(planned(search, "1x2"), confirms=(7, 7))
    with pytest.raises(UserError, match="names trial 7, which is not there"):
        planned(search, "1x2", found)


@pytest.mark.parametrize("text", ["", "3", "3x", "x3", "3x3x3", "3*3", "a x b", "-1x3", "1.5x2", "0x3", "3x1", "3x27"])
def test_what_cannot_be_asked(text: str) -> None:
    with pytest.raises(UserError, match=r"--confirm must be .*; given .*: give --confirm 3x3, for example") as refused:
        ConfirmationSize.read(text)
    assert "\n" not in str(refused.value)


def test_the_option_is_checked_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--confirm must be two whole numbers"):
        parse("mnist", "", 12, 90, ["--confirm", "three"])
    assert parse("mnist", "", 12, 90, ["--confirm", "3x5"]).confirm == ConfirmationSize(3, 5)
    assert parse("mnist", "", 12, 90, []).confirm is None


def test_no_password_is_kept_with_how_a_sweep_was_started() -> None:
    """Nor anything else of where things are kept, however it was given."""
    secret = "postgresql://me:secret@db/optuna"
    given = ["--study-storage", secret, "--trials", "3", f"--tracking-uri={secret}", "--stor", "/there", "--smoke"]
    assert parse("mnist", "", 12, 90, [*given[:4], "--storage", "/there", "--smoke"]).arguments == (
        "--trials",
        "3",
        "--smoke",
    )
    assert "secret" not in json.dumps(parse("mnist", "", 12, 90, [*given[:5], "--track", secret]).arguments)


def test_the_interval_is_students() -> None:
    scores = [1.0, 2.5, 2.0, 4.0]
    expected = stats.t.interval(0.95, 3, loc=np.mean(scores), scale=stats.sem(scores))
    found = Interval.of(scores)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert (found.mean, found.count) == (np.mean(scores), 4)
    single = Interval.of([2.0])
    assert single.mean == 2.0
    assert math.isnan(single.low)
    assert single.as_json() == {"mean": 2.0, "low": None, "high": None, "count": 1}
    assert str(single) == "2"


def test_the_leaders_are_planned_with_seeds_of_their_own(search: Plan) -> None:
    """The best by score, whatever became of them; never one without a score."""
    plan = planned(search, "2x3")
    assert plan.confirms == (1, 1, 1, 3, 3, 3)
    assert [plan.label(number) for number in range(6)] == ["1a", "1b", "1c", "3a", "3b", "3c"]
    assert [preset["lr"] for preset in plan.space.presets] == [2e-4] * 3 + [4e-4] * 3
    seeds = {trial_seed(plan.seed, number) for number in range(6)}
    assert len(seeds) == 6
    assert not seeds & {trial_seed(search.seed, number) for number in range(1000)}
    assert (plan.pruning, plan.budget, plan.grid) == (False, search.budget, search.grid)
    assert plan.floors == {**search.floors, "test/a": 0.6}
    assert plan.study_name != search.study_name
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert planned(search, "9x2").confirms == (1, 1, 3, 3, 0, 0)


def test_a_confirmation_grows_and_keeps_what_it_has(search: Plan) -> None:
    """More seeds, and other leaders after the search went on, come after the trials there are."""
    first = planned(search, "2x2")
    more = planned(search, "2x3", first)
    assert more.confirms == (1, 1, 3, 3, 1, 3)
    assert [more.label(number) for number in range(6)] == ["1a", "1b", "3a", "3b", "1c", "3c"]
    other = planned(search, "1x2", first, [*SEARCHED, row(4, 0.5)])
    assert other.confirms == (1, 1, 3, 3, 4, 4)
    for plan in (more, other):
        assert plan.space.presets[:4] == first.space.presets
        assert plan.seed == first.seed
    assert planned(search, "1x2", first).confirms == first.confirms


def test_its_trials_are_the_leaders_points(search: Plan, tmp_path: Path) -> None:
    plan = planned(search, "2x2")
    study = Study(plan, f"sqlite:///{tmp_path}/study.db", "s")
    claims = study.claim("a", 9)
    assert [claim.params["lr"] for claim in claims] == [2e-4, 2e-4, 4e-4, 4e-4]
    assert len({claim.trial.seed for claim in claims}) == 4
    for claim in claims:
        number = claim.trial.number
        assert not study.report("a", {number: (50, 9.0 + number)}, {})[number]  # never stopped early
        study.finish("a", number, "COMPLETE", "all of it", {"test/a": 1.5})
    assert study.is_done()
    assert [each.label for each in study.rows()] == ["1a", "1b", "3a", "3b"]
    assert all(each.test == {"test/a": 1.5} for each in study.rows())


def test_the_best_is_chosen_by_the_validation_split_and_reported_by_the_test_split(search: Plan) -> None:
    plan = planned(search, "2x2")
    found = confirmation(plan, [2.0, 3.0, 2.2, 2.4], [9.0, 9.0, 1.0, 1.5])
    first, second = found.settings
    assert (first.leader.number, second.leader.number) == (3, 1)
    assert first.validation == Interval.of([2.2, 2.4])
    assert first.test == Interval.of([1.0, 1.5])
    assert found.best is not None
    assert found.best.label == "3a"
    metrics = confirmed_metrics(found)
    assert metrics["3"]["confirmed/eval/a"] == pytest.approx(2.3)
    assert metrics["3"]["confirmed/test/a"] == pytest.approx(1.25)
    assert metrics["1"]["confirmed/test/a_low"] == 9.0
    table = confirmation_table(found).splitlines()
    assert " ".join(table[4].split()) == "3 2 2.3 [1.029, 3.571] 1.25 [-1.927, 4.427] 2 of 2 3a 3b"


def test_settings_are_confirmed_once_two_of_their_runs_have_ended(search: Plan) -> None:
    """Fewer give no interval; and what is confirmed stays so while more seeds, or other leaders, are trained."""
    plan = planned(search, "2x2")
    values = [2.5, 2.4, 0.1, 0.2]
    for states, expected in (("R", None), ("CR", None), ("CC", "1b"), ("CCCR", "1b"), ("CCCC", "3a")):
        found = confirmation(plan, values[: len(states)], values, states)
        assert (found.best and found.best.label) == expected
        assert found.has_ended == (states == "CCCC")
    grown = planned(search, "2x3", plan)
    more = confirmation(grown, [*values, 0.3], [*values, 0.3], "CCCCR")
    assert more.best is not None
    assert more.best.label == "3a"
    assert not more.has_ended


def test_settings_that_fail_do_not_hold(search: Plan) -> None:
    """Whatever the runs score that did not: one of three that diverged is said, and comes after none."""
    plan = planned(search, "2x3")
    found = confirmation(plan, [0.1, math.nan, 0.2, 2.2, 2.1, 2.3], [0.1, 0.1, 0.2, 2.2, 2.1, 2.3], "CFCCCC")
    first, second = found.settings
    assert (first.leader.number, second.leader.number) == (3, 1)
    assert str(second).endswith("; 1 of 3 runs failed")
    assert found.best is not None
    assert found.best.label == "3b"
    assert confirmed_line(found).startswith("trial 3's settings with 3 fresh seeds, mean [95 % interval]: 2.2 [")


def test_runs_that_failed_are_counted_and_named(search: Plan) -> None:
    """A setting of which every run failed is last, and never the best."""
    plan = planned(search, "2x2")
    found = confirmation(plan, [math.nan, math.nan, 2.2, math.nan], [0.1] * 4, "FFCF")
    first, second = found.settings
    assert (first.leader.number, second.leader.number, second.validation, second.test) == (3, 1, None, None)
    assert found.best is not None
    assert found.best.label == "3a"
    table = confirmation_table(found)
    assert "1 of 2" in table
    assert "0 of 2" in table
    assert "trial 1a failed: " in table
    every = confirmation(plan, [math.nan] * 4, [0.1] * 4, "FFFF")
    assert every.has_ended
    assert every.best is None


def test_a_leader_of_later_is_said_not_to_be_confirmed(search: Plan) -> None:
    """After the search was extended; the confirmed stays the best until then."""
    found = confirmation(planned(search, "1x2"), [2.0, 3.0], [9.0, 9.0])
    later = replace(found, searched=[*SEARCHED, row(4, 0.5)])
    assert "is not confirmed" not in confirmation_table(found)
    assert "trial 4, which leads the search now, is not confirmed" in confirmation_table(later)
    assert later.best == found.best


def test_without_the_script_nothing_is_run(
    tmp_path: Path, make_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep that was started from a notebook has none."""
    plan, folder = make_plan(), Folder.at(tmp_path) / "sweep"
    write_plan(folder, plan)
    Study(plan, f"sqlite:///{folder.path}/study.db", "s")
    assert main(["confirm", "sweep", "--storage", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "none did: give one with --script, or run it yourself with --trials 12 --name sweep --confirm 3x3" in line
    assert main(["confirm", "sweep", "3", "--storage", str(tmp_path)]) == 2
    assert "--confirm must be two whole numbers, leaders x seeds; given '3'" in capsys.readouterr().err


@pytest.mark.slow
def test_leaders_of_a_real_sweep_are_confirmed(joined: Surroundings, tmp_path: Path) -> None:
    """By the script, which is killed meanwhile, and then by `sweeps confirm`; each test score is worked out anew."""
    name = "gaussians-smoke"
    options = map(str, ("--storage", tmp_path, "--smoke", "--trials", 2, "--confirm", "1x2"))
    copy_tables(tmp_path)
    killed = joined.start(sys.executable, GAUSSIANS, *options)
    spool = tmp_path / name / "trials" / "0a" / "spool"
    wait_for(lambda: (spool / "000000005.json").exists(), "the first report of a run that confirms")
    killed.kill()
    before = open_results(str(tmp_path), name, None)
    assert before.confirmation is not None
    assert [each.label for each in before.confirmation.rows] == ["0a", "0b"]
    assert before.best.label == "0"
    started = read_started(before.folder)
    assert started.script == str(GAUSSIANS)
    assert str(tmp_path) not in " ".join(started.arguments)

    planted = plant(tmp_path, before.folder)
    program = Path(sys.executable).parent / "sweeps"
    again = joined.start(program, "confirm", name, "1x3", "--storage", tmp_path, cwd=planted).succeeded()
    interpreter = Path(program.read_text().splitlines()[0].removeprefix("#!"))
    assert again.out.startswith(f"{interpreter} -P {GAUSSIANS} --smoke --confirm 1x2 --trials 2 --name {name}")
    assert sorted(path.name for path in planted.iterdir()) == ["optuna.py", "ray.py", "torch.py"]
    results = open_results(str(tmp_path), name, None)
    assert results.confirmation is not None
    assert [each.label for each in results.confirmation.rows] == ["0a", "0b", "0c"]
    assert all(each.state == "COMPLETE" for each in results.confirmation.rows)
    assert [replace(each, session="") for each in results.rows] == [replace(each, session="") for each in before.rows]
    assert f"best checkpoint   {checkpoint_of(results.folder, results.best)}" in again.out
    assert str(checkpoint_of(results.folder, results.best)).startswith(
        f"{results.folder}/trials/0{results.best.label[-1]}"
    )
    check_test_scores(results)
    check_runs(results, tmp_path)
    said = json.loads(joined.command("best", name, "--json", "--storage", tmp_path).succeeded().out)
    assert said["confirms"] == "0"
    assert said["test"]["count"] == 3
    assert "5 of 5 trials ended" in joined.command("status", name, "--storage", tmp_path).succeeded().out


def plant(storage: Path, folder: Folder) -> Path:
    """Have a sweep's folder name other places, and a folder of modules that say so if they are imported."""
    planted = storage / "planted"
    planted.mkdir()
    for module in ("optuna", "ray", "torch"):
        (planted / f"{module}.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    described = json.loads(folder.read("sweep.json"))
    places = ["--storage", str(planted), "--tracking-uri", f"sqlite:///{planted}/mlflow.db", "--stor", str(planted)]
    described |= {"cwd": str(planted), "arguments": [*places, *described["arguments"], f"--study={planted}"]}
    folder.write("sweep.json", json.dumps(described).encode())
    return planted


def check_test_scores(results: Results) -> None:
    """Of each run's best checkpoint, on the test split, from the noise that is for this."""
    evaluator = Evaluator.build(load_toy("8gaussians"), "test", sample_size=1000)
    plan = read_plan(results.folder, CONFIRM_FILE)
    assert plan is not None
    assert plan.protocol["test"] == evaluator.protocol
    assert results.confirmation is not None
    for each in results.confirmation.rows:
        checkpoint = checkpoints.read(checkpoint_of(results.folder, each))
        z = evaluation_z(plan.structure, 1000, TEST_SEED)
        with torch.no_grad():
            scores = evaluator.scores(averaged_generator(checkpoint)(z))
        assert each.test == pytest.approx({f"test/{key.removeprefix('eval/')}": v for key, v in scores.items()}, 1e-4)
        assert each.value != each.test["test/w1"]


def check_runs(results: Results, storage: Path) -> None:
    """Runs of the same sweep, below its own, with labels; the leader's has both scores side by side."""
    client = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name(results.plan.name)
    assert experiment is not None
    assert results.confirmation is not None
    runs = {run.data.tags.get("trial.number"): run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop(None)
    assert set(runs) == {"0", "1", "0a", "0b", "0c"}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert parent.data.tags["mlflow.sync"] == "complete"
    assert parent.data.tags["best.trial"] == results.best.label
    (setting,) = results.confirmation.settings
    assert setting.test is not None
    assert setting.validation is not None
    roles = {label: run.data.tags["sweep.role"] for label, run in runs.items()}
    assert roles == {"0": "trial", "1": "trial", **dict.fromkeys(("0a", "0b", "0c"), "confirmation")}
    leader = runs["0"].data.metrics
    assert leader["eval/w1"] >= leader["best/w1"] == results.rows[0].value
    assert leader["confirmed/test/w1"] == pytest.approx(setting.test.mean, rel=1e-9)
    assert leader["confirmed/test/w1_high"] == pytest.approx(setting.test.high, rel=1e-9)
    assert leader["confirmed/eval/w1"] == pytest.approx(setting.validation.mean, rel=1e-9)
    for each in results.confirmation.rows:
        run = runs[each.label]
        assert run.data.tags["trial.confirms"] == "0"
        assert run.data.metrics["test/w1"] == each.test["test/w1"]
        assert len(client.get_metric_history(run.info.run_id, "test/w1")) == 1
        assert run.info.run_name.startswith(f"t000{each.label[-1]} ")


@pytest.mark.parametrize(("confirms", "share"), [(False, 1.0), (True, 2 / 3)])
def test_hours_reserve_a_third_for_the_confirmation(confirms: bool, share: float) -> None:
    began = time.monotonic()
    limit = TimeLimit.of(2.0, confirms)
    assert limit.search - began == pytest.approx(7200 * share, abs=60)
    assert limit.whole - began == pytest.approx(7200, abs=60)
    assert TimeLimit.of(None, confirms) == TimeLimit(math.inf, math.inf)


def test_a_search_has_timed_out_once_no_process_holds_a_trial(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """A confirmation begins then. After Ctrl-C, processes still hold trials."""
    study = Study(make_plan(), f"sqlite:///{tmp_path}/study.db", "s")
    study.claim("a", 1)
    held, training = study.rows(), SimpleNamespace(session="s")
    study.hand_back("a", [0])
    for until, rows, expected in ((0.0, held, False), (0.0, study.rows(), True), (math.inf, study.rows(), False)):
        stage = Stage(training, None, None, until)  # type: ignore[arg-type]
        assert stage.is_timed_out(rows) == expected
