"""Measurement of the best number of lanes on a cluster, by a Ray task that runs before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
import torch
from numpy.typing import NDArray

from sweeps.engine.cluster.placement import Placement, Resources
from sweeps.engine.driver.lanes import Choice, choose, climb, hypers, most_lanes, sizes, unmeasured
from sweeps.engine.plan.plan import Plan
from sweeps.engine.worker.runner import resident
from wgan_core.backend import process
from wgan_core.backend.choices import CAPTURED
from wgan_core.data import Split
from wgan_core.errors import UserError, one_line
from wgan_core.networks.pairs import PAIRS, Pair, own_pair
from wgan_core.training.preflight import check_fit
from wgan_core.training.probe import Measurement, capacity, measure


def settle_lanes(
    kept: int | None,
    plan: Plan,
    train: Split,
    samples: int,
    places: Placement,
    nodes: Sequence[Resources],
    say: Callable[[str], None],
    execution: str = CAPTURED,
) -> int:
    """Return the number of lanes of a process, and print the reason.

    Args:
        kept: Number of lanes of a continued sweep; None for a new sweep.
        plan: The sweep's plan.
        train: Training split.
        samples: Number of generated samples that are scored.
        places: Resources of a trial.
        nodes: Resources of each node that the cluster has now.
        say: Callback that prints a line for the user.
        execution: Execution mode of updates on a GPU, as in `Cohort`.

    Raises:
        UserError: Not even one trial fits in the memory.
    """
    most = most_lanes(plan.trials, len(plan.space.presets), places.room(nodes))
    choice = unmeasured(kept, places, most) or _unfit(plan)
    if choice is None:
        wait = "" if places.fitting(nodes) else ", as soon as a node with one has come"
        say(f"lanes: measuring how many trials a GPU trains best side by side{wait}")
        choice = _measured_choice(plan, train, samples, places, most, execution)
    say(choice.line)
    return choice.lanes


def _unfit(plan: Plan) -> Choice | None:
    """Return one lane if the networks cannot train two trials side by side, and None if they can."""
    try:
        check_fit(plan.structure, 2)
    except UserError as error:
        why = one_line(error.__cause__ or error)
        return Choice(1, f"lanes: 1 a process, as an update of two trials side by side fails: {why}")
    return None


def _measured_choice(plan: Plan, train: Split, samples: int, places: Placement, most: int, execution: str) -> Choice:
    """Measure and choose the number of lanes; choose one lane if the Ray task fails.

    Running out of memory is no failure of the task: it is one of the results that the task returns.
    """
    try:
        found, there = _measured(plan, train, samples, places, sizes(most), execution)
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        return Choice(1, f"lanes: 1 a process, as measuring failed: {one_line(cause)}: --lanes N for several")
    return choose(found, there, most)


@dataclass(frozen=True)
class _Tried:
    """Arguments of the Ray task. `pair` holds the user's own networks, because workers know only the built-in ones."""

    plan: Plan
    sizes: tuple[int, ...]
    samples: int
    threads: int
    gpu_share: float
    execution: str
    pair: Pair | None


def _measured(
    plan: Plan, train: Split, samples: int, places: Placement, tried: tuple[int, ...], execution: str
) -> tuple[list[Measurement], int | None]:
    pair = own_pair(plan.structure.networks)
    told = _Tried(plan, tried, samples, places.threads, places.gpus_per_trial, execution, pair)
    # End the worker process with the task: an idle worker would hold memory that the trials need.
    task: Any = ray.remote(num_cpus=places.cpus_per_trial, num_gpus=places.gpus_per_trial, max_calls=1)(_measure_lanes)
    return cast("tuple[list[Measurement], int | None]", ray.get(task.remote(told, train.values, train.labels)))


def _measure_lanes(
    told: _Tried, values: NDArray[Any], labels: NDArray[Any] | None
) -> tuple[list[Measurement], int | None]:
    """Return the measurements and the device memory in bytes that this process may use. Runs in a Ray worker."""
    plan = told.plan
    if told.pair is not None:
        PAIRS[plan.structure.networks] = told.pair
    process.configure(told.threads, told.gpu_share, plan.structure.precision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = capacity(device, told.gpu_share)
    data = resident(values, plan.data_digest, device)
    classes = None if labels is None else torch.from_numpy(labels.copy()).to(device)

    def of(lanes: int) -> Measurement:
        points = hypers(plan.space, lanes)
        return measure(plan.structure, data, classes, points, device, told.samples, execution=told.execution)

    return climb(told.sizes, of), there
