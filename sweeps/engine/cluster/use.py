"""Current usage of a cluster, for the live view."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import ray

from sweeps.engine.cluster.nodes import alive

MEASURED_EVERY_S = 10.0
ANSWER_S = 5.0


@dataclass(frozen=True)
class Gpu:
    """Measurements of a GPU by its driver.

    Attributes:
        busy: Share of the last sample period in which a kernel ran, 0 to 1.
        used_gib, gib: Used and total memory, in GiB.
    """

    busy: float
    used_gib: float
    gib: float


@dataclass(frozen=True)
class Use:
    """Usage of a cluster.

    Attributes:
        nodes: Number of live nodes.
        cpus, gpus: Numbers of CPUs and GPUs.
        cpus_used, gpus_used: Numbers that Ray has allotted to tasks and actors.
        here: Measurements of this node's GPUs.
    """

    nodes: int
    cpus: float
    cpus_used: float
    gpus: float = 0.0
    gpus_used: float = 0.0
    here: Sequence[Gpu] = ()


class ClusterUse:
    """A monitor of the cluster's usage.

    It asks Ray for the cluster, and the GPU driver for this node. It runs no tasks on other nodes, because a task would
    keep an idle node from being removed.
    """

    def __init__(self) -> None:
        self._use: Use | None = None
        self._here: list[Gpu] = []
        self._measured_s = -math.inf

    def now(self) -> Use | None:
        """Return the current usage. If Ray does not answer, return the last known usage; None if there is none."""
        if not ray.is_initialized():  # A call to Ray would start a cluster.
            return self._use
        with suppress(RuntimeError, OSError, ray.exceptions.RayError):
            there, free = ray.cluster_resources(), ray.available_resources()
            cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
            cpus_used, gpus_used = cpus - free.get("CPU", 0.0), gpus - free.get("GPU", 0.0)
            self._use = Use(len(alive()), cpus, cpus_used, gpus, gpus_used, self._measured() if gpus else ())
        return self._use

    def _measured(self) -> list[Gpu]:
        if time.monotonic() - self._measured_s > MEASURED_EVERY_S:
            self._here, self._measured_s = measured(), time.monotonic()
        return self._here


def measured() -> list[Gpu]:
    """Measure this machine's GPUs. Return none if `nvidia-smi` is missing or fails."""
    with suppress(ValueError):
        found = [map(float, cells) for cells in nvidia_smi("utilization.gpu,memory.used,memory.total", ANSWER_S)]
        return [Gpu(busy / 100, used / 1024, there / 1024) for busy, used, there in found]
    return []


def nvidia_smi(fields: str, within_s: float) -> list[list[str]]:
    """Return the values that `nvidia-smi` has for each GPU of this machine; none if it is missing or fails.

    Args:
        fields: Names of the values, separated by commas.
        within_s: Longest time to wait, in seconds.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    options = (f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    try:
        said = subprocess.run([command, *options], capture_output=True, text=True, timeout=within_s, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in said.splitlines()]
