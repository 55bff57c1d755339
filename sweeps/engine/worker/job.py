"""Job of a worker: the plan of a sweep, and how the worker trains its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from sweeps.engine.cluster.placement import Placement
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.structures import structures
from wgan_core.backend import process
from wgan_core.backend.choices import CAPTURED
from wgan_core.data.folder import Folder
from wgan_core.networks.pairs import PAIRS, Pair, own_pair


@dataclass(frozen=True)
class Job:
    """A plan, and how it is trained. All workers of a plan get the same job, and pass it on as a whole.

    Attributes:
        plan: What is searched.
        folder: The sweep's folder.
        places: Resources of each process.
        inventory: Versions and code digests of the driver, which each worker must match.
        execution: Execution mode of updates on a GPU.
        lanes: Most trials of a cohort.
        pairs: The user's own networks by name. Workers know only the built-in ones.
    """

    plan: Plan
    folder: Folder
    places: Placement
    inventory: dict[str, str]
    execution: str = CAPTURED
    lanes: int = 1
    pairs: Mapping[str, Pair] = field(default_factory=dict)

    def configure(self) -> torch.device:
        """Configure this process and return its device: its one GPU, or the CPU if it has none."""
        gpus = self.places.gpus_per_trial
        process.configure(self.places.threads, gpus, self.plan.structure.precision)
        PAIRS.update(self.pairs)
        # A process to which Ray gave no GPU may still see the GPUs.
        return torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")


def own_pairs(plan: Plan) -> dict[str, Pair]:
    """Return the user's own networks that trials of a plan may have, by name."""
    found = {name: own_pair(name) for name in {each.networks for each in structures(plan.space, plan.structure)}}
    return {name: pair for name, pair in found.items() if pair is not None}
