"""SIGTERM ends a command as the first Ctrl-C does, and with status 143."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.engine.cluster.signals import kept_sigterm, sigterm_as_ctrl_c, sigterm_for
from sweeps.engine.driver.script import AGAIN, run_script
from tests.sweeps.processes import Surroundings, copy_tables, wait_for
from tests.sweeps.stored import Stored


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
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
def test_sigterm_does_what_ctrl_c_does_then(ignored: bool) -> None:
    """Tune takes the first Ctrl-C calmly, and leaves the second to the handler before it."""
    first: list[int] = []
    before = signal.SIG_IGN if ignored else signal.default_int_handler

    def calmly(number: int, _: object) -> None:
        first.append(number)
        signal.signal(signal.SIGINT, before)

    with sigterm_as_ctrl_c() as came:
        signal.signal(signal.SIGINT, calmly)
        os.kill(os.getpid(), signal.SIGTERM)
        assert first == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert came == [signal.SIGTERM, signal.SIGTERM]


def test_an_ignored_sigterm_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with sigterm_as_ctrl_c() as came:
        os.kill(os.getpid(), signal.SIGTERM)
    assert not came


def test_ray_does_not_take_sigterm_over() -> None:
    import ray._private.utils

    with sigterm_as_ctrl_c():
        ours = signal.getsignal(signal.SIGTERM)
        with kept_sigterm():
            ray._private.utils.set_sigterm_handler(lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray's compiled part does
        assert signal.getsignal(signal.SIGTERM) is ours


def test_threads_that_are_not_the_main_one_set_no_handler() -> None:
    came: list[list[int]] = []

    def act() -> None:
        with sigterm_as_ctrl_c() as signals, kept_sigterm():
            came.append(signals)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert came == [[]]


def test_sigterm_is_passed_on_to_the_script_of_confirm() -> None:
    with subprocess.Popen(["sleep", "60"]) as process, sigterm_for(process):
        os.kill(os.getpid(), signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM


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
