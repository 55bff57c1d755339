"""The number of lanes that suits a cluster, measured there by a task that takes a trial's place before the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """Return how many trials a process trains side by side, and say why.

    Args:
        kept: the number that the sweep has already, as `unmeasured` takes it.
        plan: the sweep's plan.
        train: the training split.
        samples: the samples that a score takes.
        places: the resources of a trial.
        nodes: the resources of each node that the cluster has now.
        say: is given the line that a person reads.
        execution: how a GPU carries out updates, as in `Cohort`.

    Raises:
        UserError: not even one trial fits in the memory.
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
    """One lane for networks that are trained alone but not side by side; None for all others."""
    try:
        check_fit(plan.structure, 2)
    except UserError as error:
        why = one_line(error.__cause__ or error)
        return Choice(1, f"lanes: 1 a process, as an update of two trials side by side fails: {why}")
    return None


def _measured_choice(plan: Plan, train: Split, samples: int, places: Placement, most: int, execution: str) -> Choice:
    """Want of memory is part of what is measured; whatever else goes wrong leaves a trial a process, as without."""
    try:
        found, there = _measured(plan, train, samples, places, sizes(most), execution)
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        return Choice(1, f"lanes: 1 a process, as measuring failed: {one_line(cause)}: --lanes N for several")
    return choose(found, there, most)


@dataclass(frozen=True)
class _Tried:
    """What the task is told; pair: the networks, if they are a person's own, which no worker knows."""

    plan_json: Mapping[str, Any]
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
    told = _Tried(plan.as_json(), tried, samples, places.threads, places.gpus_per_trial, execution, pair)
    # Its process ends with it: one that waited for another task would keep its memory from the trials.
    task: Any = ray.remote(num_cpus=places.cpus_per_trial, num_gpus=places.gpus_per_trial, max_calls=1)(_measure_lanes)
    return cast("tuple[list[Measurement], int | None]", ray.get(task.remote(told, train.values, train.labels)))


def _measure_lanes(
    told: _Tried, values: NDArray[Any], labels: NDArray[Any] | None
) -> tuple[list[Measurement], int | None]:
    """In a worker: what was measured, and the bytes that this process may take of its device."""
    plan = Plan.from_json(told.plan_json)
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
