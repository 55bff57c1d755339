"""How fast trials of a structure train side by side on a device, and what memory they take: tried, for a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core.backend.choices import CAPTURED
from wgan_core.backend.graph import WARM_UPS
from wgan_core.backend.memory import give_back, is_out_of_memory
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.samples import evaluation_labels, evaluation_z
from wgan_core.training.state import TrainingState

SECONDS = 1.0
# Critic updates before those that are timed, in which memory is reserved and kernels are chosen; and timed, at least.
WARM_UP, LEAST = 12, 3
# No cohort comes to its report, which waits for the device lane by lane.
NEVER = 2**30


@dataclass(frozen=True)
class Measurement:
    """How so many lanes train.

    updates_per_s: critic updates of all lanes together; None: they do not fit in the memory. peak_bytes: of the
    device's memory, with that of scoring a trial; None where it is not known, as on the CPU.
    """

    lanes: int
    updates_per_s: float | None = None
    peak_bytes: int | None = None


def capacity(device: torch.device, share: float) -> int | None:
    """Bytes that a process may take of a device of which it has this share; None where it is not known.

    Asked before anything is on the device.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return min(free, int(share * total))


def measure(
    structure: Structure,
    data: Tensor,
    labels: Tensor | None,
    hypers: Sequence[Hyper],
    device: torch.device,
    samples: int,
    seconds: float = SECONDS,
    execution: str = CAPTURED,
) -> Measurement:
    """Train a cohort of a lane for each of `hypers` for so long, and draw so many samples of one, as for its score.

    data, labels, execution: as `Cohort` takes them. Raises what training does, unless it is for want of memory.
    """
    give_back(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        speed = _speed(
            lambda: Cohort(structure, data, (NEVER,), device, len(hypers), labels, execution),
            hypers,
            labels,
            samples,
            seconds,
        )
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Measurement(len(hypers))
    finally:
        give_back(device)  # what is left of it would be in the next one's peak
    # Reserved, not allocated: what a captured graph has reserved stays its own between its replays.
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    return Measurement(len(hypers), speed, peak)


def _speed(
    vacant: Callable[[], Cohort], hypers: Sequence[Hyper], labels: Tensor | None, samples: int, seconds: float
) -> float:
    cohort = vacant()
    structure = cohort.structure
    # One start for all: to draw hundreds would take longer than to train them.
    start = TrainingState.initial(structure, 0, cohort.device)
    for number, hyper in enumerate(hypers):
        cohort.add(Trial(number, number, hyper), start)
    # In whole cycles, so that each has its share of generator updates.
    cycle = max(hyper.n_critic for hyper in hypers)
    # A GPU records a tick with generators at their fourth time.
    _train(cohort, cycle * max(math.ceil(WARM_UP / cycle), WARM_UPS + 1))
    once, _ = _train(cohort, cycle)
    cycles = max(math.ceil(LEAST / cycle), math.ceil(seconds / once))
    took, updates = _train(cohort, cycle * cycles)
    told = None if labels is None else evaluation_labels(structure, labels.cpu(), samples)
    cohort.samples(0, evaluation_z(structure, samples), told)
    return len(hypers) * updates / took


def _train(cohort: Cohort, updates: int) -> tuple[float, int]:
    """Seconds, and critic updates of each lane, of which there may be more than asked for."""
    before, asked = cohort.since_report(0)[0], iter(range(updates))
    _wait(cohort.device)
    started = time.perf_counter()
    cohort.advance(lambda: next(asked, None) is None)
    _wait(cohort.device)
    return time.perf_counter() - started, cohort.since_report(0)[0] - before


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
