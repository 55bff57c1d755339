"""How many trials fit on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgan_core.errors import UserError


@dataclass(frozen=True)
class Placement:
    """GPUs of each process, and how many processes run at once."""

    gpus_per_trial: float
    concurrent: int


def placement(
    cpus_per_trial: float, gpus_per_trial: float | None, max_concurrent: int, resources: Mapping[str, float]
) -> Placement:
    """What fits into a cluster's resources ("CPU", "GPU" by amount). A fraction of a GPU never straddles two.

    Raises `UserError` if not even one trial fits.
    """
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    per_trial = float(gpus_per_trial) if gpus_per_trial is not None else (1.0 if gpus else 0.0)
    fitting = _times(cpus_per_trial, cpus)
    if per_trial:
        fitting = min(fitting, int(gpus) * _times(per_trial, 1.0))
    if fitting < 1:
        raise UserError(
            f"a trial needs {cpus_per_trial:g} CPUs and {per_trial:g} GPUs; the cluster has {cpus:g} and {gpus:g}: "
            "ask for less with --cpus-per-trial and --gpus-per-trial"
        )
    return Placement(per_trial, min(fitting, max_concurrent or fitting))


def _times(share: float, whole: float) -> int:
    """How often a share fits. Not `whole // share`: 0.2 in binary is a little more than a fifth, so 1 // 0.2 is 4."""
    return int(whole / share + 1e-9)
