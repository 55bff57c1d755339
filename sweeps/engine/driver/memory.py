"""Check that the trials that train at once on a node fit into its memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.engine.cluster.placement import Resources
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.structures import structures
from sweeps.engine.worker.job import Job
from wgan_core.config import Structure
from wgan_core.data.limits import size_text
from wgan_core.errors import UserError
from wgan_core.training.footprint import footprint, output_bytes, state_bytes


def largest(plan: Plan) -> Structure:
    """Return the structure of the plan's trials that takes most memory."""
    found = structures(plan.space, plan.structure)
    return found[0] if len(found) == 1 else max(found, key=footprint)


def check_memory(job: Job, most: int, nodes: Sequence[Resources]) -> None:
    """Check that all trials that train at once on a node fit into half of the memory that Ray counts for processes.

    Somebody else may have written the data and the sweep's file. They decide the sizes of networks and batches, and the
    number of lanes of a continued sweep. Of several structures, the largest must fit. If trials train on GPUs, each
    process needs its node's memory for one trial alone, and finds itself how many lanes fit on its GPU.

    Args:
        job: The job, with its number of lanes.
        most: Number of trials of the search or of the confirmation, whichever is more.
        nodes: Resources of each node that the cluster has now. A node without "memory" is not checked.

    Raises:
        UserError: The trials do not fit on a node, now or when it joins.
    """
    structure, places = largest(job.plan), job.places
    lanes, size = (1 if places.gpus_per_trial else job.lanes), state_bytes(structure)
    if not places.gpus_per_trial:
        size += output_bytes(structure)
    for node in (*nodes, *(kind.resources for kind in places.growth.kinds)):
        processes = min(places.fitting([node]), places.max_concurrent or math.inf)
        trials = min(processes * lanes, most)
        half = node.get("memory", math.inf) / 2
        if trials * size > half:
            raise UserError(
                f"the trials that train at once on a node must fit into half of its memory for processes, "
                f"{size_text(int(half))}; {trials:,} trials, {lanes:,} a process, of networks {structure.networks!r} "
                f"take at least {size_text(int(trials * size))}: give --lanes 1 or --max-concurrent 1, smaller samples "
                "or batches, or other --networks"
            )
