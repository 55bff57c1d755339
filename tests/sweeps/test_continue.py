"""The same command again: after the end, after a kill in the middle, beside a running one, and with something changed.

All sweeps here have the same search, so each is compared with one that nothing disturbed. A sweep that is killed is a
process with a Ray of its own, which is killed with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sweeps.mnist
from sweeps import run_script
from sweeps.engine.driver import run
from sweeps.engine.storage.spool import EndRecord
from tests.sweeps.clusters import Head
from tests.sweeps.processes import MNIST, Ended, Running, Surroundings, copy_tables, wait_for
from tests.sweeps.stored import Stored
from wgan_core.data.folder import Folder
from wgan_core.training import checkpoint as checkpoints

NAME = "again"
# Three presets, five random ones, and one that the model chose.
TRIALS, BUDGET = 9, 9

pytestmark = pytest.mark.slow


def sweep(
    around: Surroundings, stored: Stored, options: list[str | Path | int], trials: int, *more: str | int
) -> Ended:
    """Run the sweep, or continue it, in this process."""
    return around.run(MNIST, stored.storage, *options, "--trials", trials, *more)


@dataclass
class Undisturbed:
    """What a sweep came to that ran from its start to its end, as it was then."""

    stored: Stored
    search: list[tuple[str, dict[str, Any], dict[int, float]]]
    states: dict[str, str]
    run_ids: dict[str | None, str]


@pytest.fixture(scope="module")
def options(small_data: Path) -> list[str | Path | int]:
    return ["--name", NAME, "--data", small_data, "--budget", BUDGET, "--max-concurrent", 1, "--seed", 5]


@pytest.fixture(scope="module")
def undisturbed(
    joined: Surroundings, options: list[str | Path | int], tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    stored = Stored(tmp_path_factory.mktemp("undisturbed"), NAME)
    sweep(joined, stored, options, TRIALS).succeeded()
    run_ids = {number: run.info.run_id for number, run in stored.runs().items()}
    return Undisturbed(stored, stored.search(), stored.states(), run_ids)


def assert_as_undisturbed(stored: Stored, undisturbed: Undisturbed) -> None:
    """The same trials, values, verdicts and weights, bit for bit, and in MLflow each of them once."""
    assert stored.search() == undisturbed.search
    assert stored.states() == undisturbed.states
    assert set(stored.runs()) == set(undisturbed.run_ids)
    curves = {number: values for number, (_, _, values) in enumerate(undisturbed.search)}
    for number, values in curves.items():
        assert stored.curves()[number] == pytest.approx(values, rel=1e-12)
    assert stored.runs()[None].data.tags["mlflow.sync"] == "complete"
    ends = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    for number, (state, _, _) in enumerate(undisturbed.search):
        assert stored.runs()[str(number)].info.status == ends[state]


def test_the_same_command_again_does_nothing(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed
) -> None:
    """Status 0 and the leaderboard; no trial, run, point or checkpoint is new."""
    states = {trial.state.name for trial in undisturbed.stored.trials()}
    assert states <= {"COMPLETE", "PRUNED"}
    ran = sweep(joined, undisturbed.stored, options, TRIALS).succeeded()
    assert f"{TRIALS} of {TRIALS} trials ended" in ran.out
    assert "best checkpoint" in ran.out
    assert_as_undisturbed(undisturbed.stored, undisturbed)
    assert {number: run.info.run_id for number, run in undisturbed.stored.runs().items()} == undisturbed.run_ids


def test_more_trials_extend_it(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Those that ended stay as they are, and the new one is no repetition of any."""
    stored = Stored(tmp_path, NAME)
    shutil.copytree(undisturbed.stored.storage / NAME, tmp_path / NAME)
    sweep(joined, stored, options, TRIALS + 1).succeeded()
    assert stored.search()[:TRIALS] == undisturbed.search
    assert len(stored.search()) == TRIALS + 1
    state, params, values = stored.search()[-1]
    assert state in ("COMPLETE", "PRUNED")
    assert values
    assert params not in [each for _, each, _ in undisturbed.search]
    # The store is a new one, which gets the records of all of them.
    assert set(stored.runs()) == {None, *map(str, range(TRIALS + 1))}


def test_ended_by_hours_and_continued_equals_uninterrupted(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """However often the time is up, the command succeeds, and the same command again goes on."""
    stored, hours, said = Stored(tmp_path, NAME), 0.001, list[str]()
    while not said or "ended by --hours" in said[-1]:
        said.append(sweep(joined, stored, options, TRIALS, "--hours", hours).succeeded().out)
        hours *= 4
    assert len(said) > 1
    assert "the same command again continues" in said[0].splitlines()[-1]
    assert_as_undisturbed(stored, undisturbed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--budget", BUDGET + 1), f"budget was {BUDGET} and is {BUDGET + 1}"),
        (("--seed", 6), "seed was 5 and is 6"),
        (("--networks", "conv"), "structure.networks was mlp and is conv"),
        (("--data", "other"), "data_digest was "),
    ],
)
def test_anything_else_that_changed_is_refused(
    changed: tuple[str, Any],
    said: str,
    options: list[str | Path | int],
    undisturbed: Undisturbed,
    other_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, before Ray is started, and the line names what differs."""

    def never(*_: object) -> None:
        raise AssertionError("Ray was to be started")

    monkeypatch.setattr(run, "joined", never)
    option, value = changed
    value = other_data if value == "other" else value
    given = [*options, "--trials", TRIALS, "--storage", undisturbed.stored.storage, option, value]
    monkeypatch.setattr(sys, "argv", ["mnist.py", *map(str, given)])
    assert run_script(sweeps.mnist.main) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a sweep named 'again' is in ")
    assert said in line
    assert undisturbed.stored.search() == undisturbed.search


@dataclass
class Killed:
    stored: Stored
    copy: Stored


@pytest.fixture(scope="module")
def killed(
    surroundings: Surroundings, options: list[str | Path | int], tmp_path_factory: pytest.TempPathFactory
) -> Killed:
    """A sweep whose driver and Ray processes were killed while its first trial was trained; and a copy of it."""
    stored = Stored(tmp_path_factory.mktemp("killed"), NAME)
    copy = Stored(tmp_path_factory.mktemp("copy"), NAME)
    copy_tables(stored.storage)
    running = surroundings.script(stored.storage, *options, "--trials", 3)
    wait_until(running, lambda: stored.reports(0) >= 3, "three reports of trial 0")
    running.kill()
    assert [trial.state.name for trial in stored.trials()] == ["RUNNING"]
    shutil.copytree(stored.storage / NAME, copy.storage / NAME)
    return Killed(stored, copy)


def wait_until(running: Running, happened: Any, what: str) -> None:
    """As `wait_for`, but a process that has ended meanwhile fails at once."""

    def either() -> bool:
        return bool(happened()) or running.process.poll() is not None

    wait_for(either, what)
    assert happened(), f"{what} did not come\n{running.out}\n{running.err}"


def damage_newest_checkpoint(trial: Folder) -> None:
    folder = trial / "checkpoints"
    if names := checkpoints.valid(folder):
        file = Path((folder / names[-1]).path) / "state.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"?")


def test_killed_and_continued_equals_uninterrupted(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed, killed: Killed
) -> None:
    """Killed in its first trial and again in its sixth, whose newest checkpoint is then damaged as a power cut may
    leave it, and run to the end: nothing tells that it ever was."""
    stored = killed.stored
    running = joined.script(stored.storage, *options, "--trials", TRIALS)
    wait_until(running, lambda: stored.spool(5).segments(), "trial 5")
    running.kill()
    assert not stored.trials()[-1].state.is_finished()
    damage_newest_checkpoint(stored.trial(5))
    sweep(joined, stored, options, TRIALS).succeeded()
    assert_as_undisturbed(stored, undisturbed)


def test_killed_between_a_trials_end_and_the_study_that_is_told(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed
) -> None:
    """A complete trial and a stopped one stand at their last reports already: their process has nothing to train, and
    Tune nothing to be told."""
    stored = undisturbed.stored
    states = [state for state, _, _ in undisturbed.search]
    for number in (states.index("COMPLETE"), states.index("PRUNED")):
        with closing(sqlite3.connect(stored.storage / NAME / "study.db")) as database, database:
            database.execute(
                "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = ?", (number,)
            )
            database.execute("DELETE FROM trial_values WHERE trial_id = ?", (number + 1,))
        assert stored.trials()[number].state.name == "RUNNING"
    sweep(joined, stored, options, TRIALS).succeeded()
    assert_as_undisturbed(stored, undisturbed)


def test_a_trial_that_dies_three_times_fails_and_the_sweep_goes_on(
    joined: Surroundings, options: list[str | Path | int], killed: Killed
) -> None:
    """Its sample grids cannot be written, so each process that takes it up ends with the same error."""
    stored = killed.copy
    samples = Path((stored.trial(0) / "samples").path)
    shutil.rmtree(samples)
    samples.write_text("a file where a folder must be")

    ran = sweep(joined, stored, options, 3).succeeded(with_tracebacks=True)
    first, *others = stored.trials()
    assert first.state.name == "FAIL"
    assert [trial.state.name in ("COMPLETE", "PRUNED") for trial in others] == [True, True]
    reason = first.user_attrs["reason"]
    assert reason.startswith("its process died 3 times, the last time: ")
    assert str(samples) in reason
    assert f"trial 0 failed: {reason}" in ran.out
    end = stored.spool(0).read("end.json")
    assert isinstance(end, EndRecord)
    assert (end.state, end.reason) == ("FAIL", reason)
    tags = stored.runs()["0"].data.tags
    assert (stored.runs()["0"].info.status, tags["trial.state"]) == ("FAILED", "FAIL")
    assert str(samples) in tags["trial.reason"]


@pytest.fixture(scope="module")
def disturbed(
    shared_ray: Head, joined: Surroundings, options: list[str | Path | int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Stored, Running, Ended]:
    """A sweep that was started a second time while it ran, and whose worker was killed in its first trial."""
    stored = Stored(tmp_path_factory.mktemp("disturbed"), NAME)
    copy_tables(stored.storage)
    running = joined.script(stored.storage, *options, "--trials", TRIALS)
    wait_until(running, (stored.storage / NAME / "lease.json").exists, "the lease")
    second = sweep(joined, stored, options, TRIALS)
    wait_until(running, lambda: stored.reports(0) >= 2, "two reports of trial 0")
    (worker,) = shared_ray.process.workers()
    os.kill(worker, signal.SIGKILL)
    return stored, running.succeeded(with_tracebacks=True), second


def test_a_worker_that_is_killed_costs_nothing_but_time(
    disturbed: tuple[Stored, Running, Ended], undisturbed: Undisturbed
) -> None:
    """Its trial waits again, goes on from its checkpoint, and comes to the same values and weights."""
    stored, _, _ = disturbed
    assert stored.faults()[0] == 1
    assert_as_undisturbed(stored, undisturbed)


def test_a_second_sweep_of_the_same_name_is_refused(disturbed: tuple[Stored, Running, Ended]) -> None:
    """While the first runs; one line says who runs it."""
    _, running, second = disturbed
    second.refused("one process at a time runs a sweep", f"process {running.process.pid} on ")
    assert len(second.err.splitlines()) == 1


def test_lanes_side_by_side_give_the_values_of_one(
    joined: Surroundings, options: list[str | Path | int], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Three lanes, refilled as they become free: all trials end, and each reports what it reports alone.

    Up to the first trial that the model chooses, parameters do not depend on the order of things. Verdicts do, so
    the steps that both have are compared.
    """
    stored = Stored(tmp_path, NAME)
    sweep(joined, stored, options, TRIALS - 1, "--lanes", 3).succeeded()
    trials = stored.search()
    assert len(trials) == TRIALS - 1
    assert {state for state, _, _ in trials} <= {"COMPLETE", "PRUNED"}
    for number, (_, params, values) in enumerate(trials):
        _, alone, values_alone = undisturbed.search[number]
        assert params == alone
        both = sorted(values.keys() & values_alone.keys())
        assert both
        # Some random trials learn so fast that rounding grows a thousandfold from report to report.
        compared, within = (both, 1e-3) if number < 3 else (both[:1], 1e-2)
        assert [values[step] for step in compared] == pytest.approx([values_alone[s] for s in compared], rel=within)
    assert set(stored.runs()) == {None, *map(str, range(TRIALS - 1))}
    assert {number: set(curve) for number, curve in stored.curves().items()} == {
        number: set(values) for number, (_, _, values) in enumerate(trials)
    }
