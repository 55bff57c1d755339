"""`cluster/ssh.yaml` on three hosts, from `ray up` to `ray down`, over SSH: the commands of docs/cluster.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.cluster.hosts import HOME, Lab
from tests.cluster.submitted import HOSTS, Submitted
from tests.sweeps.processes import ROOT, Running

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]


def test_every_node_has_the_wheel_and_the_pins(lab: Lab, up: None, ray: Callable[..., Running]) -> None:
    """What a login shell on the head finds first, and what pip put into each environment."""
    said = ray("exec", "cluster.yaml", "command -v python sweeps").succeeded().out
    for program in ("python", "sweeps"):
        assert f"{HOME}/wgan-cluster/venv/bin/{program}" in said
    pins = re.findall(r"(?m)^([\w.-]+)==(.+)$", (ROOT / "cluster/requirements.txt").read_text())
    assert pins
    for host in lab.hosts:
        (packages,) = host.file(f"{HOME}/wgan-cluster/venv/lib").glob("python3.*/site-packages")
        assert (packages / "sweeps" / "mnist.py").read_bytes() == (ROOT / "sweeps" / "mnist.py").read_bytes()
        there = {re.sub("[-_.]+", "-", path.name.lower()) for path in packages.glob("*.dist-info")}
        assert {re.sub("[-_.]+", "-", f"{name}-{version}-dist-info".lower()) for name, version in pins} <= there
        assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_the_doctor_finds_nothing_in_the_way(lab: Lab, up: None, ray: Callable[..., Running]) -> None:
    """Of three nodes, their storage, the tracking server and the database, by the credentials on the head."""
    said = ray("exec", "cluster.yaml", "sweeps doctor --json").succeeded().out
    checks = json.loads(said[said.index("[\n") : said.rindex("]") + 1])
    assert [each for each in checks if each["state"] == "failed"] == []
    well = {each["what"]: each["found"] for each in checks if each["state"] == "ok"}
    assert {"versions", "token", "dashboard", "clock", "tracking", "study"} <= well.keys()
    assert "all 3 nodes" in well["versions"]


def test_a_sweep_runs_on_all_hosts(lab: Lab, undisturbed: Submitted) -> None:
    """And is on the tracking server, and its study in the database, when `ray submit` returns."""
    assert undisturbed.trained == {*HOSTS}
    assert "best checkpoint" in undisturbed.said.out
    with lab.hosts[0].network():
        runs, search = undisturbed.stored.runs(), undisturbed.stored.search()
    assert runs.keys() == {None, *map(str, range(8))}
    assert runs[None].data.tags["mlflow.sync"] == "complete"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {state for state, _, _ in search} == {"COMPLETE"}
    assert not list(lab.folder.glob("shared/**/*.db"))


def test_status_and_best_from_the_launcher(
    lab: Lab, undisturbed: Submitted, ray: Callable[..., Running], times: dict[str, float]
) -> None:
    said = ray("exec", "cluster.yaml", "sweeps status undisturbed --json; sweeps best undisturbed").succeeded().out
    status = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert [trial["does"] for trial in status["trials"]] == ["ended"] * 8
    assert status["driver"] is None
    with lab.hosts[0].network():
        tags = undisturbed.stored.runs()[None].data.tags
    assert tags["best.checkpoint"] in said
