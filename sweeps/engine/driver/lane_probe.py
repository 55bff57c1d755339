"""Measurement of the best number of lanes on a cluster, by a Ray task that runs before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray

from sweeps.engine.cluster.placement import Resources
from sweeps.engine.driver.lanes import LaneChoice, choose, climb, hypers, most_lanes, sizes, unmeasured
from sweeps.engine.driver.memory import largest
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.structures import check_structures
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.resident import resident
from wgan_core.data import Split
from wgan_core.errors import UserError, one_line
from wgan_core.training.preflight import check_fit
from wgan_core.training.probe import Measurement, capacity, measure


def settle_lanes(
    job: Job, kept: int | None, train: Split, samples: int, nodes: Sequence[Resources], say: Callable[[str], None]
) -> int:
    """Return the number of lanes of a process, and print the reason.

    Args:
        job: The job, whose own number of lanes does not count.
        kept: Number of lanes of a continued sweep; None for a new sweep.
        train: Training split.
        samples: Number of generated samples that are scored.
        nodes: Resources of each node that the cluster has now.
        say: Callback that prints a line for the user.

    Raises:
        UserError: Not even one trial fits in the memory.
    """
    plan, places = job.plan, job.places
    most = most_lanes(plan.trials, len(plan.space.presets), places.room(nodes))
    choice = unmeasured(kept, places, most) or _unfit(plan)
    if choice is None:
        wait = "" if places.fitting(nodes) else ", as soon as a node with one has come"
        say(f"lanes: measuring how many trials a GPU trains best side by side{wait}")
        choice = _measured_choice(job, most, train, samples)
    say(choice.line)
    return choice.lanes


def _unfit(plan: Plan) -> LaneChoice | None:
    """Return one lane if the networks cannot train two trials side by side, and None if they can."""
    try:
        check_structures(plan.space, plan.structure, lambda each: check_fit(each, 2))
    except UserError as error:
        why = one_line(error.__cause__ or error)
        return LaneChoice(1, f"lanes: 1 a process, as an update of two trials side by side fails: {why}")
    return None


def _measured_choice(job: Job, most: int, train: Split, samples: int) -> LaneChoice:
    """Measure and choose the number of lanes; choose one lane if the Ray task fails.

    Running out of memory is no failure of the task: it is one of the results that the task returns.
    """
    cpus, gpus = job.places.cpus_per_trial, job.places.gpus_per_trial
    # End the worker process with the task: an idle worker would hold memory that the trials need.
    task: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=1)(_measure_lanes)
    try:
        found, there = ray.get(task.remote(job, sizes(most), train, samples))
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        return LaneChoice(1, f"lanes: 1 a process, as measuring failed: {one_line(cause)}: --lanes N for several")
    return choose(found, there, most)


def _measure_lanes(job: Job, tried: Sequence[int], train: Split, samples: int) -> tuple[list[Measurement], int | None]:
    """Return the measurements and the device memory in bytes that this process may use. Runs in a Ray worker.

    All structures of a plan get the lanes that suit the largest.
    """
    plan, device = job.plan, job.configure()
    there = capacity(device, job.places.gpus_per_trial)
    data, structure = resident(train, plan.data_digest, device), largest(plan)

    def of(lanes: int) -> Measurement:
        points = hypers(plan.space, lanes)
        return measure(structure, data, points, samples, execution=job.execution)

    return climb(tried, of), there
