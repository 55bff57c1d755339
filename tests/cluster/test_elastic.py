"""Nodes that come and go while a sweep runs: those that join take trials, those that are drained give them back."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest

from sweeps.engine.plan.plan import read_started
from tests.cluster.grows import autoscaling
from tests.cluster.test_preemption import metadata
from tests.sweeps.clusters import Head, free_ports, head
from tests.sweeps.processes import ROOT, Surroundings, wait_for
from wgan_core.data.folder import Folder

pytestmark = pytest.mark.slow

BUDGET = 1800


def study(storage: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{storage}/{name}/study.db").get_trials()


def between_reports(storage: Path, name: str) -> bool:
    """Whether a trial has a checkpoint that is not of a report."""
    steps = [int(file.parent.name) for file in (storage / name).glob("trials/*/checkpoints/*/manifest.json")]
    return any(step % (BUDGET // 9) for step in steps)


def test_a_node_joins_and_is_drained(surroundings: Surroundings, small_data: Path, tmp_path: Path) -> None:
    """It takes a trial, gives it back where it stands and leaves; the sweep is what it would have been."""
    options = ("--data", small_data, "--no-pruning", "--trials", 2, "--budget", BUDGET, "--name", "moves")
    cluster = head(surroundings, "--num-cpus", "1")
    sweep = surroundings.script(tmp_path / "moved", *options, **cluster.env)
    wait_for(lambda: len(cluster.process.workers()) == 1 or sweep.process.poll() is not None, "a trial")
    assert sweep.process.poll() is None, sweep.out + sweep.err
    joined = cluster.add("127.0.0.2", "--num-cpus", "1")
    wait_for(lambda: len(joined.workers()) == 1, "a trial on the node that joined")

    def reports() -> int:
        return sum(len(trial.intermediate_values) for trial in study(tmp_path / "moved", "moves"))

    before = reports()
    wait_for(lambda: reports() > before, "a report")
    with metadata() as (url, taken, asked):
        notice = ("--on-notice", "aws", "--metadata", url, "--deadline", 60)
        drain = surroundings.sweeps("drain", "127.0.0.2", *notice, **cluster.env)
        assert asked.wait(60), drain.err
        assert joined.workers(), "drained without a notice"
        taken.set()
        wait_for(lambda: "takes this node back" in drain.out, "the notice")
    wait_for(lambda: between_reports(tmp_path / "moved", "moves"), "a state that is saved between two reports", 30)
    assert "has left the cluster after" in drain.succeeded().out
    sweep.succeeded(with_tracebacks=True)
    assert len(re.findall(r"is trained again from its last checkpoint: its node is leaving", sweep.out)) == 1
    found = study(tmp_path / "moved", "moves")
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 2
    assert not any(trial.user_attrs.get("death", {}).get("faults") for trial in found)
    cluster.process.kill()

    surroundings.script(tmp_path / "still", *options).succeeded()
    still = study(tmp_path / "still", "moves")
    assert [trial.intermediate_values for trial in found] == [trial.intermediate_values for trial in still]


def test_a_node_that_joins_with_other_code_gets_no_trial(
    surroundings: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    """Its first trial sees it, goes on elsewhere without a fault, and the node is drained; the sweep ends well."""
    other = tmp_path / "other"
    for package in ("wgan_core", "sweeps"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "wgan_core" / "errors.py").open("a") as file:
        file.write("# another line\n")
    first = head(surroundings, "--num-cpus", "1")
    options = ("--data", small_data, "--no-pruning", "--trials", 3, "--budget", 1800, "--name", "joined")
    sweep = surroundings.script(tmp_path / "storage", *options, **first.env)
    wait_for(lambda: bool(first.process.workers()) or sweep.process.poll() is not None, "a trial")
    first.add("127.0.0.2", "--num-cpus", "1", PYTHONPATH=str(other))
    sweep.succeeded(with_tracebacks=True)
    assert "is trained again from its last checkpoint: every node must have what the driver's has; " in sweep.out
    assert "wgan_core code " in sweep.out
    assert "3 of 3 trials ended" in sweep.out
    assert "died" not in sweep.out
    first.process.kill()


def test_a_cluster_without_workers_grows_and_shrinks(
    surroundings: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    """Its file says what workers it may have: they come, with a declared GPU each, train, and go when idle.

    Before the first trial a worker says how many are to be trained side by side; the same command again goes by that.
    """
    (port,) = free_ports(1)
    worker = {"resources": {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000}, "max_workers": 2}
    file = autoscaling(surroundings.home, port, worker)
    settings = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    cluster = head(surroundings, "--num-cpus", "0", f"--autoscaling-config={file}", gcs_port=port, **settings)
    storage = tmp_path / "storage"
    options = ("--data", small_data, "--no-pruning", "--trials", 4, "--budget", 900, "--name", "grows")
    sweep = surroundings.script(storage, *options, **cluster.env)
    most = 0
    while sweep.process.poll() is None:
        most = max(most, len(cluster.process.workers()))
        time.sleep(0.1)
    sweep.succeeded()
    assert most == 2, "both workers that there may be train at once"
    assert "nodes: 1; processes at a time: 2, with 1 CPU and 1 GPU each, 0 until nodes have come" in sweep.out
    assert len(study(storage, "grows")) == 4
    assert "how many trials a GPU trains best side by side, as soon as a node with one has come" in sweep.out
    said = re.search(
        r"^lanes: ([12]) a process: [\d,.]+ critic updates/s against [\d,.]+ at [12]", sweep.out, re.MULTILINE
    )
    assert said is not None, sweep.out
    assert read_started(Folder.at(storage / "grows")).lanes == int(said[1])
    again = surroundings.script(storage, *options, **cluster.env).succeeded()
    assert f"lanes: {said[1]} a process, as before" in again.out
    assert "a GPU trains best" not in again.out
    wait_for(lambda: not raylets(cluster)[1:], "the workers to go", 120)
    file.unlink()


def raylets(cluster: Head) -> list[psutil.Process]:
    """The processes that are nodes of the cluster, the head's first."""
    found = []
    for each in cluster.process.descendants():
        with suppress(psutil.NoSuchProcess):
            if each.name() == "raylet":
                found.append(each)
    return found
