"""The product's commands as a person runs them: real processes, or in this one, in surroundings of their own."""

from __future__ import annotations

import io
import logging
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Self
from unittest import mock

import psutil
import pytest
from mlflow import MlflowClient

from sweeps.cli import main
from sweeps.engine.cluster.local import read_anew
from wgan_core.cache import cache_folder
from wgan_core.metrics.register import FACTORIES
from wgan_core.networks.pairs import PAIRS

ROOT = Path(__file__).parents[2]
MNIST = ROOT / "sweeps" / "mnist.py"
LONGEST_S = 240.0


def wait_for(happened: Callable[[], bool], what: str, deadline_s: float = LONGEST_S, pause_s: float = 0.02) -> None:
    """Return as soon as something has happened, which is asked after each pause; fail if it has not in the end."""
    deadline = time.monotonic() + deadline_s
    while not happened():
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s for {what}"
        time.sleep(pause_s)


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        return Path(folder, "mlflow.db").read_bytes()


def copy_tables(storage: Path, name: str = "mlflow.db") -> None:
    """Put a database with MLflow's tables into a storage without one: MLflow would take seconds to make it."""
    file = storage / name
    if not file.exists():
        storage.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_tables())


class Ended:
    """A command that has ended, with its exit status and what it said."""

    def __init__(self, command: Sequence[str], returncode: int = 0, out: str = "", err: str = "") -> None:
        self.command, self._returncode, self._out, self._err = command, returncode, out, err

    @property
    def returncode(self) -> int:
        return self._returncode

    @property
    def out(self) -> str:
        return self._out

    @property
    def err(self) -> str:
        return self._err

    def wait(self, timeout_s: float = LONGEST_S) -> Self:
        return self

    def succeeded(self, with_tracebacks: bool = False) -> Self:
        """Wait for its end, which must be a good one, and without tracebacks unless a worker was to die."""
        self.wait()
        assert self.returncode == 0, f"{self.command}: {self.returncode}\n{self.out}\n{self.err}"
        assert with_tracebacks or "Traceback" not in self.err, self.err
        return self

    def refused(self, *said: str) -> Self:
        """Wait for its end, which must be status 2 and one line that begins `error: ` and says all of this."""
        self.wait()
        assert self.returncode == 2, f"{self.command}: {self.returncode}\n{self.out}\n{self.err}"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert "Traceback" not in self.err, self.err
        assert self.err.splitlines()[-1] == errors[0], self.err
        for part in said:
            assert part in errors[0]
        return self


class Running(Ended):
    """A command that was started as a process, with what it has said so far."""

    def __init__(self, command: Sequence[str], cwd: Path, env: dict[str, str], said: Path) -> None:
        super().__init__(command)
        self._out_file, self._err_file = said.with_suffix(".out"), said.with_suffix(".err")
        with self._out_file.open("wb") as out, self._err_file.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def returncode(self) -> int:
        return self.process.returncode

    @property
    def out(self) -> str:
        return self._out_file.read_text()

    @property
    def err(self) -> str:
        return self._err_file.read_text()

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

    def wait(self, timeout_s: float = LONGEST_S) -> Self:
        """Wait for its end; kill it and fail if that does not come."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command} did not end within {timeout_s:g} s\n{self.out}\n{self.err}") from None
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
    """A home folder, Ray's temporary files and a storage of their own; only the cache of MNIST is shared.

    cluster: what lets a driver into a Ray cluster that runs, which every sweep joins; without, each starts a Ray.
    """

    def __init__(self, home: Path, cluster: Mapping[str, str] | None = None) -> None:
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
            **(cluster or {}),
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

    def run(
        self, script: Path, storage: Path, *options: str | Path | int, beside: Callable[[], object] | None = None
    ) -> Ended:
        """A script in this process, which has imported torch, Ray and MLflow already; MLflow's tables are there.

        beside: what a thread does meanwhile.
        """
        copy_tables(storage)
        command = [str(script), "--storage", str(storage), *map(str, options)]
        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(beside) if beside else None
            ended = self._here(command, lambda: runpy.run_path(str(script), run_name="__main__"))
        assert done is None or done.exception() is None, f"{done}\n{ended.out}\n{ended.err}"
        return ended

    def command(self, *arguments: str | Path | int) -> Ended:
        """The command `sweeps` in this process."""
        given = list(map(str, arguments))
        return self._here(["sweeps", *given], lambda: sys.exit(main(given)))

    def _here(self, command: list[str], call: Callable[[], object]) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.env.keys():
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", command)
            read_anew()
            # What a script registers ends with it, as it does with a process.
            with (
                mock.patch.dict(PAIRS),
                mock.patch.dict(FACTORIES),
                redirect_stdout(io.StringIO()) as out,
                redirect_stderr(io.StringIO()) as err,
            ):
                try:
                    call()
                    status = 0
                except SystemExit as ended:
                    status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        read_anew()
        logging.disable(logging.NOTSET)  # `--quiet` silences the whole process.
        return Ended(command, status, out.getvalue(), err.getvalue())

    def close(self) -> None:
        for running in self._started:
            running.kill()
        shutil.rmtree(self._ray, ignore_errors=True)
