"""A sweep that was submitted to the hosts, and what is watched of it and of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.hosts import Host
from tests.sweeps.processes import Running, wait_for
from tests.sweeps.stored import Stored

BIN = Path(sys.executable).parent
# Between looks at all processes, or into the database: the hosts need the processor.
PAUSE_S = 0.3
HOSTS = ("head", "worker-1", "worker-2")
# Long enough for two faults, one after the other; without early stopping, which depends on who comes first.
BUDGET = 180
SUBMIT = ("submit", "cluster.yaml", "sweeps/mnist.py", "--trials", "8", "--budget", str(BUDGET), "--no-pruning")


@dataclass
class Secrets:
    """The passwords of a tracking server, by what they are for, and where they were seen in a command line."""

    passwords: dict[str, str]
    seen: set[str]

    def of(self, person: str) -> str:
        return self.passwords[person]

    def found_in(self, text: str) -> list[str]:
        return [name for name, password in self.passwords.items() if password in text]


@dataclass
class Submitted:
    """A sweep as its person sees it, and what it stored."""

    stored: Stored
    said: Running
    trained: set[str]


def watched(sweep: Running, hosts: Sequence[Host], enough: Callable[[], bool] = lambda: False) -> set[str]:
    """The names of the hosts on which a trial was trained until the command ended, or that was enough."""
    trained: set[str] = set()

    def over() -> bool:
        trained.update(host.name for host in hosts if host.trains())
        return enough() or sweep.process.poll() is not None

    wait_for(over, "the sweep's end", pause_s=PAUSE_S)
    return trained
