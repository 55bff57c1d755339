"""A PostgreSQL of a test's own: its files in a folder of its own, on loopback and a socket, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.sweeps.processes import wait_for

# Debian keeps the server's own programs out of the way, by version.
_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: int(bin.parent.name))
_PATH = os.pathsep.join([*map(str, reversed(_INSTALLED)), os.environ.get("PATH", os.defpath)])
NEEDED = ("initdb", "postgres", "pg_isready", "psql", "pg_dump", "pg_restore")
# The server refuses to run as root.
_USER = "nobody" if os.geteuid() == 0 else None


def missing() -> list[str]:
    """The programs without which there can be no server."""
    return [name for name in NEEDED if shutil.which(name, path=_PATH) is None]


class Postgres:
    """A server whose superuser `postgres` comes in by the socket without a password; roles come by TCP with one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._data = folder / "data"
        if _USER:
            shutil.chown(folder, _USER)
        init = ["initdb", "--pgdata", self._data, "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run(*init, "--auth-local=trust", "--auth-host=scram-sha-256")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{folder}'\n")
            # The system keeps what a server that was killed has written; only a power cut would need the disk.
            config.write("log_statement = 'all'\nfsync = off\n")
        self.start()

    @property
    def env(self) -> dict[str, str]:
        """How psql and its kin come in as the superuser."""
        return {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGUSER": "postgres"}

    @property
    def log(self) -> str:
        """Everything it was told, statement by statement."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """It answers when this returns."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self._data],
                user=_USER,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ready = [_program("pg_isready"), "--quiet"]
        wait_for(lambda: subprocess.run(ready, env=os.environ | self.env).returncode == 0, "PostgreSQL", 60)

    def stop(self) -> None:
        """End it at once, as `pg_ctl stop -m immediate` does: it recovers from its log when it starts again."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)

    def restart(self) -> None:
        """Every connection is cut, and what was not committed is gone."""
        self.stop()
        self.start()

    def query(self, statement: str, database: str = "postgres") -> list[str]:
        """The rows of a statement's answer, as the superuser."""
        command = [_program("psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1"]
        answer = subprocess.run(
            [*command, "--dbname", database, "--command", statement],
            env=os.environ | self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout.splitlines()

    def _run(self, program: str, *arguments: str | Path) -> None:
        command: Sequence[str | Path] = [_program(program), *arguments]
        subprocess.run(command, user=_USER, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, name
    return found


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server with nothing in it yet; it and its files are gone afterwards."""
    # Not in pytest's folder, which only its owner can enter.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()
