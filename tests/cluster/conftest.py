"""A cluster of three hosts that `ray up` has made of `cluster/ssh.yaml`, with a tracking server on its head.

Shortened: a host's environment starts from a copy of the one the tests run in, so that pip finds every pinned package
there, as hosts have no way out to fetch one. MNIST is in the head's cache.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import HOME, SHARED, USER, Lab, inhabited, laboratory, missing
from tests.cluster.submitted import BIN, HOSTS, PAUSE_S, SUBMIT, Secrets, Submitted, watched
from tests.cluster.test_templates import filled, text_of
from tests.sweeps.conftest import joined, make_plan, shared_ray, small_data, surroundings
from tests.sweeps.processes import ROOT, Running, wait_for
from tests.sweeps.stored import Stored
from wgan_core.cache import cache_folder
from wgan_core.data.mnist import CACHED, load_mnist

# Of the sweeps' tests.
__all__ = ["joined", "make_plan", "shared_ray", "small_data", "surroundings"]

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
SERVER = f"{HOME}/tracking-server"
TRACKING, STUDIES = "http://127.0.0.1:5000", "postgresql+psycopg://sweeps@127.0.0.1/sweeps"
PERSON = "me"

# As Debian sets a cluster up, but without a service manager, and quicker as nobody misses it after a power cut.
_DATABASE = """
set -e
export PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
install -d -o postgres /run/postgresql /srv/head/database
cd /srv/head/database
runuser -u postgres -- initdb --no-sync --auth-local=peer --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 data
runuser -u postgres -- pg_ctl -D data -l log -w -o '-c listen_addresses=127.0.0.1 -c fsync=off' start
"""

_SERVER = f"""
set -e
. ~/.profile
cd ~/checkout
export PYTHON={HOME}/wgan-cluster/venv/bin/python MLFLOW_WORKERS=1
$PYTHON -m pip install --quiet --no-compile -r cluster/mlflow/requirements.txt
cluster/mlflow/setup {SERVER}
cluster/mlflow/account {SERVER} {PERSON}
setsid nohup cluster/mlflow/serve {SERVER} </dev/null >{SERVER}/log 2>&1 &
"""


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """Three hosts and a launcher with a checkout, in which the template is filled in for them."""
    if wanting := missing():
        pytest.skip(f"needs_server: three hosts need {', '.join(wanting)}; CONTRIBUTING.md says which packages")
    load_mnist()
    with laboratory() as made:
        _check_out(made.folder / "launcher" / "checkout")
        for name in HOSTS:
            _settle(made.add(name).home)
        head = made.hosts[0].home / ".cache" / "wgan-sweeps"
        head.mkdir(parents=True)
        shutil.copy(cache_folder() / CACHED, head)
        yield made
        spaces = made.spaces()
    assert spaces
    assert not spaces & inhabited(), "a process is left in a namespace of the hosts"
    assert str(made.folder) not in Path("/proc/self/mounts").read_text()
    assert not made.folder.exists()
    names = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.split()
    assert not {*HOSTS} & {*names}


def _check_out(folder: Path) -> None:
    """What the launcher needs of the repository, with a wheel in dist."""
    for name in ("pyproject.toml", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("wgan_core", "sweeps", "cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "dist", folder]
    subprocess.run([*PIP, *build], check=True)


def _settle(home: Path) -> None:
    """A host's pip looks for packages nowhere else."""
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\n")


@pytest.fixture(scope="package")
def ray(lab: Lab) -> Callable[..., Running]:
    """`ray` at the launcher."""

    def run(*arguments: str) -> Running:
        return lab.launch(BIN / "ray", *arguments, RAY_UP_enable_autoscaler_v2="0", RAY_USAGE_STATS_ENABLED="0")

    return run


@pytest.fixture(scope="package")
def times(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    """Seconds that each step took; printed at the end."""
    taken: dict[str, float] = {}
    yield taken
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(f"{what:<60} {seconds:6.1f} s" for what, seconds in taken.items()))


@pytest.fixture(scope="package")
def server(lab: Lab, times: dict[str, float]) -> Iterator[Secrets]:
    """PostgreSQL and MLflow's tracking server on the head, which listen there alone; command lines are watched."""
    began = time.monotonic()
    head = lab.hosts[0]
    shutil.copytree(lab.folder / "launcher" / "checkout", head.home / "checkout", ignore=shutil.ignore_patterns("dist"))
    head.ssh(_DATABASE)
    head.ssh(_SERVER)
    times["PostgreSQL and the tracking server"] = time.monotonic() - began
    secrets = Secrets(_passwords(head.home / "tracking-server"), set())
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PAUSE_S):
            for pid in psutil.pids():
                with suppress(OSError):
                    secrets.seen.update(secrets.found_in(Path(f"/proc/{pid}/cmdline").read_text(errors="replace")))

    watching = threading.Thread(target=watch)
    watching.start()
    yield secrets
    done.set()
    watching.join()


def _passwords(folder: Path) -> dict[str, str]:
    found = {}
    for line in (folder / "pgpass").read_text().splitlines():
        _, _, _, role, found[role] = line.split(":")
    for line in (folder / "server.env").read_text().splitlines():
        name, _, value = line.partition("=")
        if re.search("KEY|PASSWORD", name):
            found[name] = value
    credentials = (folder / "accounts" / PERSON / "credentials").read_text()
    found[PERSON] = credentials.split("mlflow_tracking_password = ")[1].strip()
    assert len(found) == 6
    return found


@pytest.fixture(scope="package")
def up(lab: Lab, server: Secrets, ray: Callable[..., Running], times: dict[str, float]) -> Iterator[None]:
    """A cluster of the three hosts; taken down at the end."""
    head, *workers = [host.address for host in lab.hosts]
    file = lab.folder / "launcher" / "checkout" / "cluster.yaml"
    file.write_text(text_of("ssh"), encoding="utf-8")

    def check() -> Running:
        return lab.launch(sys.executable, "-m", "sweeps.cli", "check-cluster", "cluster.yaml")

    check().refused("provider.head_ip")
    file.write_text(
        _with_servers(filled("ssh", own=(head, f"[{', '.join(workers)}]", USER, "/srv/key", SHARED))), encoding="utf-8"
    )
    check().refused("ray get-auth-token --generate")
    ray("get-auth-token", "--generate").succeeded()
    check().refused("(umask 077; ray get-auth-token --generate)")  # Ray lets everyone read it
    (lab.folder / "launcher" / ".ray" / "auth_token").unlink()
    lab.launch("bash", "-c", f"umask 077; exec {BIN}/ray get-auth-token --generate").succeeded()
    check().refused("run export TMPDIR=/srv/launcher/.cache/wgan-sweeps/ray")  # makes the folder that `launch` names
    check().succeeded()
    began = time.monotonic()
    ray("up", "-y", "cluster.yaml").succeeded()
    times["ray up: the head"] = time.monotonic() - began
    _bring_credentials(lab, ray)
    wait_for(lambda: all(host.running("raylet/raylet") for host in lab.hosts), "Ray on all hosts", pause_s=PAUSE_S)
    three = re.compile(r"Active:\s+3 local\.cluster\.node\s")
    wait_for(lambda: three.search(ray("exec", "cluster.yaml", "ray status").wait().out) is not None, "three nodes")
    times["ray up: all nodes"] = time.monotonic() - began
    yield
    began = time.monotonic()
    ray("down", "-y", "cluster.yaml").succeeded()
    times["ray down"] = time.monotonic() - began


def _with_servers(text: str) -> str:
    """The template with its lines about servers in force, which name those on the head."""
    for name, value in (("MLFLOW_TRACKING_URI", TRACKING), ("WGAN_STUDY_STORAGE", STUDIES)):
        text, count = re.subn(rf"# (- echo 'export {name}=)[^']+", rf"\g<1>{value}", text)
        assert count == 1
    return text


def _bring_credentials(lab: Lab, ray: Callable[..., Running]) -> None:
    """From the files that whoever runs the server has handed over, as docs/cluster.md says."""
    given, home = lab.hosts[0].home / "tracking-server" / "accounts" / PERSON, lab.folder / "launcher"
    (home / ".mlflow").mkdir()
    shutil.copy(given / "credentials", home / ".mlflow")
    shutil.copy(given / "pgpass", home / ".pgpass")
    ray("rsync-up", "cluster.yaml", "/srv/launcher/.pgpass", "~/.pgpass").succeeded()
    ray("exec", "cluster.yaml", "mkdir -p ~/.mlflow").succeeded()
    ray("rsync-up", "cluster.yaml", "/srv/launcher/.mlflow/credentials", "~/.mlflow/credentials").succeeded()
    for name in (".pgpass", ".mlflow/credentials"):
        assert (lab.hosts[0].home / name).stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="package")
def stored_as(lab: Lab, server: Secrets) -> Iterator[Callable[[str], Stored]]:
    """What a sweep of this name stored: its folder, its study and its runs; to be read in the head's network."""
    studies = f"{STUDIES}?passfile={lab.hosts[0].home}/.pgpass"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", PERSON)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", server.of(PERSON))
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        yield lambda name: Stored(lab.folder / "shared", name, studies, TRACKING)


@pytest.fixture(scope="package")
def undisturbed(
    lab: Lab, up: None, ray: Callable[..., Running], times: dict[str, float], stored_as: Callable[[str], Stored]
) -> Submitted:
    """A sweep to which nothing happened."""
    began = time.monotonic()
    sweep = ray(*SUBMIT, "--name", "undisturbed")
    trained = watched(sweep, lab.hosts)
    sweep.succeeded()
    times["ray submit: 8 trials"] = time.monotonic() - began
    return Submitted(stored_as("undisturbed"), sweep, trained)
