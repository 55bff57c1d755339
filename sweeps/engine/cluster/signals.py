"""SIGTERM as a request to end in order.

Slurm, Kubernetes, systemd and `ray job stop` end a process by SIGTERM, and kill it some time later.
"""

from __future__ import annotations

import math
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from unittest import mock

# Signals within so many seconds are one request.
ONE_S = 2.0
_came: list[float] = []


def got_sigterm() -> bool:
    """Return whether SIGTERM came in the last block of `sigterm_as_ctrl_c`."""
    return bool(_came)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM in the block as Ctrl-C is treated at that moment. Tune, for one, takes the first Ctrl-C calmly."""
    _came.clear()

    def handle(number: int, frame: FrameType | None) -> None:
        now, last = time.monotonic(), _came[-1] if _came else -math.inf
        _came.append(now)
        if now - last < ONE_S:  # one request reached this process in two ways, as part of a group of processes
            return
        # A shell starts commands in the background with Ctrl-C ignored. SIGTERM ends those too.
        of_ctrl_c = signal.getsignal(signal.SIGINT)
        (of_ctrl_c if callable(of_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)

    if not _may_set() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def sigterm_for(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass SIGTERM on to another process in the block."""
    if not _may_set():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def kept_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM while Ray starts in the block.

    Ray's own handler leaves at once. The one of its compiled part prints a stack of machine code first.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not _may_set() or not callable(before):
        yield
        return
    try:
        with mock.patch("ray._private.utils.set_sigterm_handler"):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _may_set() -> bool:
    return threading.current_thread() is threading.main_thread()
