"""`cluster/ssh.yaml` on three hosts, from `ray up` to `ray down`, over SSH: the commands of docs/cluster.md.

Shortened: a host's environment starts from a copy of the one the tests run in, so that pip finds most packages there;
the rest comes from a folder, as hosts have no way out. MNIST is in the head's cache.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.cluster.hosts import HOME, SHARED, USER, Lab, laboratory, missing
from tests.cluster.test_templates import filled, text_of
from tests.sweeps.processes import LONGEST_S, ROOT, Running, wait_for
from wgan_core.data.mnist import CACHED, cache_folder, load_mnist

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]

BIN = Path(sys.executable).parent
HOSTS = ("head", "worker-1", "worker-2")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three hosts and a launcher with a checkout, in which the template is filled in for them."""
    if wanting := missing():
        pytest.skip(f"needs_server: three hosts need {', '.join(wanting)}; CONTRIBUTING.md says which packages")
    load_mnist()
    with laboratory() as made:
        wheels = made.folder / "shared" / "wheels"
        subprocess.run(
            [*PIP, "download", "--no-deps", "-r", ROOT / "cluster/requirements.txt", "-d", wheels], check=True
        )
        _check_out(made.folder / "launcher" / "checkout")
        for name in HOSTS:
            _settle(made.add(name).home)
        head = made.hosts[0].home / ".cache" / "wgan-sweeps"
        head.mkdir(parents=True)
        shutil.copy(cache_folder() / CACHED, head)
        yield made


def _check_out(folder: Path) -> None:
    """What the launcher needs of the repository, with a wheel in dist."""
    for name in ("pyproject.toml", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("wgan_core", "sweeps", "cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "dist", folder]
    subprocess.run([*PIP, *build], check=True)


def _settle(home: Path) -> None:
    """A host's pip looks for packages in the shared folder alone."""
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {SHARED}/wheels\n")


@pytest.fixture(scope="module")
def ray(lab: Lab) -> Callable[..., Running]:
    """`ray` at the launcher."""

    def run(*arguments: str) -> Running:
        return lab.launch(BIN / "ray", *arguments, RAY_UP_enable_autoscaler_v2="0", RAY_USAGE_STATS_ENABLED="0")

    return run


@pytest.fixture(scope="module")
def times(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    """Seconds that each step took; printed at the end."""
    taken: dict[str, float] = {}
    yield taken
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(f"{what:<40} {seconds:6.1f} s" for what, seconds in taken.items()))


@pytest.fixture(scope="module")
def up(lab: Lab, ray: Callable[..., Running], times: dict[str, float]) -> Iterator[None]:
    """A cluster of the three hosts; taken down at the end."""
    head, *workers = [host.address for host in lab.hosts]
    file = lab.folder / "launcher" / "checkout" / "cluster.yaml"
    file.write_text(text_of("ssh"), encoding="utf-8")

    def check() -> Running:
        return lab.launch(sys.executable, "-m", "sweeps.cli", "check-cluster", "cluster.yaml")

    check().refused("provider.head_ip")
    file.write_text(filled("ssh", own=(head, f"[{', '.join(workers)}]", USER, "/srv/key", SHARED)), encoding="utf-8")
    check().refused("ray get-auth-token --generate")
    ray("get-auth-token", "--generate").succeeded()
    check().succeeded()
    began = time.monotonic()
    ray("up", "-y", "cluster.yaml").succeeded()
    times["ray up: the head"] = time.monotonic() - began
    three = re.compile(r"Active:\s+3 local\.cluster\.node\s")
    wait_for(lambda: three.search(ray("exec", "cluster.yaml", "ray status").wait().out) is not None, "three nodes")
    times["ray up: all nodes"] = time.monotonic() - began
    yield
    began = time.monotonic()
    ray("down", "-y", "cluster.yaml").succeeded()
    times["ray down"] = time.monotonic() - began


def test_every_node_has_the_wheel_and_the_pins(lab: Lab, up: None, ray: Callable[..., Running]) -> None:
    """What a login shell on the head finds first, and what pip put into each environment."""
    said = ray("exec", "cluster.yaml", "command -v python sweeps").succeeded().out
    for program in ("python", "sweeps"):
        assert f"{HOME}/wgan-cluster/venv/bin/{program}" in said
    for host in lab.hosts:
        (packages,) = (host.home.parents[1] / "upper" / "lib").glob("python3.*/site-packages")
        assert (packages / "sweeps" / "mnist.py").read_bytes() == (ROOT / "sweeps" / "mnist.py").read_bytes()
        assert list(packages.glob("psycopg_binary-*.dist-info"))
        assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_a_sweep_runs_on_all_hosts(lab: Lab, up: None, ray: Callable[..., Running], times: dict[str, float]) -> None:
    """And is in MLflow's store, in the folder that all of them see, when `ray submit` returns."""
    began = time.monotonic()
    sweep = ray("submit", "cluster.yaml", "sweeps/mnist.py", "--trials", "8", "--budget", "45")
    trained: set[str] = set()
    while sweep.process.poll() is None and time.monotonic() < began + LONGEST_S:
        trained |= {host.name for host in lab.hosts if host.trains()}
        with suppress(subprocess.TimeoutExpired):
            sweep.process.wait(0.5)
    sweep.succeeded()
    times["ray submit: 8 trials of 45 updates"] = time.monotonic() - began
    assert trained == set(HOSTS)
    assert "best checkpoint" in sweep.out
    runs = logged(lab, "mnist")
    assert sorted(runs) == list(range(8))
    assert {run.info.status for run in runs.values()} <= {"FINISHED", "KILLED"}
    assert all(run.data.metrics for run in runs.values())


def test_status_from_the_launcher(up: None, ray: Callable[..., Running], times: dict[str, float]) -> None:
    began = time.monotonic()
    said = ray("exec", "cluster.yaml", "sweeps status mnist --json").succeeded().out
    times["sweeps status"] = time.monotonic() - began
    status = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert [trial["does"] for trial in status["trials"]] == ["ended"] * 8
    assert status["driver"] is None


def logged(lab: Lab, name: str) -> dict[int, Run]:
    """The runs of a sweep's trials as MLflow's client reads them, by number."""
    client = MlflowClient(tracking_uri=f"sqlite:///{lab.folder}/shared/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {int(run.data.tags["trial.number"]): run for run in found if "mlflow.parentRunId" in run.data.tags}


def records(lab: Lab, name: str, number: int) -> int:
    """How many records a trial has written; the first is its start, each further one a report or its end."""
    return len(list((lab.folder / "shared" / name / "trials" / str(number) / "spool").glob("*.json")))


def test_a_host_that_loses_power_costs_time_only(
    lab: Lab, up: None, ray: Callable[..., Running], times: dict[str, float]
) -> None:
    """Its trials go on elsewhere from their checkpoints, and all end."""
    sweep = ray("submit", "cluster.yaml", "sweeps/mnist.py", "--name", "fault", "--trials", "8", "--budget", "180")
    wait_for(lambda: all(records(lab, "fault", number) > 1 for number in range(6)), "a report of each of six trials")
    lost = lab.hosts[-1]
    wait_for(lost.trains, "a trial on the host")
    cut = time.monotonic()
    lost.cut_power()
    line = re.compile(r"trial (\d+) is trained again from its last checkpoint")
    wait_for(lambda: line.search(sweep.out) is not None or sweep.process.poll() is not None, "a trial that goes on")
    times["power cut, to the driver's notice"] = time.monotonic() - cut
    found = line.search(sweep.out)
    assert found is not None, sweep.out
    number = int(found.group(1))
    before = records(lab, "fault", number)
    wait_for(lambda: records(lab, "fault", number) > before, "its next report")
    times["power cut, to the trial's next report"] = time.monotonic() - cut
    sweep.succeeded()
    times["power cut, to the sweep's end"] = time.monotonic() - cut
    assert sorted(logged(lab, "fault")) == list(range(8))
