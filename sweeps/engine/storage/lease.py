"""A lease: the file in a sweep's folder that its one driver keeps fresh."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, shortened

FILE = "lease.json"
BEAT_S = 5.0
WATCH_S = 2.5 * BEAT_S
STALE_S = 60.0
LATEST_S = 2.0**33  # the year 2242: later dates are no dates
SETTLE_S = 0.5


@dataclass(frozen=True)
class Driver:
    """The process that took a sweep last and has not given it back.

    Attributes:
        session: name of the lease.
        host: name of the machine.
        pid: process id there.
        renewed: when it last renewed the lease, in seconds since 1970, UTC.
        may_live: whether it may still live.
        is_ahead: whether the lease is dated in the future. A clock is wrong then, and `may_live` is false.
    """

    session: str
    host: str
    pid: int
    renewed: float
    may_live: bool
    is_ahead: bool = False


def driver_of(folder: Folder) -> Driver | None:
    """Return who holds the sweep in this folder, or None. Raises `OSError` if its file cannot be read."""
    found = _read(folder)
    if not found:
        return None
    is_ahead = _is_ahead(found)
    may_live = _may_live(found) and not is_ahead
    host = shortened(found["host"])
    return Driver(shortened(found["session"]), host, found["pid"], float(found["beat"]), may_live, is_ahead)


class Lease:
    """Held from `acquire` to `release` by a thread that renews it every few seconds.

    If another driver has taken the sweep meanwhile, which can be only after this one was still for a
    minute, the thread interrupts the main thread as Ctrl-C does.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self.session = folder, uuid.uuid4().hex[:12]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the sweep. Raises `UserError` if another driver, that may still live, has it."""
        other = _read(self._folder)
        if other and _is_ahead(other):
            # A clock has jumped, there or here, so the time says nothing. A driver that lives renews its lease.
            self._stopping.wait(WATCH_S)
            following = _read(self._folder)
            other = {} if following.get("beat") == other["beat"] else following
        self._refuse(other)
        self._beat()
        # Of two that began at once, both have written by now, and the later one stays.
        self._stopping.wait(SETTLE_S)
        self._refuse(_read(self._folder))
        self._thread.start()

    def release(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            if _read(self._folder).get("session") == self.session:
                self._folder.delete(FILE)

    def _refuse(self, other: dict[str, Any]) -> None:
        if other and other["session"] != self.session and _may_live(other):
            raise UserError(
                f"one process at a time runs a sweep; {self._folder} is run by process {other['pid']} on "
                f"{shortened(other['host'])}: wait for it, end it, or give another --name"
            )

    def _renew(self) -> None:
        while not self._stopping.wait(BEAT_S):
            try:
                if _read(self._folder).get("session", self.session) != self.session:
                    # A signal, not `interrupt_main`: that would not wake a main thread that waits.
                    signal.pthread_kill(_main_thread(), signal.SIGINT)
                    return
                self._beat()
            except (OSError, UserError):  # the storage may be back at the next beat
                continue

    def _beat(self) -> None:
        me = psutil.Process()
        content = {
            "session": self.session,
            "host": socket.gethostname(),
            "place": _place(),
            "pid": me.pid,
            "started": me.create_time(),
            "beat": time.time(),
        }
        self._folder.write(FILE, json.dumps(content).encode())


def _main_thread() -> int:
    identity = threading.main_thread().ident
    assert identity is not None
    return identity


def _read(folder: Folder) -> dict[str, Any]:
    """Return what the file says; empty if there is none, or none that a driver wrote whole."""
    try:
        found = folder.json(FILE)
    except UserError:
        raise
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and _is_lease(found) else {}


def _is_lease(found: dict[str, Any]) -> bool:
    pid, times = found.get("pid"), [found.get(name) for name in ("started", "beat")]
    return (
        all(isinstance(found.get(name), str) for name in ("session", "host", "place"))
        and (isinstance(pid, int) and 0 < pid < 2**31)
        and all(isinstance(each, int | float) and 0 <= each < LATEST_S for each in times)
    )


def _is_ahead(other: dict[str, Any]) -> bool:
    """Return whether a lease of another machine was renewed later than a clock may be off."""
    return bool(other["place"] != _place() and other["beat"] - time.time() > STALE_S)


def _place() -> str:
    """Where process ids are one's own: two containers may have the same host name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    if not boot.exists() or not namespace.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()} {os.readlink(namespace)}"


def _may_live(other: dict[str, Any]) -> bool:
    """In this place the process itself tells; of another only the time since its last sign of life."""
    if other["place"] == _place():
        try:
            process = psutil.Process(other["pid"])
            dead = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE  # killed, not yet waited for
            return not dead and process.create_time() == other["started"]
        except psutil.NoSuchProcess:
            return False
    return time.time() - float(other["beat"]) < STALE_S
