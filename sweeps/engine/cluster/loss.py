"""The end of a local Ray's own processes while a sweep runs.

Slurm and systemd send SIGTERM to all processes of a job, so Ray's processes may end before the driver. The operating
system may also end them for want of memory. Ray's calls then wait for a minute, and its compiled part ends the process.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

NAMES = ("gcs_server", "raylet")
LOOK_S = 1.0
# Looks between the first interrupt, which Tune takes as a wish to end in order, and the second, which ends its waiting.
PATIENCE = 3
# Longest time to end in order. Slurm and Kubernetes kill a process 30 s after SIGTERM, and Ray's own code after 60 s.
END_S = 20.0
_watched: list[tuple[str, psutil.Process]] = []


@contextmanager
def watched_ray() -> Iterator[None]:
    """Note Ray's processes that this process has started, for the duration of the block."""
    started = [(_name(each), each) for each in psutil.Process().children(recursive=True)]
    _watched[:] = [(name, process) for name, process in started if name in NAMES]
    try:
        yield
    finally:
        _watched.clear()


@contextmanager
def left_if_lost(leave: Callable[[str], None]) -> Iterator[None]:
    """Call `leave` in a thread if the block has not ended `END_S` seconds after a noted process of Ray has.

    Args:
        leave: Ends this process. It gets the name of Ray's process.
    """

    def watch(ended: threading.Event) -> None:
        while not ended.wait(LOOK_S):
            if (lost := lost_process()) and not ended.wait(END_S):
                leave(lost)
                return

    with _beside(watch, "ray-end"):
        yield


def lost_process() -> str:
    """Return the name of a noted process of Ray that has ended, or an empty text."""
    return next((name for name, process in _watched if not _lives(process)), "")


@contextmanager
def interrupted_if_lost() -> Iterator[None]:
    """Interrupt the main thread, as Ctrl-C does, if a noted process of Ray ends during the block.

    In another thread, the block is not interrupted, because Python gives signals to the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _beside(_watch, "ray-loss"):
        yield


@contextmanager
def _beside(watch: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Run `watch` in a thread for the duration of the block. It gets an event that is set at the block's end."""
    ended = threading.Event()
    thread = threading.Thread(target=watch, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(ended: threading.Event) -> None:
    while not ended.wait(LOOK_S):
        if lost_process():
            break
    for wait_s in (0.0, PATIENCE * LOOK_S):
        if ended.wait(wait_s):
            return
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name())
    return ""


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
