"""Attacks by another user of the machine, and by what lies in the folder where a person happens to stand."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.engine.cluster.connection import running_cluster
from sweeps.engine.cluster.local import check_local
from sweeps.engine.cluster.note import ClusterNote, _foreign_listener, read_note
from sweeps.engine.doctor.sharing import check_note, check_own_ray, check_sessions, check_token_files, open_tokens
from sweeps.engine.doctor.storage import check_storage
from tests.sweeps.clusters import RAY, Head, free_ports
from tests.sweeps.conftest import blobs, write_images
from tests.sweeps.processes import Running, Surroundings, wait_for
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

NOBODY = 65534
SEEN = "open/seen"
IS_ROOT = os.geteuid() == 0

# A person's script, and a module beside it whose metric tells what a worker sees, and waits there.
SCRIPT = """
import sys

from mynets import METRIC
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.presets import WGAN_GP
from sweeps import run_script, run_sweep
from wgan_core.config import Structure
from wgan_core.data.images import load_images


def main():
    options = parse("mine", "", trials=1, budget=9)
    dataset = load_images(options.data)
    run_sweep(options, dataset, Structure("mlp", dataset.sample_shape), WGAN_GP, metrics=[METRIC])


if __name__ == "__main__":
    sys.exit(run_script(main))
"""
MODULE = """
import importlib.util, json, os, sys, time
from pathlib import Path

from wgan_core.metrics.own import OwnMetric

PLACE = Path({place!r})


def distance(real, fake):
    if "RAY_RAYLET_PID" in os.environ and not (PLACE / "worker.json").exists():
        origins = {{name: importlib.util.find_spec(name).origin for name in {planted!r}}}
        seen = {{"path": sys.path, "module": __file__, "origins": origins, "umask": os.umask(0o22)}}
        os.umask(seen["umask"])
        (PLACE / "worker.part").write_text(json.dumps(seen))
        (PLACE / "worker.part").rename(PLACE / "worker.json")
        while not (PLACE / "go").exists():
            time.sleep(0.05)
    return float((real.mean(0) - fake.mean(0)).square().sum())


METRIC = OwnMetric("distance", distance, "distance of means")
"""
# Modules that a worker imports, some of them late.
PLANTED = ("numpy", "optuna", "sweeps", "wgan_core", "torch", "mlflow", "psutil")


@dataclass(frozen=True)
class Place:
    """A script in a folder of its own, and a folder where its user stands, full of traps."""

    folder: Path
    script: Path
    standing: Path

    def sprung(self) -> list[str]:
        """The traps that ran."""
        return sorted(each.name for each in self.folder.glob("ran-*"))

    def worker(self) -> dict[str, Any]:
        return json.loads((self.folder / "worker.json").read_text())

    def assert_safe(self, module: Path | None = None) -> None:
        """No trap ran, and none could have; the module beside the script was found."""
        seen = self.worker()
        assert self.sprung() == []
        assert str(self.standing) not in seen["path"]
        assert not [origin for origin in seen["origins"].values() if Path(origin).is_relative_to(self.standing)]
        if module is not None:
            assert Path(seen["module"]) == module


def make_place(folder: Path) -> Place:
    place = Place(folder, folder / "script" / "mine.py", folder / "standing")
    for each in (place.script.parent, place.standing):
        each.mkdir(parents=True)
    place.script.write_text(SCRIPT)
    (place.script.parent / "mynets.py").write_text(MODULE.format(place=str(folder), planted=PLANTED))
    for name in PLANTED:
        (place.standing / f"{name}.py").write_text(f"open({str(folder / f'ran-{name}')!r}, 'w')\n")
    return place


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "blobs.parquet", blobs(400, seed=0))


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A temporary folder as all users of a machine share it."""
    folder = Path(tempfile.mkdtemp(prefix="shared"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Observed:
    """What another user could find out of a local sweep while it ran, and what it left.

    Attributes:
        listens: address and port of each socket of its processes that takes connections or packets, and its process.
        sockets: paths of its Unix sockets.
        entries: what lay in the shared temporary folder, by path, with its mode.
        reached: what another user's `find` found there, below what it may see; None if this user is not root.
        refused: whether a client with another token, without one, and with the right one was refused.
        answers: what its servers that speak HTTP answered to a stranger's request to run code.
        memory: modes of its files in shared memory.
        left: what lay in the shared temporary folder after its end.
    """

    place: Place
    ran: Running
    listens: list[tuple[str, int, str]]
    sockets: list[str]
    entries: dict[str, int]
    reached: list[str] | None
    answered: dict[str, str]
    answers: dict[int, int]
    memory: list[int]
    left: list[str]


@pytest.fixture(scope="module")
def observed(
    surroundings: Surroundings, data: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Observed:
    place = make_place(tmp_path_factory.mktemp("place"))
    storage = tmp_path_factory.mktemp("storage")
    options = ("--smoke", "--data", data, "--storage", storage, "--max-concurrent", "1")
    token = surroundings.home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o644)
    ran = surroundings.start(sys.executable, place.script, *options, cwd=place.standing, RAY_TMPDIR=str(shared))
    wait_for(lambda: (place.folder / "worker.json").exists() or ran.process.poll() is not None, "a worker")
    assert ran.process.poll() is None, ran.out + ran.err
    processes = [psutil.Process(ran.process.pid), *ran.descendants()]
    listens = [each for process in processes for each in listening(process)]
    (gcs,) = [port for _, port, command in listens if "gcs_server" in command]
    # HTTP's are those of Ray's agents; to ask a gRPC server only breaks the connection.
    answers = {port: answer for _, port, command in listens if (answer := asked_to_run(port)) is not None}
    seen = Observed(
        place,
        ran,
        listens,
        sorted({path for process in processes for path in unix_sockets(process)}),
        {str(each.relative_to(shared)): each.lstat().st_mode for each in shared.rglob("*")},
        reached_by_another(shared) if IS_ROOT else None,
        {
            "nothing": answer_to(gcs, "disabled", ""),
            "another token": answer_to(gcs, "token", "0" * 64),
            "the token alone": answer_to(gcs, "token", token_of(processes)),
            "the certificate alone": answer_to(gcs, "token", "0" * 64, certificates_of(processes)),
            "both": answer_to(gcs, "token", token_of(processes), certificates_of(processes)),
        },
        answers,
        [mode for process in processes for mode in memory_modes(process)],
        [],
    )
    (place.folder / "go").touch()
    ran.succeeded()
    seen.left.extend(each.name for each in shared.iterdir())
    return seen


def listening(process: psutil.Process) -> list[tuple[str, int, str]]:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        command = " ".join(process.cmdline())
        return [
            (each.laddr.ip, each.laddr.port, command)
            for each in process.net_connections("inet")
            if each.status == psutil.CONN_LISTEN or (each.type == socket.SOCK_DGRAM and not each.raddr)
        ]
    return []


def unix_sockets(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return [each.laddr for each in process.net_connections("unix") if each.laddr]
    return []


def memory_modes(process: psutil.Process) -> list[int]:
    with suppress(OSError):
        files = Path(f"/proc/{process.pid}/fd").iterdir()
        return [each.stat().st_mode for each in files if os.readlink(each).startswith("/dev/shm/plasma")]
    return []


def reached_by_another(folder: Path) -> list[str]:
    """What another user's `find` sees below the folders in a folder; among it a file that is there to be seen."""
    (folder / SEEN).parent.mkdir(mode=0o755)
    (folder / SEEN).touch()
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "find", str(folder), "-mindepth"]
    found = subprocess.run([*command, "2"], capture_output=True, text=True, timeout=60, check=False).stdout.split()
    shutil.rmtree((folder / SEEN).parent)
    return found


def token_of(processes: list[psutil.Process]) -> str:
    tokens = set()
    for each in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            tokens.add(each.environ().get("RAY_AUTH_TOKEN", ""))
    return "".join(tokens)  # one, and those without


def certificates_of(processes: list[psutil.Process]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            own = each.environ()
            found |= {key: own[key] for key in own if key.startswith(("RAY_TLS_", "RAY_USE_TLS"))}
    return found


CLIENT = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError, RayError
try:
    GcsClient(address=sys.argv[1], cluster_id="11" * 28).internal_kv_get(b"", None, timeout=10)
except AuthenticationError as error:
    print("in" if "WrongClusterID" in str(error) else "refused")
except RayError:
    print("unreachable")
"""


def answer_to(port: int, mode: str, token: str, certificates: Mapping[str, str] | None = None) -> str:
    """Whether a client is let "in", is "refused" for its token, or finds the server "unreachable"."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token, **(certificates or {})}
    # Without a certificate, Ray's client tries again, and then ends its process.
    env |= {"RAY_gcs_rpc_server_connect_timeout_s": "3", "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    command = [sys.executable, "-c", CLIENT, f"127.0.0.1:{port}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    if "Failed to connect to GCS" in done.stderr:
        return "unreachable"
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said[-1] in ("in", "refused", "unreachable")
    return said[-1]


def asked_to_run(port: int) -> int | None:
    """The status that a server on this machine's loopback gives a stranger; None if it does not speak HTTP."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/get_or_create_runtime_env", b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except Exception:  # whatever a server of another protocol leads to
        return None


@pytest.mark.slow
def test_a_local_ray_listens_on_the_loopback_alone(observed: Observed) -> None:
    commands = " ".join(command for _, _, command in observed.listens)
    for part in ("gcs_server", "raylet", "RuntimeEnvAgent", "ray::"):
        assert part in commands
    assert [each for each in observed.listens if not is_loopback(each[0])] == []
    (line,) = [line for line in observed.ran.out.splitlines() if line.startswith("Ray listens on ")]
    assert re.match(r"Ray listens on 127\.0\.0\.1 alone, for this user alone, with its files in /", line)


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@pytest.mark.slow
def test_no_file_of_a_local_ray_is_open_to_others(observed: Observed, shared: Path) -> None:
    """They lie in one folder that nobody else may enter; sockets and shared memory too."""
    tops = {name: mode for name, mode in observed.entries.items() if "/" not in name}
    assert len(tops) == 1
    assert {stat.S_IMODE(mode) for mode in tops.values()} == {0o700}
    assert any("sockets/raylet" in name for name in observed.entries)
    assert observed.reached in (None, [str(shared / SEEN)])
    assert observed.sockets
    (top,) = tops
    assert [path for path in observed.sockets if not path.startswith(str(shared / top))] == []
    assert observed.memory
    assert {stat.S_IMODE(mode) for mode in observed.memory} == {0o600}
    assert observed.left == []


@pytest.mark.slow
def test_a_client_without_the_token_is_refused(observed: Observed, surroundings: Surroundings) -> None:
    """The token is none that others can read; Ray's servers that speak HTTP refuse a stranger too."""
    assert observed.answered == {
        "nothing": "unreachable",
        "another token": "unreachable",
        "the token alone": "unreachable",
        "the certificate alone": "refused",
        "both": "in",
    }
    assert (surroundings.home / ".ray" / "auth_token").read_text() == "0" * 64
    assert 401 in observed.answers.values()
    # Of metrics, which can be read and nothing more.
    assert set(observed.answers.values()) <= {401, 404, 405, 200}


@pytest.mark.slow
def test_a_worker_imports_from_the_scripts_folder_and_not_from_where_the_person_stands(observed: Observed) -> None:
    observed.place.assert_safe(observed.place.script.parent / "mynets.py")


@pytest.mark.slow
def test_workers_have_the_persons_umask(observed: Observed) -> None:
    """Else colleagues could not read what a worker writes to a storage that they share."""
    assert observed.place.worker()["umask"] == os.umask(0o22)


TWICE = """
import os, sys
import ray
from sweeps.engine.cluster.connection import joined

@ray.remote
def token():
    return os.environ.get("RAY_AUTH_TOKEN")

tokens = []
for given in (None, "f" * 64):
    if given:
        os.environ["RAY_AUTH_TOKEN"] = given
    before = dict(os.environ)
    with joined(""):
        tokens.append(ray.get(token.remote()))
    assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
assert len(tokens[0]) == 64 and tokens[0] not in ("0" * 64, "f" * 64)
assert tokens[1] == "f" * 64
"""


@pytest.mark.slow
def test_the_environment_is_as_it_was_and_a_token_of_the_persons_is_taken(
    surroundings: Surroundings, tmp_path: Path
) -> None:
    """One after another in one process, with authentication switched off by whoever has a cluster without."""
    surroundings.start(sys.executable, "-c", TWICE, cwd=tmp_path, RAY_AUTH_MODE="disabled").succeeded()


@pytest.mark.slow
def test_the_same_on_a_cluster_that_is_joined(joined: Surroundings, data: Path, tmp_path: Path) -> None:
    place = make_place(tmp_path / "place")
    (place.folder / "go").touch()
    options = ("--smoke", "--data", data, "--storage", tmp_path / "storage")
    ran = joined.start(sys.executable, place.script, *options, cwd=place.standing).succeeded()
    place.assert_safe(place.script.parent / "mynets.py")
    assert "Ray listens on" not in ran.out


@pytest.mark.slow
@pytest.mark.needs_server
def test_the_same_for_a_job_with_a_working_folder(shared_ray: Head, data: Path, tmp_path: Path) -> None:
    """Ray brings that folder to each node, where its modules are found."""
    pytest.importorskip("aiohttp_cors", reason="needs_server: jobs need ray[default]")
    place = make_place(tmp_path / "place")
    (place.folder / "go").touch()
    options = ("--smoke", "--data", data, "--storage", tmp_path / "storage")
    address = ("--address", f"http://{shared_ray.dashboard}")
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": shared_ray.env["RAY_AUTH_TOKEN"]}
    command = (RAY, "job", "submit", *address, "--working-dir", place.script.parent, "--", "python", "mine.py")
    ran = shared_ray.surroundings.start(*command, *map(str, options), cwd=place.standing, **env).succeeded()
    assert "best checkpoint" in ran.out
    place.assert_safe()
    assert "working_dir_files" in place.worker()["module"]


FOLDERS = "import json; from sweeps.engine.cluster.imports import script_folders; print(json.dumps(script_folders()))"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("other/script.py",), "other"),
        (("-m", "script"), "."),
        (("-m", "package.script"), "."),
        (("-c", FOLDERS), None),
    ],
)
def test_the_folder_of_the_script(arguments: tuple[str, ...], expected: str | None, tmp_path: Path) -> None:
    """With `-m` the folder of the outermost package; none for packages that are installed, and in a notebook."""
    for name in ("script.py", "other/script.py", "package/script.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FOLDERS)
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == ([] if expected is None else [str((tmp_path / expected).resolve())])


def test_the_command_does_not_import_from_the_current_folder(tmp_path: Path, surroundings: Surroundings) -> None:
    place = make_place(tmp_path / "place")
    command = (Path(sys.executable).parent / "sweeps", "doctor", "--storage", tmp_path / "storage")
    surroundings.start(*command, cwd=place.standing).succeeded()
    assert place.sprung() == []


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for Ray's files, which others may see, with a note that may be followed; nothing listens there."""
    folder = Path(tempfile.mkdtemp(prefix="temp"))
    folder.chmod(0o1777)
    (folder / "ray").mkdir()
    (folder / "ray").chmod(0o777)  # as Ray makes it
    note = folder / "ray" / "ray_current_cluster"
    note.write_text(f"127.0.0.1:{free_ports(1)[0]}")
    note.chmod(0o644)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def give_to_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file another user's; who is not root becomes another user instead."""
    if IS_ROOT:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)


def note_of(folder: Path) -> Path:
    return folder / "ray" / "ray_current_cluster"


def link(note: Path) -> None:
    note.rename(note.with_name("elsewhere"))
    note.symlink_to("elsewhere")


def pipe(note: Path) -> None:
    note.unlink()
    os.mkfifo(note, 0o644)


def folder(note: Path) -> None:
    note.unlink()
    note.mkdir(mode=0o755)


def unix_socket(note: Path) -> None:
    note.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(note))


PLANTS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "of another user": (lambda temp, patch: give_to_another(note_of(temp), patch), "it belongs to "),
    "in another's folder": (lambda temp, patch: give_to_another(temp / "ray", patch), "belongs to "),
    "open to others": (lambda temp, _: note_of(temp).chmod(0o666), "others may write to it (mode 666)"),
    "a link": (lambda temp, _: link(note_of(temp)), "it cannot be read"),
    "a pipe": (lambda temp, _: pipe(note_of(temp)), "it is no file"),
    "a folder": (lambda temp, _: folder(note_of(temp)), "it is no file"),
    "a socket": (lambda temp, _: unix_socket(note_of(temp)), "it cannot be read"),
    "in a folder that is not sticky": (lambda temp, _: temp.chmod(0o777), "others may write to "),
    "no address": (
        lambda temp, _: note_of(temp).write_text("\x1b[2Jray://a:1") and None,
        "it says \\x1b[2Jray://a:1, which is no",
    ),
}


@contextmanager
def ours(port: int, folder: Path) -> Iterator[None]:
    """A process of this user that looks like the head of a cluster at a port."""
    program = Path(tempfile.mkdtemp(dir=folder)) / "gcs_server"
    program.write_text("#!/bin/sh\nexec 0<&-\nwhile :; do sleep 1; done\n")
    program.chmod(0o755)
    with subprocess.Popen([program, f"--gcs_server_port={port}"]) as process:
        try:
            wait_for(lambda: psutil.Process(process.pid).name() == "gcs_server", "the process")
            yield
        finally:
            process.kill()


def test_a_noted_cluster_without_a_process_is_not_joined(temp: Path) -> None:
    """Nor one that was killed. Whoever listens at the address now may be another user a moment later."""
    assert running_cluster(pytest.fail) == ""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        note_of(temp).write_text(f"127.0.0.1:{server.getsockname()[1]}")
        said: list[str] = []
        assert running_cluster(said.append) == ""
        assert "no Ray process of yours or of root's" in said[0]
        with ours(server.getsockname()[1], temp.parent):
            assert running_cluster() == note_of(temp).read_text()


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_note_of_a_cluster_is_ignored_and_told(
    plant: str, temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, by a sweep and by the doctor; the note of this user's own cluster is followed."""
    trusted = read_note()
    assert trusted is not None
    assert not trusted.distrust
    act, why = PLANTS[plant]
    with closing(socket.create_server(("127.0.0.1", 0))) as server, ours(server.getsockname()[1], temp.parent):
        note_of(temp).write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert running_cluster() == note_of(temp).read_text()
        with monkeypatch.context() as patch:
            patch.setenv("RAY_ADDRESS", "auto")
            assert running_cluster() == note_of(temp).read_text()
        act(temp, monkeypatch)
        said: list[str] = []
        assert running_cluster(said.append) == ""
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        with pytest.raises(UserError) as refused:
            running_cluster()
    assert str(refused.value).startswith("RAY_ADDRESS=auto needs a running cluster")
    assert why in str(refused.value)
    (line,) = said
    assert line.isprintable()
    assert why in line
    assert "is ignored, as " in line
    assert "set RAY_ADDRESS" in line
    (check,) = check_note()
    assert (check.state, why in check.found) == ("warning", True)


@pytest.mark.parametrize("plant", [folder, pipe, unix_socket, link])
def test_reading_a_planted_note_leaves_no_descriptor_open(plant: Callable[[Path], None], temp: Path) -> None:
    plant(note_of(temp))
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        assert read_note() is not None
    assert os.listdir("/proc/self/fd") == before


LISTENER = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(60)"


def test_another_user_who_listens_where_a_cluster_was_is_not_joined(
    temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note is this user's own; its cluster is gone."""
    (port,) = free_ports(1)
    note_of(temp).write_text(f"127.0.0.1:{port}")
    owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if IS_ROOT else {}
    # This interpreter may lie where that user does not come.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = [python, "-c", LISTENER.format(port=port)]
    other: Any = subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/", env={}, **owner)
    try:
        assert other.stdout.readline() == b"\n"
        if not IS_ROOT:
            me = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        assert f"listens at 127.0.0.1:{port}" in _foreign_listener(f"127.0.0.1:{port}")
        assert f"listens at localhost:{port}" in _foreign_listener(f"localhost:{port}")
        if IS_ROOT:
            note = read_note()
            assert note is not None
            assert "user " in note.distrust
            assert running_cluster() == ""
    finally:
        other.kill()
        other.wait()
    assert _foreign_listener(f"127.0.0.1:{port}") == ""


def test_a_folder_for_rays_files_that_others_may_change_is_refused(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose path is too long for sockets; the doctor says the same."""
    assert check_local() == temp
    assert [check.state for check in check_own_ray()] == ["ok"]
    temp.chmod(0o777)
    with pytest.raises(
        UserError, match=r"^the folder for Ray's files must be safe from other users; .*: set RAY_TMPDIR"
    ):
        check_local()
    (check,) = check_own_ray()
    assert (check.state, check.remedy) == ("failed", "set RAY_TMPDIR to a folder of your own")
    temp.chmod(0o700)
    monkeypatch.setenv("RAY_TMPDIR", str(temp / ("long" * 20)))
    with pytest.raises(UserError, match="must have at most 107 bytes"):
        check_local()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", str(temp / ("long" * 20)))
    assert check_local() == Path("/tmp")


def test_a_token_that_others_may_read_is_not_used_and_told(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = temp / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.touch()
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(temp / "home"))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    check_local()
    assert open_tokens() == []
    token.chmod(0o644)
    assert open_tokens() == [str(token)]
    with pytest.raises(UserError, match=r"others may read .*auth_token: chmod 600 it"):
        check_local()
    (check,) = check_token_files({"node": open_tokens()})
    assert (check.what, check.state) == ("token", "warning")
    # Nobody else comes to it there.
    (temp / "home").chmod(0o700)
    assert open_tokens() == []
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(temp / "nowhere"))
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH must name a file that is there"):
        check_local()


def test_the_doctor_warns_of_what_others_may_write_to(temp: Path) -> None:
    """The storage, and the files of a cluster's Ray."""
    storage = temp / "storage"
    storage.mkdir(mode=0o700)
    assert {check.state for check in check_storage(Folder.at(storage), ())} == {"ok"}
    storage.chmod(0o777)
    assert "warning" in {check.state for check in check_storage(Folder.at(storage), ())}
    assert [check.state for check in check_sessions({"well": ""})] == ["ok"]
    (check,) = check_sessions({"well": "", "open": "/tmp/ray/session"})
    assert (check.state, "open: other users may write to /tmp/ray/session" in check.found) == ("warning", True)


def test_a_note_says_why_it_is_ignored_in_one_line() -> None:
    line = ClusterNote(Path("/tmp/ray/ray_current_cluster"), "", "it belongs to mallory").line()
    assert line.count("\n") == 0
    assert line.startswith("the cluster noted in /tmp/ray/ray_current_cluster is ignored, as it belongs to mallory: ")
