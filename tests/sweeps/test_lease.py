"""The lease: one driver a sweep, and none that died keeps the next from starting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.engine.storage import lease as module
from sweeps.engine.storage.lease import FILE, STALE_S, Lease
from tests.sweeps.processes import wait_for
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

HOLD = """
import sys
from sweeps.engine.storage.lease import Lease
from wgan_core.data.folder import Folder
Lease(Folder.at(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path / "sweep")


@pytest.fixture
def other(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    command = [sys.executable, "-c", HOLD, folder.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.kill()


def content(folder: Folder) -> dict[str, object]:
    found: dict[str, object] = json.loads(folder.read(FILE))
    return found


def write(folder: Folder, **change: object) -> None:
    me = psutil.Process()
    held = {"session": "s", "host": "elsewhere", "place": "elsewhere", "pid": me.pid, "started": me.create_time()}
    folder.write(FILE, json.dumps({**held, "beat": time.time(), **change}).encode())


def test_held_and_released(folder: Folder) -> None:
    """It names this process while it is held, and is gone after."""
    lease = Lease(folder)
    lease.acquire()
    assert content(folder)["pid"] == os.getpid()
    assert content(folder)["session"] == lease.session
    lease.release()
    assert not folder.exists(FILE)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_sessions_differ(folder: Folder) -> None:
    assert Lease(folder).session != Lease(folder).session


def test_another_process_that_lives_is_respected(folder: Folder, other: subprocess.Popen[str]) -> None:
    """The line says which process, and nothing is taken from it."""
    before = content(folder)
    with pytest.raises(UserError, match=f"process {other.pid} on "):
        Lease(folder).acquire()
    assert content(folder)["session"] == before["session"]


def test_another_process_that_was_killed_is_not(folder: Folder, other: subprocess.Popen[str]) -> None:
    """At once: nobody waits for its sign of life to grow old."""
    other.kill()
    other.wait()
    lease = Lease(folder)
    lease.acquire()
    assert content(folder)["pid"] == os.getpid()
    lease.release()


def test_a_killed_process_that_nobody_has_buried_is_not(folder: Folder, other: subprocess.Popen[str]) -> None:
    """Where no parent asks for its exit status, as in many containers, a killed process stays in the table."""
    other.kill()
    wait_for(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE, "the process to be killed", 30)
    lease = Lease(folder)
    lease.acquire()
    lease.release()


def test_a_process_that_got_the_same_number_is_not_the_one(folder: Folder, other: subprocess.Popen[str]) -> None:
    write(folder, place=content(folder)["place"], pid=other.pid, started=1.0)
    lease = Lease(folder)
    lease.acquire()
    lease.release()


def test_another_host_is_known_by_its_signs_of_life(folder: Folder) -> None:
    write(folder)
    with pytest.raises(UserError, match="on elsewhere"):
        Lease(folder).acquire()
    write(folder, beat=time.time() - STALE_S - 1)
    lease = Lease(folder)
    lease.acquire()
    lease.release()


def test_a_lease_that_was_not_written_whole_holds_nothing(folder: Folder) -> None:
    for damaged in (b"", b"[]", b'{"pid": 1}'):
        folder.write(FILE, damaged)
        lease = Lease(folder)
        lease.acquire()
        lease.release()


def test_of_two_that_begin_at_once_one_gets_it(folder: Folder) -> None:
    """Both find no lease, and both write one."""
    command = [sys.executable, "-c", HOLD.replace("import sys", "import sys\nimport psutil\nsys.stdin.readline()", 1)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, folder.path], **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in both]
    for process in both:
        process.communicate()
    assert sorted(said) == ["", "held\n"]


def test_a_driver_that_lost_its_lease_is_interrupted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the other wrote stays."""
    # Where tests run side by side their processes ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    lease = Lease(folder)
    lease.acquire()
    write(folder)
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(30)
    signal.signal(signal.SIGINT, before)
    lease.release()
    assert content(folder)["session"] == "s"


def test_it_is_kept_fresh(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    lease = Lease(folder)
    lease.acquire()
    first = content(folder)["beat"]
    wait_for(lambda: content(folder)["beat"] != first, "another sign of life", 30)
    lease.release()
    assert not folder.exists(FILE)
