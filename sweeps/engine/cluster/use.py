"""How much of a cluster is in use, for a person who watches."""

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
QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """What its driver measures: the share of the last moments in which it computed, and memory in GiB."""

    busy: float
    used_gib: float
    gib: float


@dataclass(frozen=True)
class Use:
    """Nodes, CPUs and GPUs of a cluster, and how many of them are allotted; `here`: the GPUs of this node, measured."""

    nodes: int
    cpus: float
    cpus_used: float
    gpus: float = 0.0
    gpus_used: float = 0.0
    here: Sequence[Gpu] = ()


class ClusterUse:
    """Asks Ray, and of the GPUs of this node their driver; not other nodes, which a question would keep from going."""

    def __init__(self) -> None:
        self._use: Use | None = None
        self._here: list[Gpu] = []
        self._measured_s = -math.inf

    def now(self) -> Use | None:
        """As it is; as it was if the cluster does not answer, None if it never has."""
        if not ray.is_initialized():  # Ray would start, if it were asked
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
    """The GPUs of this machine, by NVIDIA's own command; none where that is not there, or does not say."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        said = subprocess.run([command, *QUERY], capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout
        found = [[float(cell) for cell in line.split(",")] for line in said.splitlines()]
        return [Gpu(busy / 100, used / 1024, there / 1024) for busy, used, there in found]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
