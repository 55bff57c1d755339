"""Reading of Parquet files that may come from strangers.

pyarrow allocates as much memory as the headers of a file state, and crashes on some schemas. pyarrow also calls code
that other packages register for types in a file. Ray 2.54's code unpickled bytes from the file. So another process
reads each file (`parquet_child`). No package has registered code there, and the memory and time are limited. The table
returns as an Arrow stream in a nameless file, on Linux in memory.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO

import pyarrow as pa

from wgan_core.data import parquet_child
from wgan_core.data.parquet_child import ERROR, MEMORY, TABLE

# Longest CPU time to read a file: `LEAST_S` seconds, plus one for each `BYTES_A_S` bytes.
LEAST_S, BYTES_A_S = 30, 1 << 20
# Memory for a schema, which is small.
SCHEMA_BYTES = 1 << 28
# One thread, and a memory pool that reserves no address space.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}


class BadParquet(ValueError):
    """A Parquet file that cannot be read; the message has the reason."""


def parquet_schema(file: Path) -> pa.Schema:
    """Return the schema of a Parquet file. Raises the errors of `read_parquet`."""
    return _running().ask(file, None, False, SCHEMA_BYTES).schema


def read_parquet(file: Path, columns: Collection[str] | None, most: int) -> pa.Table:
    """Return the table of a Parquet file.

    Args:
        file: The path of the file.
        columns: Dotted paths of the columns to read; None reads all.
        most: Most bytes of the table. Reading may take three times as much.

    Raises:
        BadParquet: The file is damaged, has extension types, or takes too long.
        MemoryError: The table, or reading it, takes too much memory.
        OSError: The file is missing, or the reading process has ended.
    """
    return _running().ask(file, columns, True, most)


class _Process:
    """A process that forks a reader for each file. It starts at the first file and ends with this process."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", parquet_child.__file__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                process_group=0,  # Ctrl-C in a terminal is for the asking process alone
                env=os.environ | ENVIRONMENT,
            )
        self._lock, self._owner = threading.Lock(), os.getpid()
        atexit.register(self.end)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        if self._owner == os.getpid():
            self._channel.close()
            self._process.wait()

    def ask(self, file: Path, columns: Collection[str] | None, rows: bool, most: int) -> pa.Table:
        seconds = LEAST_S + file.stat().st_size // BYTES_A_S
        request = {
            "file": os.path.abspath(file),
            "columns": None if columns is None else list(columns),
            "rows": rows,
            "most": most,
            "seconds": seconds,
        }
        with self._lock:
            try:
                status, content = self._exchange(json.dumps(request).encode())
            except BaseException:  # the next request must not get the answer to this one
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                _process.cache_clear()
                raise
        if status == TABLE:
            return pa.ipc.open_stream(pa.py_buffer(content)).read_all()
        if status == MEMORY:
            raise MemoryError(f"the table takes more than {most:,} bytes")
        raise BadParquet(bytes(content).decode(errors="replace") if status == ERROR else _why(status, seconds))

    def _exchange(self, request: bytes) -> tuple[int, mmap | bytes]:
        """Return the exit status of the process that answers a request, and its answer."""
        with _nameless() as answer:
            socket.send_fds(self._channel, [len(request).to_bytes(8, "little")], [answer.fileno()])
            self._channel.sendall(request)
            status = self._channel.recv(4)
            if len(status) < 4:
                raise OSError("the process that reads Parquet files has ended")
            content = mmap(answer.fileno(), 0, access=ACCESS_READ) if os.fstat(answer.fileno()).st_size else b""
        return int.from_bytes(status, "little", signed=True), content


def _nameless() -> IO[bytes]:
    """Open a new file that has no name."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("table"), "w+b")
    return tempfile.TemporaryFile()


def _why(status: int, seconds: int) -> str:
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return f"reading it takes more than {seconds} s, or more memory than there is"
    return f"reading it ends the process ({signal.Signals(-status).name if status < 0 else f'status {status}'})"


def _running() -> _Process:
    """Return a process that reads. If somebody ended it, start another one."""
    if _process(os.getpid()).has_ended:
        _process.cache_clear()
    return _process(os.getpid())


@lru_cache(maxsize=1)
def _process(owner: int) -> _Process:
    """Return the process that reads for the process `owner`. After a fork, the new process gets one of its own."""
    return _Process()
