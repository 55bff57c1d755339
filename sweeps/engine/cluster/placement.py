"""What each process of a sweep takes, and how many fit on a cluster, as it is and as it may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.cluster.growth import NONE, Growth
from wgan_core.errors import UserError

Resources = Mapping[str, float]
"""A node's: "CPU" and "GPU" by amount."""
# Processes that are asked for before their nodes are there; as many again as fit by then, where that is more.
AHEAD = 8


@dataclass(frozen=True)
class Placement:
    """CPUs and GPUs of each process; how many may run at once, 0 for as many as fit; what the cluster may grow by."""

    cpus_per_trial: float
    gpus_per_trial: float
    max_concurrent: int = 0
    growth: Growth = NONE

    @property
    def threads(self) -> int:
        """CPU threads of each process."""
        return max(1, int(self.cpus_per_trial / self.ranks))

    @property
    def ranks(self) -> int:
        """Over how many GPUs a trial is trained, each with a process of its own; without any, 1."""
        return ranks_of(self.gpus_per_trial)

    def bundles(self) -> list[dict[str, float]]:
        """What a trial takes, on one node: its first process with all its CPUs, then one a further GPU."""
        first = {"CPU": self.cpus_per_trial, "GPU": min(1.0, self.gpus_per_trial)}
        return [first] + [{"GPU": 1.0}] * (self.ranks - 1)

    def room(self, nodes: Sequence[Resources]) -> int:
        """How many processes to have at once, those that wait for a node to come among them.

        A trial that waits was asked for without knowing what its predecessors came to. So no more of them wait than
        it takes for the cluster to double.
        """
        fitting = self.fitting(nodes)
        room = min(max(fitting, self._grown(nodes)), fitting + max(fitting, AHEAD))
        return min(room, self.max_concurrent or room)

    def line(self, nodes: Sequence[Resources]) -> str:
        """What a person is told of it."""
        share = f"{self.cpus_per_trial:g} CPU" + (f" and {self.gpus_per_trial:g} GPU" if self.gpus_per_trial else "")
        now, room = self.fitting(nodes), self.room(nodes)
        waits = f", {now} until nodes have come" if now < room else ""
        return f"nodes: {len(nodes)}; processes at a time: {room}, with {share} each{waits}"

    def fitting(self, nodes: Sequence[Resources]) -> int:
        """How many processes fit on these nodes."""
        return sum(self._fitting(node) for node in nodes)

    def _grown(self, nodes: Sequence[Resources]) -> int:
        """How many fit on all the nodes that may come, and on those that are of no such kind, as the head."""
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
    """The number of processes that train a trial together; None for the GPUs is at most one."""
    return max(1, int(gpus_per_trial or 0))


def placement(
    cpus_per_trial: float | None,
    gpus_per_trial: float | None,
    max_concurrent: int,
    nodes: Sequence[Resources],
    growth: Growth = NONE,
) -> Placement:
    """The placement on a cluster of these nodes.

    None for the GPUs is one where nodes have or will have any. None for the CPUs is one, and where trials train on GPUs
    an even share of a node's: the many trials on a GPU are scored on CPUs, several at a time.

    Raises `UserError` if not even one trial fits on a node that there is or may be.
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
    """CPUs of each process where every GPU of these nodes has its processes, and on the least of them."""
    processes = [(_by_gpu(gpus_per_trial, int(kind.get("GPU", 0.0))), kind) for kind in kinds] if gpus_per_trial else []
    shares = [kind.get("CPU", 0.0) // count for count, kind in processes if count]
    return max(1.0, min(shares, default=1.0))


def _by_gpu(gpus_per_trial: float, gpus: int) -> int:
    """How many processes so many GPUs take, of one node."""
    if gpus_per_trial > 1:
        return gpus // int(gpus_per_trial)
    # A fraction of a GPU never straddles two.
    return gpus * _times(gpus_per_trial, 1.0)


def _size(node: Resources) -> tuple[float, float]:
    return node.get("CPU", 0.0), node.get("GPU", 0.0)


def _times(share: float, whole: float) -> int:
    """How often a share fits. Not `whole // share`: 0.2 in binary is a little more than a fifth, so 1 // 0.2 is 4."""
    return int(whole / share + 1e-9)
