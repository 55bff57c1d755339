"""`sweeps doctor` on this machine alone, on a cluster that is well, and on one where something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shlex
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET

import psutil
import pytest
import ray
from mlflow.server.security_utils import INVALID_HOST_MSG

from sweeps.cli import main
from sweeps.engine.doctor.check import Check, failed, ok, require, warning
from sweeps.engine.doctor.cluster import check_dashboard, check_token
from sweeps.engine.doctor.machine import ObservedMachine, check_machines, look, skews
from sweeps.engine.doctor.study import check_study
from sweeps.engine.doctor.tracking import check_tracking
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.uri import shown
from sweeps.engine.study.study import Study
from tests.sweeps.clusters import free_ports, head
from tests.sweeps.processes import Running, Surroundings
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

Found = dict[str, list[dict[str, str]]]


def found(run: Running, status: int) -> Found:
    """What a run with --json found, by what it looked at."""
    run.wait()
    assert run.process.returncode == status, run.out + run.err
    assert "Traceback" not in run.err
    checks: Found = {}
    for each in json.loads(run.out):
        assert set(each) == {"what", "state", "found", "remedy"}
        assert each["state"] in ("ok", "warning", "failed")
        assert bool(each["remedy"]) == (each["state"] != "ok")
        checks.setdefault(each["what"], []).append(each)
    return checks


def states(found: Found) -> dict[str, set[str]]:
    return {what: {check["state"] for check in checks} for what, checks in found.items()}


@dataclass(frozen=True)
class Cluster:
    env: dict[str, str]
    apart: Running


@pytest.fixture(scope="module")
def cluster(surroundings: Surroundings) -> Cluster:
    """A head that declares GPUs which are not there, and a node that does not see the storage `apart`."""
    first = head(surroundings, "--num-cpus", "1", "--num-gpus", "64")
    apart = surroundings.home / "apart"
    apart.mkdir()
    # In a mount namespace of its own, whose `apart` is another folder.
    hide = ("unshare", "--mount", "bash", "-c", f'mount -t tmpfs tmpfs {shlex.quote(str(apart))} && exec "$@"', "-")
    return Cluster(first.env, first.add("127.0.0.2", "--num-cpus", "0", prefix=hide))


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs_server: a node with a view of its own of the files needs root and util-linux",
)


def doctor(around: Surroundings, storage: Path, *options: str, **env: str) -> Running:
    return around.sweeps("doctor", "--json", "--storage", storage, *options, **env)


@needs_root
def test_a_cluster(cluster: Cluster, surroundings: Surroundings, tmp_path: Path) -> None:
    """All is well but the GPUs that are declared and not there; what was written to the storage is gone again."""
    checks = found(doctor(surroundings, tmp_path, **cluster.env), 1)
    assert {what for what, state in states(checks).items() if "failed" in state} == {"gpus"}
    assert {"ray", "token", "dashboard", "session", "versions", "clock", "storage", "tracking", "study"} <= {
        what for what, state in states(checks).items() if state == {"ok"}
    }
    (gpus,) = [check for check in checks["gpus"] if check["state"] == "failed"]
    assert "Ray declares 64, torch " in gpus["found"]
    assert "all 2 nodes" in checks["versions"][0]["found"]
    assert "all 2 nodes" in checks["storage"][0]["found"]
    assert not list(tmp_path.iterdir())


@needs_root
def test_a_node_that_does_not_see_the_storage(cluster: Cluster, surroundings: Surroundings) -> None:
    """Nor is the tracking server there, whose password is not shown; and nothing is left on either side."""
    apart = surroundings.home / "apart"
    gone = f"http://sweeper:hidden@127.0.0.1:{free_ports(1)[0]}"
    checks = found(doctor(surroundings, apart, "--tracking-uri", gone, **cluster.env), 1)
    (storage,) = [check for check in checks["storage"] if check["state"] == "failed"]
    assert "(127.0.0.2) does not see what is in " in storage["found"]
    assert states(checks)["tracking"] == {"failed"}
    assert "hidden" not in json.dumps(checks)
    assert "sweeper:***@127.0.0.1" in checks["tracking"][0]["found"]
    assert not list(apart.iterdir())
    assert not list(Path(f"/proc/{cluster.apart.process.pid}/root{apart}").iterdir())


@needs_root
def test_another_token(cluster: Cluster, surroundings: Surroundings) -> None:
    """The cluster's refusal is told, and the rest is looked at on this machine; a storage that cannot be written."""
    token = secrets.token_hex(32)
    checks = found(doctor(surroundings, Path("/proc/sweeps"), **cluster.env | {"RAY_AUTH_TOKEN": token}), 1)
    assert states(checks)["ray"] == states(checks)["storage"] == {"failed"}
    assert "wants its token and was given another or none" in checks["ray"][0]["found"]
    assert "RAY_AUTH_TOKEN" in checks["ray"][0]["remedy"]
    assert "/proc/sweeps cannot be written from here" in checks["storage"][0]["found"]
    assert token not in json.dumps(checks)


def test_this_machine_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each check, and nothing is started or left behind."""
    for name in ("WGAN_STUDY_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    # Not below this test's folder, whose path is too long for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        assert main(["doctor", "--storage", str(tmp_path / "storage")]) == 0
        assert not list(Path(folder).iterdir())
    lines = capsys.readouterr().out.splitlines()
    assert "this machine alone" in lines[0]
    assert all(line.split()[0] in ("ok", "warning") for line in lines)
    assert {line.split()[1] for line in lines} == {
        *("ray", "versions", "local", "token", "storage", "gpus", "disk", "shm", "files", "tracking", "study")
    }
    assert not ray.is_initialized()
    assert not list((tmp_path / "storage").iterdir())


def test_machines_that_are_short_of_something() -> None:
    """Next to one that is not, each has a line of its own."""
    well = dataclasses.replace(look(), free=50, size=100, shared_memory=10, files=65536, gpus=["G", "G"], driver="1")
    short = {
        "full": dataclasses.replace(well, free=4),
        "filling": dataclasses.replace(well, free=8),
        "shm": dataclasses.replace(well, shared_memory=5),
        "files": dataclasses.replace(well, files=1024),
        "blind": dataclasses.replace(well, gpus=["G"]),
        "idle": dataclasses.replace(well, gpus=["G", "G", "G"]),
    }
    machines = [ObservedMachine(name, machine, 2.0, 8.0) for name, machine in ({"well": well} | short).items()]
    worse = {check.found.partition(":")[0]: (check.what, check.state) for check in check_machines(machines)}
    assert {name: worse[name] for name in short} == {
        "full": ("disk", "failed"),
        "filling": ("disk", "warning"),
        "shm": ("shm", "warning"),
        "files": ("files", "warning"),
        "blind": ("gpus", "failed"),
        "idle": ("gpus", "warning"),
    }
    assert worse["well"] == ("gpus", "ok")


@pytest.mark.parametrize(
    ("skew", "wrong", "state"),
    [(0.2, 0.01, "ok"), (-1.5, 0.1, "warning"), (1.5, 0.8, "ok"), (31.0, 0.1, "failed"), (-31.0, 2.0, "warning")],
)
def test_a_clock_counts_by_how_much_it_is_surely_off(skew: float, wrong: float, state: str) -> None:
    (check,) = skews({"node": (skew, wrong)})
    assert check.state == state


def test_a_cluster_without_a_token_and_a_dashboard_for_all() -> None:
    """Anyone may run code there: whoever reaches the nodes, or the dashboard's port on an address of the machine."""
    open_node = ObservedMachine("node", dataclasses.replace(look(), auth_mode=""))
    (check,) = check_token([open_node])
    assert check.state == "warning"
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        addresses = [each.address for some in psutil.net_if_addrs().values() for each in some if each.family == AF_INET]
        others = [address for address in addresses if not address.startswith("127.")]
        (check,) = check_dashboard(f"127.0.0.1:{port}", others)
        assert check.state == ("warning" if others else "ok")
        (check,) = check_dashboard(f"127.0.0.1:{port}", [])
        assert check.state == "ok"


def test_the_searchs_database(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    """There with tables of this Optuna, empty, of another version, no database at all, and not reachable."""
    folder = Folder.at(tmp_path)

    def checked(url: str | None) -> Check:
        (check,) = check_study(url, folder)
        return check

    file = tmp_path / "study.db"
    assert checked(None).state == checked(f"sqlite:///{file}").state == "ok"
    assert not file.exists()
    Study(make_plan(), f"sqlite:///{file}", "s")
    assert "1 sweeps" in checked(f"sqlite:///{file}").found
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    assert checked(f"sqlite:///{file}").state == "failed"
    file.write_text("no database" * 100)
    assert checked(f"sqlite:///{file}").state == "failed"
    away = checked(f"postgresql+psycopg://me:hidden@127.0.0.1:{free_ports(1)[0]}/sweeps")
    assert away.state == "failed"
    assert "me:***@" in away.found
    assert "hidden" not in f"{away}"


def test_a_tracking_file(tmp_path: Path) -> None:
    """Not there yet, and one that is not MLflow's."""
    folder = Folder.at(tmp_path)
    (absent,) = check_tracking(None, folder)
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    (other,) = check_tracking(None, folder)
    assert (absent.state, other.state) == ("ok", "failed")


def test_the_database_that_was_checked_is_the_one_that_is_opened(tmp_path: Path) -> None:
    """In a URI of SQLite, `%41` would be an A."""
    for name, experiments in (("%41", 1), ("A", 7)):
        (tmp_path / name).mkdir()
        with closing(sqlite3.connect(tmp_path / name / "mlflow.db")) as database, database:
            database.execute("CREATE TABLE experiments (name TEXT)")
            database.executemany("INSERT INTO experiments VALUES (?)", [("x",)] * experiments)
    (check,) = check_tracking(None, Folder.at(tmp_path / "%41"))
    assert check.found.endswith(", 1 experiments")


def test_a_tracking_file_that_cannot_be_made(tmp_path: Path) -> None:
    """The doctor says so before a sweep does; root may write everywhere but to /proc."""
    (check,) = check_tracking("sqlite:////proc/self/mlflow.db", Folder.at(tmp_path))
    assert check.state == "failed"
    assert "/proc/self/mlflow.db cannot be written" in check.found


def test_a_sweep_starts_with_warnings_and_not_with_failures() -> None:
    passed = [*ok("disk", "there is room"), *warning("clock", "1.5 s behind", "set it")]
    require("all must be well", passed)
    worse = [check for name in "abcde" for check in failed("versions", f"{name} has numpy 1.0", "install it again")]
    said = "all must be well; a has numpy 1.0; b has numpy 1.0; c has numpy 1.0; and 2 more nodes: install it again"
    with pytest.raises(UserError, match=f"^{said}$"):
        require("all must be well", [*passed, *worse])


@pytest.mark.parametrize(
    ("answer", "body", "found", "remedy"),
    [
        (401, "who are you?", "refuses user 'me' of MLFLOW_TRACKING_USERNAME", "~/.mlflow/credentials"),
        (403, INVALID_HOST_MSG, "knows itself by another name", "--allowed-hosts"),
        (500, "out of order", "500", "--tracking-uri"),
    ],
)
def test_a_tracking_server_that_refuses(
    answer: int, body: str, found: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For want of a password, for the name by which it is called, and for another reason."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else answer)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (check,) = check_tracking(f"http://127.0.0.1:{server.server_port}", Folder.at(tmp_path))
        server.shutdown()
    assert check.state == "failed"
    assert found in check.found
    assert remedy in check.remedy
    assert "hidden" not in f"{check}"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("https://me:a@mlflow.example/api", "https://me:***@mlflow.example/api"),
        (
            "postgresql://h/db?user=me&password=p%40w&sslmode=require",
            "postgresql://h/db?user=me&password=***&sslmode=require",
        ),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_no_password_is_shown(uri: str, said: str) -> None:
    assert shown(uri) == said
