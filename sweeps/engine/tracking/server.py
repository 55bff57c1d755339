"""MLflow's server on this machine, for one person who looks at a store, for as long as they look."""

from __future__ import annotations

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

HOST, PORT = "127.0.0.1", 5000
_PORTS_TRIED = 100
_START_S, _END_S, _PAUSE_S = 120.0, 5.0, 0.1
_LINES, _LONGEST = 3, 400
# What the server gets of this process's environment: no credentials, and no settings of MLflow or uvicorn, some of
# which read files or fetch URLs.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_KEPT_PREFIXES = ("LC_", "PYTHON", "PG", "MYSQL_", "ODBC", "KRB5", "MLFLOW_SQLALCHEMYSTORE_")
# What PostgreSQL's client looks for in the home folder, by the variable that names the file.
_OF_POSTGRESQL = {
    "PGPASSFILE": ".pgpass",
    "PGSERVICEFILE": ".pg_service.conf",
    "PGSSLROOTCERT": ".postgresql/root.crt",
    "PGSSLCERT": ".postgresql/postgresql.crt",
    "PGSSLKEY": ".postgresql/postgresql.key",
}
_SETTINGS = {
    "PYTHONSAFEPATH": "1",  # keeps the current folder off the path of children too
    # Jobs alone take seven processes and 1.8 GB.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_MODEL_CATALOG_URI": "",  # fetches nothing
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "none",  # sends nothing to addresses that the database names
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
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


def serve(uri: str, port: int, ready: Callable[[str, str], None]) -> None:
    """Serve the store at `uri` until a person ends this process.

    The server and all that it starts end with it. Each start has a new key, without which the server refuses
    requests, and a new host name below `localhost`. Browsers resolve such a name to the loopback.

    Args:
        uri: Tracking URI of a database.
        port: Free port of this machine.
        ready: Gets the server's address for browsers and its key, once the server answers.

    Raises:
        UserError: The server does not start, or ends by itself.
    """
    if not entry_points(group="mlflow.app", name=APP):
        raise UserError(
            f"MLflow must find the entry point {APP!r} of this project; this installation lacks it: run "
            "`make .venv`, or install the project again"
        )
    key, name = secrets.token_urlsafe(32), f"{secrets.token_hex(16)}.localhost"
    with (
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
    """Return a link to a page of the server that carries the key."""
    page, _, place = link.partition("#")
    return f"{page}?{urlencode({'key': key})}#{place}"


def _start(uri: str, port: int, key: str, name: str, empty: str, log: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server in the folder `empty`, so that nothing in the current folder is imported or read."""
    file = database(uri)
    # Where experiments that are made by hand put their files.
    artifacts = (Path.cwd() if file is None else file.parent) / "mlartifacts"
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--app-name", APP, "--workers", "1"]
    command += ["--host", HOST, "--port", str(port), "--artifacts-destination", str(artifacts)]
    command += ["--uvicorn-opts", "--no-access-log"]  # lines of it would hold the link's key
    # In place of MLflow's own list, which lacks the name. Any port: it may be that of a tunnel.
    allowed = [pattern for host in ("localhost", HOST, name) for pattern in (host, f"{host}:*")] + ["[[]::1]:*"]
    env = {
        **_environment(empty),
        # Everyone on this machine can read the command line, but not the environment.
        "MLFLOW_BACKEND_STORE_URI": uri if file is None else _absolute(uri, file),
        KEY: key,
        NAME: name,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{name},http://{name}:*",
        ROOT: "" if file is None else str(file.parent.resolve()),
    }
    # In a group of its own, which ends as a whole; Ctrl-C reaches this process alone.
    return subprocess.Popen(
        command, cwd=empty, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _environment(home: str) -> dict[str, str]:
    """Return the environment of a server whose home folder is `home`: MLflow reads credentials in a home folder."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    files = {name: Path.home() / file for name, file in _OF_POSTGRESQL.items()}
    found = {name: str(file) for name, file in files.items() if file.is_file()}
    # Python looks there for packages that were installed with `pip install --user`.
    return {"PYTHONUSERBASE": site.getuserbase(), **found, **kept, **_SETTINGS, "HOME": home}


def _absolute(uri: str, file: Path) -> str:
    """Return the URI of a SQLite database with the absolute path of its file."""
    scheme, _, rest = uri.partition(":///")
    name, mark, query = rest.partition("?")
    before = "file:" if name.startswith("file:") and "uri=true" in query else ""
    return f"{scheme}:///{before}{file}{mark}{query}"


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


def _check_lives(process: subprocess.Popen[bytes], uri: str, key: str, log: IO[str]) -> None:
    if process.poll() is not None:
        raise UserError(
            f"MLflow's server on {shown(uri)} must go on; it ended: {_last(log, uri, key)}: check --tracking-uri"
        )


def _last(log: IO[str], uri: str, key: str) -> str:
    """The last lines that the server said, on one."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()][-_LINES:]
    said = without_secrets("; ".join(lines), uri).replace(key, HIDDEN) or "it said nothing"
    return said if len(said) <= _LONGEST else f"...{said[3 - _LONGEST :]}"


def _answers(port: int, key: str) -> bool:
    """Return whether the server with this key answers: another user may have taken the port meanwhile."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return hmac.compare_digest(connection.getresponse().read(100), proof_of(key).encode())
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
