"""The machine that a benchmark runs on, and what else runs there."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

ALONE_WITHIN_S = 15.0
LISTEN_S = 2.0
# Cores that other work may keep busy before times are called disturbed.
MOST_BUSY = 0.1


def disturbance(within_s: float = ALONE_WITHIN_S) -> tuple[int, float]:
    """Processes of Ray and MLflow, and cores kept busy, while no arm runs; an earlier arm gets so long to end."""
    until = time.monotonic() + within_s
    while (others := services()) and time.monotonic() < until:
        time.sleep(0.5)
    return others, busy_cores()


def services() -> int:
    """How many daemons of Ray and servers of MLflow are alive on this machine, whosoever they are."""
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    found = 0
    for command in listed.splitlines():
        program, *rest = command.split()[:4]
        name = program.rpartition("/")[2]
        served = name.startswith(("python", "gunicorn", "uvicorn")) and any("mlflow" in word for word in rest)
        found += name in ("raylet", "gcs_server") or served
    return found


def busy_cores() -> float:
    """Cores kept busy, while this process waits."""
    before = busy_seconds()
    time.sleep(LISTEN_S)
    return (busy_seconds() - before) / LISTEN_S


def busy_seconds() -> float:
    """Core-seconds that this machine has worked since it started, as Linux counts them; else 0."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    return len(os.sched_getaffinity(0))
