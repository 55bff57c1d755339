"""Measurements of training speed and memory: a cohort of some width is trained for about a second."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from wgan_core.backend.choices import CAPTURED
from wgan_core.backend.graph import WARM_UPS
from wgan_core.backend.memory import give_back, is_out_of_memory
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_labels, evaluation_z
from wgan_core.training.state import TrainingState

SECONDS = 1.0
# Critic updates before timing starts, while memory is reserved and kernels are chosen; and least number of timed ones.
WARM_UP, LEAST = 12, 3
# Report step that no measurement reaches, because a report waits for the device lane by lane.
NEVER = 2**30


@dataclass(frozen=True)
class Measurement:
    """Training speed and memory of a number of lanes.

    Attributes:
        updates_per_s: Critic updates per second of all lanes together; None if the lanes do not fit in memory.
        peak_bytes: Peak device memory, including the scoring of one trial; None if unknown, as on the CPU.
    """

    lanes: int
    updates_per_s: float | None = None
    peak_bytes: int | None = None


def capacity(device: torch.device, share: float) -> int | None:
    """Return the bytes that this process may use on a device, given its share of it, or None if unknown.

    Call this function before the process puts anything on the device.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return min(free, int(share * total))


def measure(
    structure: Structure,
    data: TrainingData,
    hypers: Sequence[Hyper],
    samples: int,
    seconds: float = SECONDS,
    execution: str = CAPTURED,
) -> Measurement:
    """Train a cohort with one lane for each of `hypers`, and measure its speed and memory.

    Args:
        structure, data, execution: As for `Cohort`.
        hypers: Hyper-parameters, one lane each.
        samples: Number of samples to draw from one trial after training, as its scoring does.
        seconds: Approximate duration of the timed training.

    Returns:
        The measurement. Its speed and memory are None if memory ran out.

    Raises:
        Exception: Training failed for another reason than memory.
    """
    device = data.device
    give_back(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        speed = _speed(structure, data, hypers, samples, seconds, execution)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Measurement(len(hypers))
    finally:
        give_back(device)  # memory left over would count in the next measurement's peak
    # Reserved, not allocated, memory counts: a captured graph keeps its reserved memory between replays.
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    return Measurement(len(hypers), speed, peak)


def _speed(
    structure: Structure, data: TrainingData, hypers: Sequence[Hyper], samples: int, seconds: float, execution: str
) -> float:
    """Train and return the critic updates per second. Only this function refers to the cohort, so its end frees it."""
    cohort = Cohort(structure, data, (NEVER,), len(hypers), execution)
    # All lanes share one initial state: drawing hundreds of them would take longer than the training.
    start = TrainingState.initial(structure, 0, cohort.device)
    for number, hyper in enumerate(hypers):
        cohort.add(Trial(number, number, hyper), start)
    # Train whole cycles of n_critic updates, so that the timed updates have their share of generator updates.
    cycle = max(hyper.n_critic for hyper in hypers)
    # A GPU records a program at its fourth call, and one cycle may have only one tick with a generator update.
    _train(cohort, cycle * max(math.ceil(WARM_UP / cycle), WARM_UPS + 1))
    once, _ = _train(cohort, cycle)
    cycles = max(math.ceil(LEAST / cycle), math.ceil(seconds / once))
    took, updates = _train(cohort, cycle * cycles)
    told = None if data.labels is None else evaluation_labels(structure, data.labels.cpu(), samples)
    cohort.samples(0, evaluation_z(structure, samples), told)
    return len(hypers) * updates / took


def _train(cohort: Cohort, updates: int) -> tuple[float, int]:
    """Return the seconds and the critic updates per lane that training took."""
    before, asked = cohort.since_report(0)[0], iter(range(updates))
    started = time.perf_counter()
    cohort.advance(lambda: next(asked, None) is None)  # returns when the device is done
    return time.perf_counter() - started, cohort.since_report(0)[0] - before
