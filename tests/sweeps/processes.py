"""The product's commands as a person runs them: real processes, in surroundings of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from wgan_core.cache import cache_folder

ROOT = Path(__file__).parents[2]
MNIST = ROOT / "sweeps" / "mnist.py"
LONGEST_S = 240.0


def wait_for(happened: Callable[[], bool], what: str, deadline_s: float = LONGEST_S, pause_s: float = 0.02) -> None:
    """Return as soon as something has happened, which is asked after each pause; fail if it has not in the end."""
    deadline = time.monotonic() + deadline_s
    while not happened():
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s for {what}"
        time.sleep(pause_s)


class Running:
    """A command that was started, with what it has said so far."""

    def __init__(self, command: Sequence[str], cwd: Path, env: dict[str, str], said: Path) -> None:
        self.command, self._out, self._err = command, said.with_suffix(".out"), said.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def descendants(self) -> list[psutil.Process]:
        """The processes that it started, and those that they started."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self) -> list[int]:
        """The ids of the Ray processes that train."""
        found = []
        for each in self.descendants():
            with suppress(psutil.NoSuchProcess):
                if "train_cohort" in " ".join(each.cmdline()) or "ImplicitFunc" in " ".join(each.cmdline()):
                    found.append(each.pid)
        return found

    def wait(self, timeout_s: float = LONGEST_S) -> Running:
        """Wait for its end; kill it and fail if that does not come."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} did not end within {timeout_s:g} s\n{self.out}\n{self.err}") from None
        return self

    def succeeded(self, with_tracebacks: bool = False) -> Running:
        """Wait for its end, which must be a good one, and without tracebacks unless a worker was to die."""
        self.wait()
        assert self.process.returncode == 0, f"{self.command}: {self.process.returncode}\n{self.out}\n{self.err}"
        assert with_tracebacks or "Traceback" not in self.err, self.err
        return self

    def refused(self, *said: str) -> Running:
        """Wait for its end, which must be status 2 and one line that begins `error: ` and says all of this."""
        self.wait()
        assert self.process.returncode == 2, f"{self.command}: {self.process.returncode}\n{self.out}\n{self.err}"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert "Traceback" not in self.err, self.err
        assert self.err.splitlines()[-1] == errors[0], self.err
        for part in said:
            assert part in errors[0]
        return self

    def kill(self) -> None:
        """End it, and every process that it started, by their ids and without warning."""
        started = self.descendants()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for each in started:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(started, timeout=30)


class Surroundings:
    """A home folder, Ray's temporary files and a storage of their own; only the cache of MNIST is shared."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Ray puts sockets there, whose paths may have no more than 107 bytes.
        self._ray = Path(tempfile.mkdtemp(prefix="ray"))
        self._started: list[Running] = []
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "WGAN_", "RAY_"))
        }
        self.env = inherited | {
            "HOME": str(home),
            "WGAN_DATA": str(cache_folder().absolute()),
            "RAY_TMPDIR": str(self._ray),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def start(self, *command: str | Path, cwd: Path | None = None, **env: str) -> Running:
        said = self.home / f"said-{len(self._started)}"
        running = Running([str(part) for part in command], cwd or self.home, self.env | env, said)
        self._started.append(running)
        return running

    def script(self, storage: Path, *options: str | Path | int, **env: str) -> Running:
        """`python sweeps/mnist.py` with these options."""
        return self.start(sys.executable, MNIST, "--storage", storage, *map(str, options), **env)

    def sweeps(self, *arguments: str | Path | int, **env: str) -> Running:
        """The command `sweeps`, as it is installed beside this interpreter."""
        return self.start(Path(sys.executable).parent / "sweeps", *map(str, arguments), **env)

    def close(self) -> None:
        for running in self._started:
            running.kill()
        shutil.rmtree(self._ray, ignore_errors=True)
