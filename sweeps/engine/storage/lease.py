"""Lease of a sweep: a file in its folder that the sweep's only driver renews."""

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
# Seconds between two renewals; to watch whether another driver renews its lease; after which a lease of another machine
# may be taken; and to wait for a driver that takes the lease at the same time.
BEAT_S = 5.0
WATCH_S = 2.5 * BEAT_S
STALE_S = 60.0
SETTLE_S = 0.5
# The year 2242. A lease with a later date is not valid.
LATEST_S = 2.0**33


@dataclass(frozen=True)
class Driver:
    """Process that took a sweep last and has not released it.

    Attributes:
        session: Name of the lease.
        host: Name of the machine.
        pid: Process id on that machine.
        renewed: Time of the last renewal, in seconds since 1970, UTC.
        may_live: The process may still be running.
        is_ahead: The lease is dated in the future. Then a clock is wrong, and `may_live` is False.
    """

    session: str
    host: str
    pid: int
    renewed: float
    may_live: bool
    is_ahead: bool = False


def driver_of(folder: Folder) -> Driver | None:
    """Return the driver that holds the sweep in this folder, or None.

    Raises:
        OSError: The file cannot be read.
        UserError: The file is a link, no regular file, or too large.
    """
    found = _read(folder)
    if not found:
        return None
    is_ahead = _is_ahead(found)
    may_live = _may_live(found) and not is_ahead
    host = shortened(found["host"])
    return Driver(shortened(found["session"]), host, found["pid"], float(found["beat"]), may_live, is_ahead)


class Lease:
    """Lease that a thread renews every `BEAT_S` seconds from `acquire` to `release`.

    A driver on another machine may take the sweep once the lease is `STALE_S` seconds old. One on this machine may take
    it once this process has ended. If the thread finds another driver's lease in the file, it interrupts the main
    thread as Ctrl-C does.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self.session = folder, uuid.uuid4().hex[:12]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the sweep. Raises `UserError` if another driver holds it and may still be running."""
        other = _read(self._folder)
        if other and _is_ahead(other):
            # A clock is wrong, so the date says nothing. Wait to see whether the driver renews its lease.
            self._stopping.wait(WATCH_S)
            following = _read(self._folder)
            other = {} if following.get("beat") == other["beat"] else following
        self._refuse(other)
        self._beat()
        # If two drivers began at once, both have written by now. The driver that wrote last keeps the sweep.
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
                    # Send a signal, because `interrupt_main` would not wake a waiting main thread.
                    signal.pthread_kill(_main_thread(), signal.SIGINT)
                    return
                self._beat()
            except (OSError, UserError):  # the storage may be back at the next renewal
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
    """Return the content of the lease file; empty if there is no file or the file is not a valid lease."""
    try:
        found = folder.json(FILE)
    except UserError:  # This is a ValueError, but a link or a file without end must not count as no lease.
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
    """Return whether another machine's lease is dated more than `STALE_S` seconds in the future."""
    return bool(other["place"] != _place() and other["beat"] - time.time() > STALE_S)


def _place() -> str:
    """Return a name of this pid namespace. A host name is not enough: two containers may share one."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    if not boot.exists() or not namespace.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()} {os.readlink(namespace)}"


def _may_live(other: dict[str, Any]) -> bool:
    """Return whether a driver may be running: from its process in this pid namespace, else from its last renewal."""
    if other["place"] == _place():
        try:
            process = psutil.Process(other["pid"])
            # A lease with this process's own id is that of an earlier process, whose id this one has got.
            dead = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE  # killed, not yet reaped
            return not dead and process.create_time() == other["started"]
        except psutil.NoSuchProcess:
            return False
    return time.time() - float(other["beat"]) < STALE_S
