"""How many trials fit on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wgan_core.errors import UserError


@dataclass(frozen=True)
class Placement:
    """GPUs of each process, and how many processes run at once."""

    gpus_per_trial: float
    concurrent: int


def placement(
    cpus_per_trial: float, gpus_per_trial: float | None, max_concurrent: int, nodes: Sequence[Mapping[str, float]]
) -> Placement:
    """What fits on nodes with these resources ("CPU", "GPU" by amount). A fraction of a GPU never straddles two.

    Raises `UserError` if not even one trial fits.
    """
    has_gpus = any(node.get("GPU", 0.0) for node in nodes)
    per_trial = float(gpus_per_trial) if gpus_per_trial is not None else float(has_gpus)
    fitting = sum(_fitting(cpus_per_trial, per_trial, node) for node in nodes)
    if fitting < 1:
        largest = ", ".join(f"{node.get('CPU', 0.0):g} and {node.get('GPU', 0.0):g}" for node in nodes)
        raise UserError(
            f"a trial needs {cpus_per_trial:g} CPUs and {per_trial:g} GPUs on one node; the nodes have {largest}: "
            "ask for less with --cpus-per-trial and --gpus-per-trial"
        )
    return Placement(per_trial, min(fitting, max_concurrent or fitting))


def _fitting(cpus_per_trial: float, gpus_per_trial: float, node: Mapping[str, float]) -> int:
    by_cpu = _times(cpus_per_trial, node.get("CPU", 0.0))
    if not gpus_per_trial:
        return by_cpu
    return min(by_cpu, int(node.get("GPU", 0.0)) * _times(gpus_per_trial, 1.0))


def _times(share: float, whole: float) -> int:
    """How often a share fits. Not `whole // share`: 0.2 in binary is a little more than a fifth, so 1 // 0.2 is 4."""
    return int(whole / share + 1e-9)
