"""SIGTERM ends a command as the first Ctrl-C does, and with status 143."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sweeps.engine.cluster import loss, signals
from sweeps.engine.cluster.loss import interrupted_if_lost, left_if_lost, lost_process, watched_ray
from sweeps.engine.cluster.signals import got_sigterm, kept_sigterm, sigterm_as_ctrl_c, sigterm_for
from sweeps.engine.driver.outcome import LostRay, leave
from sweeps.engine.driver.script import AGAIN, run_script
from tests.sweeps.processes import Surroundings, copy_tables, wait_for
from tests.sweeps.stored import Stored


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Tune leaves a handler in a process that ran a sweep
    yield
    for number, handler in before:
        signal.signal(number, handler)


def test_sigterm_ends_a_command_with_143(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["mnist.py"])
    assert run_script(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(9))[0]) == 143
    assert capsys.readouterr() == ("", f"ended by SIGTERM: {AGAIN}\n")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("ignored", [False, True], ids=["", "Ctrl-C is ignored"])
def test_sigterm_does_what_ctrl_c_does_then(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune takes the first Ctrl-C calmly, and leaves the second to the handler before it."""
    first: list[int] = []
    before = signal.SIG_IGN if ignored else signal.default_int_handler

    def calmly(number: int, _: object) -> None:
        first.append(number)
        signal.signal(signal.SIGINT, before)

    with sigterm_as_ctrl_c():
        signal.signal(signal.SIGINT, calmly)
        os.kill(os.getpid(), signal.SIGTERM)
        assert first == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGTERM)  # the same request, by another way
        monkeypatch.setattr(signals, "ONE_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert got_sigterm()
    with sigterm_as_ctrl_c():
        assert not got_sigterm()


def test_an_ignored_sigterm_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert not got_sigterm()


def test_ray_does_not_take_sigterm_over() -> None:
    import ray._private.utils

    with sigterm_as_ctrl_c():
        ours = signal.getsignal(signal.SIGTERM)
        with kept_sigterm():
            ray._private.utils.set_sigterm_handler(lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray's compiled part does
        assert signal.getsignal(signal.SIGTERM) is ours


def test_threads_that_are_not_the_main_one_set_no_handler() -> None:
    before, done = signal.getsignal(signal.SIGTERM), []

    def act() -> None:
        with sigterm_as_ctrl_c(), kept_sigterm():
            done.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert done == [True]


def test_sigterm_is_passed_on_to_the_script_of_confirm() -> None:
    with subprocess.Popen(["sleep", "60"]) as process, sigterm_for(process):
        os.kill(os.getpid(), signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM


@pytest.fixture
def ray_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the place of Ray's, which dies at once when it is killed."""
    monkeypatch.setattr(loss, "LOOK_S", 0.05)
    monkeypatch.setattr(loss, "END_S", 0.1)
    monkeypatch.setattr(loss, "NAMES", ("sleep",))
    with subprocess.Popen(["sleep", "60"]) as process:
        wait_for(lambda: psutil.Process(process.pid).name() == "sleep", "the process", 10)
        yield process
        process.kill()


def test_a_ray_that_dies_interrupts_twice(ray_process: subprocess.Popen[bytes]) -> None:
    """Tune takes the first interrupt as a wish to end in order, and may then wait for a Ray that is gone."""
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    with watched_ray(), interrupted_if_lost():
        assert lost_process() == ""
        ray_process.kill()
        wait_for(lambda: len(came) == 2, "two interrupts", 10)
        assert lost_process() == "sleep"
    assert lost_process() == ""


def test_a_block_that_does_not_end_after_ray_has_is_left(ray_process: subprocess.Popen[bytes]) -> None:
    left: list[str] = []
    with left_if_lost(left.append), watched_ray():
        ray_process.kill()
        wait_for(lambda: bool(left), "the end", 10)
    assert left == ["sleep"]


def test_a_thread_of_a_notebook_interrupts_nothing_else(ray_process: subprocess.Popen[bytes]) -> None:
    """The main thread may do other work. Nor is the process of a notebook ended."""
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    ended = threading.Event()

    def sweep() -> None:
        with left_if_lost(leave), watched_ray(), interrupted_if_lost():
            ray_process.kill()
            ended.wait(1.0)

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()
    assert not came


def test_a_block_that_ends_in_time_is_not_left(ray_process: subprocess.Popen[bytes]) -> None:
    left: list[str] = []
    with left_if_lost(left.append), watched_ray():
        pass
    ray_process.kill()
    assert not left


@pytest.mark.parametrize(("sigterm", "status"), [(False, 1), (True, 143)])
def test_a_ray_that_died_is_told(
    sigterm: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If SIGTERM came to all processes of a job, it is the reason."""

    def lose() -> None:
        with suppress(KeyboardInterrupt):
            if sigterm:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(9)
        raise LostRay("raylet")

    monkeypatch.setattr(sys, "argv", ["mnist.py"])
    assert run_script(lose) == status
    lost = "error: Ray's process raylet has died, by a signal or for want of memory"
    assert capsys.readouterr().err == f"{'ended by SIGTERM' if sigterm else lost}: {AGAIN}\n"


@pytest.mark.slow
def test_a_sweep_that_gets_sigterm_keeps_everything(joined: Surroundings, small_data: Path, tmp_path: Path) -> None:
    stored = Stored(tmp_path, "ended")
    copy_tables(stored.storage)
    options = ("--data", small_data, "--name", "ended", "--trials", 1, "--budget", 9_000, "--no-pruning")
    running = joined.script(stored.storage, *options)
    wait_for(lambda: running.process.poll() is not None or stored.reports(0) > 0, "the first report", 120)
    running.process.terminate()
    assert running.wait(90).returncode == 143
    assert running.err.splitlines()[-1] == f"ended by SIGTERM: {AGAIN}"
    assert "***" not in running.err + running.out
    assert "best checkpoint" in running.out
    assert not (stored.folder / "lease.json").exists()
    assert (stored.folder / "report" / "sweep.html").exists()
    assert stored.runs()[None].info.status == "KILLED"
    assert stored.runs()[None].data.tags["mlflow.sync"] == "complete"
    assert stored.reports(0) == len(stored.curves()[0])
