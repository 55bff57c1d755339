"""Resources of each process of a sweep, and the number of processes that fit on a cluster now and after it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.cluster.growth import NONE, Growth
from wgan_core.errors import UserError

Resources = Mapping[str, float]
"""Resources of a node: the amounts of "CPU" and "GPU"."""
# Processes that may wait for nodes to join. If more processes than this fit already, as many may wait as fit.
AHEAD = 8


@dataclass(frozen=True)
class Placement:
    """Resources of a sweep's processes.

    Attributes:
        cpus_per_trial: CPUs of a process.
        gpus_per_trial: GPUs of a process: a fraction of one, or several, over which each batch is divided.
        max_concurrent: Most processes at the same time; 0 for as many as fit.
        growth: Nodes that may join the cluster.
    """

    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int = 0
    growth: Growth = NONE

    @property
    def threads(self) -> int:
        """Number of CPU threads of each rank's process."""
        return max(1, int(self.cpus_per_trial / self.ranks))

    @property
    def ranks(self) -> int:
        """Number of GPUs over which each batch is divided, with one process per GPU; 1 for at most one GPU."""
        return ranks_of(self.gpus_per_trial)

    def bundles(self) -> list[dict[str, float]]:
        """Return the resource bundles on one node: all CPUs and the first GPU, then one bundle per further GPU."""
        first = {"CPU": self.cpus_per_trial, "GPU": min(1.0, self.gpus_per_trial)}
        return [first] + [{"GPU": 1.0}] * (self.ranks - 1)

    def room(self, nodes: Sequence[Resources]) -> int:
        """Return the number of processes to have at once, including those that wait for a node to join.

        The sampler chose a waiting trial before it knew the results of the running ones. So at most as many processes
        wait as fit now, or `AHEAD` if fewer fit.
        """
        fitting = self.fitting(nodes)
        room = min(max(fitting, self._grown(nodes)), fitting + max(fitting, AHEAD))
        return min(room, self.max_concurrent or room)

    def line(self, nodes: Sequence[Resources]) -> str:
        """Return the message that describes the placement to the user."""
        share = f"{self.cpus_per_trial:g} CPU" + (f" and {self.gpus_per_trial:g} GPU" if self.gpus_per_trial else "")
        now, room = self.fitting(nodes), self.room(nodes)
        waits = f", {now} until nodes have come" if now < room else ""
        return f"nodes: {len(nodes)}; processes at a time: {room}, with {share} each{waits}"

    def fitting(self, nodes: Sequence[Resources]) -> int:
        """Return the number of processes that fit on these nodes."""
        return sum(self._fitting(node) for node in nodes)

    def _grown(self, nodes: Sequence[Resources]) -> int:
        """Return the number of processes that fit once all workers have joined, and on present nodes of other types."""
        kinds = [_size(kind.resources) for kind in self.growth.kinds]
        left, found = self.growth.most, self.fitting([node for node in nodes if _size(node) not in kinds])
        for kind in sorted(self.growth.kinds, key=lambda kind: self._fitting(kind.resources), reverse=True):
            count = kind.most if left is None else min(kind.most, left)
            left = None if left is None else left - count
            found += count * self._fitting(kind.resources)
        return found

    def _fitting(self, node: Resources) -> int:
        by_cpu = _times(self.cpus_per_trial, node.get("CPU", 0.0))
        gpus = int(node.get("GPU", 0.0))
        if not self.gpus_per_trial:
            return by_cpu
        return min(by_cpu, _by_gpu(self.gpus_per_trial, gpus))


def ranks_of(gpus_per_trial: float | None) -> int:
    """Return the number of processes that train a trial together. None stands for at most one GPU."""
    return max(1, int(gpus_per_trial or 0))


def placement(
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    max_concurrent: int,
    nodes: Sequence[Resources],
    growth: Growth = NONE,
) -> Placement:
    """Return the placement of a sweep's processes on a cluster.

    Args:
        cpus_per_trial: CPUs of a process. None is one CPU. If trials train on GPUs, None is an even share of a node's
            CPUs: a GPU trains many trials, and the CPUs score several of them at a time.
        gpus_per_trial: GPUs of a process. None is one GPU if any node has or will have GPUs, else 0.
        max_concurrent: Most processes at the same time; 0 for as many as fit.
        nodes: Resources of the nodes that are there.
        growth: Nodes that may join.

    Raises:
        UserError: No node that is there or may join has room for one process.
    """
    kinds = [*nodes, *(kind.resources for kind in growth.kinds)]
    has_gpus = any(kind.get("GPU", 0.0) for kind in kinds)
    per_trial = float(gpus_per_trial) if gpus_per_trial is not None else float(has_gpus)
    cpus = _cpus_beside(per_trial, kinds) if cpus_per_trial is None else cpus_per_trial
    found = Placement(cpus, per_trial, max_concurrent, growth)
    if found.room(nodes) < 1:
        largest = ", ".join(f"{kind.get('CPU', 0.0):g} and {kind.get('GPU', 0.0):g}" for kind in kinds)
        raise UserError(
            f"a trial needs {cpus:g} CPUs and {per_trial:g} GPUs on one node; the nodes have {largest}: "
            "ask for less with --cpus-per-trial and --gpus-per-trial"
        )
    return found


def _cpus_beside(gpus_per_trial: float, kinds: Sequence[Resources]) -> float:
    """Return the CPUs per process if all GPUs are in use, on the node with the fewest per process; at least 1."""
    processes = [(_by_gpu(gpus_per_trial, int(kind.get("GPU", 0.0))), kind) for kind in kinds] if gpus_per_trial else []
    shares = [kind.get("CPU", 0.0) // count for count, kind in processes if count]
    return max(1.0, min(shares, default=1.0))


def _by_gpu(gpus_per_trial: float, gpus: int) -> int:
    """Return the number of processes that fit on the GPUs of one node."""
    if gpus_per_trial > 1:
        return gpus // int(gpus_per_trial)
    # Ray never splits a fraction of a GPU over two GPUs.
    return gpus * _times(gpus_per_trial, 1.0)


def _size(node: Resources) -> tuple[float, float]:
    return node.get("CPU", 0.0), node.get("GPU", 0.0)


def _times(share: float, whole: float) -> int:
    """Return how often a share fits. `whole // share` is wrong: 0.2 in binary is above a fifth, so 1 // 0.2 is 4."""
    return int(whole / share + 1e-9)
