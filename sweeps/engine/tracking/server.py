"""A local MLflow server that shows a store to one person until they stop it."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from sweeps.engine.plan.uri import database, shown
from sweeps.engine.tracking.protected import APP, KEY, NAME, ROOT, proof_of
from wgan_core.errors import HIDDEN, UserError, without_secrets

HOST, HOST6, PORT = "127.0.0.1", "::1", 5000
_PORTS_TRIED = 100
_START_S, _END_S, _PAUSE_S = 120.0, 5.0, 0.1
_LINES, _LONGEST = 3, 400
# Environment variables that the server inherits. They hold no credentials of cloud services. They hold no settings of
# uvicorn and few of MLflow, as some of those read files or fetch URLs.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ")
_KEPT_PREFIXES = ("LC_", "PYTHON", "PG", "MYSQL_", "ODBC", "KRB5", "MLFLOW_SQLALCHEMYSTORE_")
# Files that PostgreSQL's client reads in the home folder, by the environment variable that overrides each path.
_OF_POSTGRESQL = {
    "PGPASSFILE": ".pgpass",
    "PGSERVICEFILE": ".pg_service.conf",
    "PGSSLROOTCERT": ".postgresql/root.crt",
    "PGSSLCERT": ".postgresql/postgresql.crt",
    "PGSSLKEY": ".postgresql/postgresql.key",
}
_SETTINGS = {
    "PYTHONSAFEPATH": "1",  # Keeps the current folder out of sys.path, in child processes too.
    # MLflow's jobs alone would take seven processes and 1.8 GB.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",  # Prevents downloads.
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "none",  # Prevents requests to URLs from the database.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# Signals of Ctrl-C, of a plain `kill`, and of a closed terminal.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def choose_port(given: int | None) -> int:
    """Return the given port, or without one the first free port from 5000 on.

    Raises:
        UserError: The given port is taken or is no valid port, or no port is free.
    """
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


def serve(uri: str, port: int, ready: Callable[[str, str], None]) -> None:
    """Serve the store at `uri` until a person ends this process.

    The server and its child processes end with this process. Each start has a new key, and the server refuses requests
    without it. Each start also has a new host name below `localhost`, which browsers resolve to the loopback address.

    Args:
        uri: Tracking URI of a database.
        port: Free port of this machine.
        ready: Called with the server's URL for browsers and its key, once the server answers.

    Raises:
        UserError: The server does not start, or ends by itself.
    """
    if not entry_points(group="mlflow.app", name=APP):
        raise UserError(
            f"MLflow must find the entry point {APP!r} of this project; this installation lacks it: run "
            "`make .venv`, or install the project again"
        )
    key, name = secrets.token_urlsafe(32), f"{secrets.token_hex(16)}.localhost"
    try:
        # Browsers try IPv6 first. Another user who listened there would get the key.
        held = _held(HOST6, port)
    except OSError as error:
        raise UserError(f"--port must be free on {HOST6}; {port} is taken: give another") from error
    with (
        held,
        tempfile.TemporaryDirectory(prefix="sweeps-") as empty,
        tempfile.TemporaryFile("w+", errors="replace") as log,
        _asked_to_end() as asked,
    ):
        process = _start(uri, port, key, name, empty, log)
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(port, key):
                if asked:
                    return
                _check_lives(process, uri, key, log)
                if time.monotonic() > deadline:
                    raise UserError(
                        f"MLflow's server must answer within {_START_S:.0f} s; it did not: {_last(log, uri, key)}: "
                        "try again"
                    )
                time.sleep(_PAUSE_S)
            ready(f"http://{name}:{port}", key)
            while not asked:
                _check_lives(process, uri, key, log)
                time.sleep(_PAUSE_S)
        finally:
            _end(process)


def with_key(link: str, key: str) -> str:
    """Add the key to a link to a page of the server."""
    page, _, place = link.partition("#")
    return f"{page}?{urlencode({'key': key})}#{place}"


def _start(uri: str, port: int, key: str, name: str, empty: str, log: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server in the folder `empty`, so that it imports and reads nothing from the current folder."""
    file = database(uri)
    # Experiments that a person creates on the page put their files here.
    artifacts = (Path.cwd() if file is None else file.parent) / "mlartifacts"
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--app-name", APP, "--workers", "1"]
    command += ["--host", HOST, "--port", str(port), "--artifacts-destination", str(artifacts)]
    command += ["--uvicorn-opts", "--no-access-log"]  # Access log lines would show the link's key.
    # MLflow's own list of hosts lacks the name. Allow any port, as the request may come through a tunnel.
    allowed = [pattern for host in ("localhost", HOST, name) for pattern in (host, f"{host}:*")] + ["[[]::1]:*"]
    env = {
        **_environment(empty),
        # Other users of this machine can read the command line, but not the environment.
        "MLFLOW_BACKEND_STORE_URI": uri if file is None else _absolute(uri, file),
        KEY: key,
        NAME: name,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{name},http://{name}:*",
        ROOT: "" if file is None else str(file.parent.resolve()),
    }
    # The server gets a process group of its own, so that `_end` ends all of it and Ctrl-C reaches only this process.
    return subprocess.Popen(
        command, cwd=empty, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _environment(home: str) -> dict[str, str]:
    """Return the server's environment. Its home folder is `home`, so that MLflow finds no credentials there.

    MLflow locks a file with a name that every user can guess, so its temporary files are kept there too.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    files = {name: Path.home() / file for name, file in _OF_POSTGRESQL.items()}
    found = {name: str(file) for name, file in files.items() if file.is_file()}
    # Packages that were installed with `pip install --user` lie below PYTHONUSERBASE.
    return {"PYTHONUSERBASE": site.getuserbase(), **found, **kept, **_SETTINGS, "HOME": home, "TMPDIR": home}


def _absolute(uri: str, file: Path) -> str:
    """Return the URI of a SQLite database with the absolute path of its file."""
    scheme, _, rest = uri.partition(":///")
    name, mark, query = rest.partition("?")
    before = "file:" if name.startswith("file:") and "uri=true" in query else ""
    # SQLAlchemy unquotes the path, and SQLite that of a URI of its own again.
    path = str(file).replace("%", "%2525" if before else "%25")
    return f"{scheme}:///{before}{path}{mark}{query}"


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """Collect termination signals in a list instead of acting on them, so that no half-started process is left."""
    asked: list[int] = []
    # Ignored signals stay ignored, as under nohup.
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
    with suppress(ProcessLookupError):  # Kill the rest of the group.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check_lives(process: subprocess.Popen[bytes], uri: str, key: str, log: IO[str]) -> None:
    if process.poll() is not None:
        raise UserError(
            f"MLflow's server on {shown(uri)} must go on; it ended: {_last(log, uri, key)}: check --tracking-uri"
        )


def _last(log: IO[str], uri: str, key: str) -> str:
    """Join the last lines of the server's log into one, without secrets."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()][-_LINES:]
    said = without_secrets("; ".join(lines), uri).replace(key, HIDDEN) or "it said nothing"
    return said if len(said) <= _LONGEST else f"...{said[3 - _LONGEST :]}"


def _answers(port: int, key: str) -> bool:
    """Return whether the server with this key answers. Another user's server may have taken the port."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return hmac.compare_digest(connection.getresponse().read(100), proof_of(key).encode())
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _is_free(port: int) -> bool:
    try:
        _held(HOST, port).close()
        _held(HOST6, port).close()
    except OSError:
        return False
    return True


def _held(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port without listening, so that nobody else can listen there.

    Raises:
        OSError: The port is taken, or belongs to the system.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        held = socket.socket(family)
    except OSError:  # The machine has no IPv6, so nobody can listen there.
        return socket.socket()
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            # Connections that were closed just now do not count as taking the port. On Linux, a socket with this option
            # that does not listen lets other users listen, if they set the option too.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:  # IPv6 has no loopback address.
            return socket.socket()
        raise
    return held


def program_beside(name: str) -> str | None:
    """Return the path of a program installed beside this Python, or None. The program need not be on PATH."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else None
