"""MLflow's server on this machine, for one person who looks at a store, for as long as they look."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from sweeps.engine.tracking.uri import database, shown, without_password
from wgan_core.errors import UserError

HOST, PORT = "127.0.0.1", 5000
_PORTS_TRIED = 100
_START_S, _END_S, _PAUSE_S = 120.0, 5.0, 0.1
_LINES, _LONGEST = 3, 400
# Jobs alone take seven processes and 1.8 GB.
_OFF = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# Ctrl-C, a plain `kill`, and the closing of the terminal.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def choose_port(given: int | None) -> int:
    """The port given, else the first from 5000 on that is free. Raises `UserError` if it is taken, or is no port."""
    if given is None:
        for port in range(PORT, PORT + _PORTS_TRIED):
            if _is_free(port):
                return port
        raise UserError(f"a port of {PORT} to {PORT + _PORTS_TRIED - 1} must be free; all are taken: give --port")
    if not 1 <= given <= 65_535:
        raise UserError(f"--port must be 1 to 65535; given {given}: leave it out, or give --port {PORT}")
    if not _is_free(given):
        raise UserError(f"--port must be free on {HOST}; {given} is taken, or not yours: leave it out, or give another")
    return given


def serve(uri: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the store at `uri` until a person ends this process; `ready` gets the server's address once it answers.

    The server and all that it starts end with it. Raises `UserError` if it does not start, or ends by itself.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as log, _asked_to_end() as asked:
        process = _start(uri, port, log)
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(port):
                if asked:
                    return
                _check_lives(process, uri, log)
                if time.monotonic() > deadline:
                    raise UserError(
                        f"MLflow's server must answer within {_START_S:.0f} s; it did not: {_last(log, uri)}: try again"
                    )
                time.sleep(_PAUSE_S)
            _check_lives(process, uri, log)  # else it is another that answers there
            ready(f"http://{HOST}:{port}")
            while not asked:
                _check_lives(process, uri, log)
                time.sleep(_PAUSE_S)
        finally:
            _end(process)


def _start(uri: str, port: int, log: IO[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    file = database(uri)
    if file is not None:  # where experiments that are made by hand put their files: not into the current folder
        command += ["--artifacts-destination", str(file.parent / "mlartifacts")]
    # Not on the command line, which everyone on this machine can read: the URI may hold a password.
    env = {**os.environ, **_OFF, "MLFLOW_BACKEND_STORE_URI": uri}
    # In a group of its own, which ends as a whole; Ctrl-C reaches this process alone.
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """Signals to end are noted in the list, and do nothing else: no process is left behind half-started."""
    asked: list[int] = []
    # What is ignored stays so, as under nohup.
    noted = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda given, _: asked.append(given)) for number in noted}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    with suppress(ProcessLookupError):  # whoever of the group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check_lives(process: subprocess.Popen[bytes], uri: str, log: IO[str]) -> None:
    if process.poll() is not None:
        raise UserError(
            f"MLflow's server on {shown(uri)} must go on; it ended: {_last(log, uri)}: check --tracking-uri"
        )


def _last(log: IO[str], uri: str) -> str:
    """The last lines that the server said, on one."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()][-_LINES:]
    said = without_password("; ".join(lines), uri) or "it said nothing"
    return said if len(said) <= _LONGEST else f"...{said[3 - _LONGEST :]}"


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections that were closed just now do not count
        try:
            tried.bind((HOST, port))
        except OSError:
            return False
    return True


def program_beside(name: str) -> str | None:
    """The path of a program that is installed beside this Python, which need not be on the path; None if it is not."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else None
