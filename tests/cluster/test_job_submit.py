"""`ray job submit` on a cluster with a token: a sweep runs, is stopped and goes on; strangers stay out."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sweeps.clusters import RAY, Head, head
from tests.sweeps.conftest import blobs, write_images
from tests.sweeps.processes import Running, Surroundings, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]

# As ~/wgan-cluster/environment says it for every node.
STOPPED_AS_BY_CTRL_C = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "90"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "blobs.parquet", blobs(400, seed=0))


@pytest.fixture(scope="module")
def cluster(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """One node whose processes find this interpreter first, and sweeps in a folder of the test's own."""
    if importlib.util.find_spec("aiohttp_cors") is None:
        pytest.skip("needs_server: jobs need ray[default]: pip install -r cluster/requirements.txt")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    around = Surroundings(tmp_path_factory.mktemp("home"))
    try:
        yield head(around, "--num-cpus", "1", PATH=path, WGAN_STORAGE=str(storage), **STOPPED_AS_BY_CTRL_C)
    finally:
        around.close()


def job(cluster: Head, *arguments: str | Path, **env: str) -> Running:
    """`ray job COMMAND ...`, as at the other end of an SSH connection that brings the dashboard's port here."""
    command, *rest = map(str, arguments)
    address = ("--address", f"http://{cluster.dashboard}")
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.env["RAY_AUTH_TOKEN"]} | env
    return cluster.surroundings.start(RAY, "job", command, *address, *rest, **env)


def records(storage: Path) -> int:
    """How many records the trials have written; each one's first is its start."""
    return len(list(storage.glob("jobs/trials/*/spool/*.json")))


def status(cluster: Head) -> dict[str, Any]:
    return json.loads(cluster.surroundings.sweeps("status", "jobs", "--json", **cluster.env).succeeded().out)


def test_a_job_is_stopped_and_the_same_submit_goes_on(cluster: Head, storage: Path, data: Path) -> None:
    # Long beside the start of `ray job stop`, so that the one trial is stopped in its midst.
    options = ("--name", "jobs", "--data", data, "--trials", "1", "--budget", "4500")
    sweep = ("--", "python", "-m", "sweeps.mnist", *options)
    said = job(cluster, "submit", "--no-wait", *sweep).succeeded().out
    (name,) = re.findall(r"Job '(\w+)' submitted successfully", said)
    wait_for(lambda: records(storage) > 1, "the first report of the sweep")
    job(cluster, "stop", name).succeeded()
    asked, logs = job(cluster, "status", name), job(cluster, "logs", name)
    assert f"Job '{name}' was stopped" in asked.succeeded().out
    assert "interrupted: the same command again goes on from the last checkpoints" in logs.succeeded().out
    stopped = status(cluster)
    assert stopped["driver"] is None
    assert [trial["does"] for trial in stopped["trials"]] == ["waiting"]
    assert 0 < stopped["trials"][0]["critic_updates"] < 4500

    again = job(cluster, "submit", *sweep).succeeded()
    assert "best checkpoint" in again.out
    found = status(cluster)
    assert [trial["does"] for trial in found["trials"]] == ["ended"]
    assert found["trials"][0]["critic_updates"] == 4500
    assert found["driver"] is None


def test_the_dashboard_listens_on_the_loopback_alone(cluster: Head) -> None:
    port = int(cluster.dashboard.rpartition(":")[2])
    of_machine = [
        each.address for some in psutil.net_if_addrs().values() for each in some if each.family == socket.AF_INET
    ]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    for address in {*of_machine, "127.0.0.2"} - {"127.0.0.1"}:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=5)


def test_who_has_another_token_or_none_is_refused(cluster: Head, data: Path, tmp_path: Path) -> None:
    """By the job server, and by the cluster itself: a script ends with one line that says what to set."""
    options = ("--data", data, "--smoke", "--storage", tmp_path)
    other = {"RAY_AUTH_TOKEN": "0" * 64}
    unset = {"RAY_AUTH_MODE": "disabled"}
    none = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nowhere"), "RAY_AUTH_TOKEN": ""}
    submitted = job(cluster, "submit", "--", "echo", "in", **other)
    scripts = [
        cluster.surroundings.start(sys.executable, "-m", "sweeps.mnist", *options, "--name", name, **cluster.env | env)
        for name, env in (("other", other), ("unset", unset), ("none", none))
    ]
    assert submitted.wait().process.returncode != 0
    assert "Invalid authentication token" in submitted.err + submitted.out
    for script in scripts:
        script.refused("RAY_AUTH_TOKEN", "~/.ray/auth_token", cluster.address)
    assert "set RAY_AUTH_MODE=token (it is disabled)" in scripts[1].err
