"""One driver a sweep: a file in the sweep's folder that the driver keeps fresh."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid

import psutil

from wgan_core.errors import UserError
from wgan_core.folder import Folder

FILE = "lease.json"
BEAT_S = 5.0
STALE_S = 60.0


class Lease:
    """Held from `acquire` to `release` by a thread that renews it every few seconds."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self.session = folder, uuid.uuid4().hex[:12]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> None:
        """Raises `UserError` if another driver, that may still live, has the sweep."""
        if self._folder.exists(FILE):
            other = json.loads(self._folder.read(FILE))
            if _may_live(other):
                raise UserError(
                    f"one process at a time runs a sweep; {self._folder} is run by process {other['pid']} on "
                    f"{other['host']}: wait for it, end it, or give another --name"
                )
        self._beat()
        self._thread.start()

    def release(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
            self._folder.delete(FILE)

    def _renew(self) -> None:
        while not self._stopping.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        me = psutil.Process()
        content = {
            "session": self.session,
            "host": socket.gethostname(),
            "pid": me.pid,
            "started": me.create_time(),
            "beat": time.time(),
        }
        self._folder.write(FILE, json.dumps(content).encode())


def _may_live(other: dict[str, object]) -> bool:
    """On this host the process itself tells; of another host only the time since its last sign of life."""
    if other["host"] == socket.gethostname():
        pid = int(str(other["pid"]))
        try:
            process = psutil.Process(pid)
            dead = pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE  # killed, and its parent never asked
            return not dead and process.create_time() == other["started"]
        except psutil.NoSuchProcess:
            return False
    return time.time() - float(str(other["beat"])) < STALE_S
