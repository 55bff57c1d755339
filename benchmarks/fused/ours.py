"""Our arm: a cohort as a worker trains it; and whether its lanes are what they would be alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from torch import Tensor
from wgan_gp import BATCH, BETAS, LAMBDA, LATENT, RATE, SHAPE

from wgan_core.backend.choices import CAPTURED, EAGER, FLOAT32
from wgan_core.backend.graph import WARM_UPS
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData

# No trial gets there.
NEVER = 10**9
REPORTS = 3
EQUAL_UPDATES, CAPTURED_UPDATES = 20, 100
# By lane, over and over.
MIXED, RARER = (1, 2, 7), (2, 3, 7)


def cohort_of(
    name: str,
    data: Tensor,
    trials: Sequence[Trial],
    grid: Sequence[int],
    execution: str = CAPTURED,
    dtype: str = "float32",
    precision: str = FLOAT32,
) -> Cohort:
    """These trials, a lane each, of the structure of this name. execution: as `Cohort` takes it."""
    structure = Structure(name, SHAPE, latent_dim=LATENT, batch_size=BATCH, dtype=dtype, precision=precision)
    cohort = Cohort(structure, TrainingData(data), grid, len(trials), execution=execution)
    for trial in trials:
        cohort.add(trial)
    return cohort


def rates(trials: int) -> list[float]:
    """A learning rate a trial, from half to twice the usual one, so that no arm can take them for equal."""
    return [RATE * 2 ** (2 * (number + 0.5) / trials - 1) for number in range(trials)]


def trials_of(count: int, n_critic: int) -> list[Trial]:
    hypers = [Hyper(LAMBDA, lr, lr, n_critic, *BETAS) for lr in rates(count)]
    return [Trial(number, number, hyper) for number, hyper in enumerate(hypers)]


class Ours:
    """K trials on as many lanes. They report a few times at the start, then never, as a report is many blocks away.

    Attributes:
        reporting_seconds: of an iteration that ends in a report.
    """

    def __init__(
        self,
        name: str,
        data: Tensor,
        n_critic: int,
        trials: int,
        execution: str = CAPTURED,
        precision: str = FLOAT32,
    ) -> None:
        self.n_critic = n_critic
        first = WARM_UPS + 1
        grid = (*(n_critic * count for count in range(1, first + REPORTS + 1)), NEVER)
        self.cohort = cohort_of(name, data, trials_of(trials, n_critic), grid, execution, precision=precision)
        # The first have all that first updates bring: memory, kernels, and a recording where there is one.
        taken = [self._advance() for _ in range(first + REPORTS)]
        self.reporting_seconds = statistics.median(taken[first:])

    def run(self, iterations: int) -> None:
        before, left = self._updates(), self.n_critic * iterations

        def enough() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self.cohort.advance(enough)
        if self._updates() != before + self.n_critic * iterations:
            raise RuntimeError(f"{self.n_critic * iterations} updates were asked; {self._updates() - before} done")

    def _updates(self) -> int:
        return self.cohort.since_report(0)[0]

    def _advance(self) -> float:
        """Seconds to the next report."""
        started = time.perf_counter()
        for report in self.cohort.advance():
            if report.problem:
                raise RuntimeError(report.problem)
        return time.perf_counter() - started


def difference(name: str, data: Tensor, lanes: int) -> float:
    """The largest difference between any number of a lane and of its trial alone, in fp64 after 20 critic updates.

    The trials differ in all hyper-parameters.
    """
    trials = _unlike(lanes, MIXED)
    together = _trained(name, data, trials)
    return max(_apart(together, _trained(name, data, [trial]), trial.number) for trial in trials)


def difference_of_capture(name: str, data: Tensor, lanes: int) -> float:
    """The largest difference between captured and eager updates of the same cohorts, of 2 lanes or more, in fp64.

    The updates span several blocks of draws, so that every program is replayed. One cohort has an n_critic of 1, so
    each of its ticks has a generator update; the other has none. Meanwhile a trial is dropped and another is added.
    """
    found = []
    for cycle in (MIXED, RARER):
        captured, eager = (_changed(name, data, _unlike(lanes + 1, cycle), choice) for choice in (CAPTURED, EAGER))
        found += [_apart(captured, eager, trial.number) for trial in captured.trials]
    return max(found)


def _unlike(count: int, n_critics: Sequence[int]) -> list[Trial]:
    return [
        Trial(
            number,
            number,
            Hyper(LAMBDA / (1 + number), lr, 2 * lr, n_critics[number % len(n_critics)], 0.1 * (number % 5), 0.9),
        )
        for number, lr in enumerate(rates(count))
    ]


def _trained(name: str, data: Tensor, trials: Sequence[Trial]) -> Cohort:
    cohort = cohort_of(name, data, trials, (EQUAL_UPDATES, NEVER), dtype="float64")
    cohort.advance()
    return cohort


def _changed(name: str, data: Tensor, trials: Sequence[Trial], execution: str) -> Cohort:
    """All trials but the last, which takes the place of the first when all programs are recorded."""
    cohort = cohort_of(name, data, trials[:-1], (CAPTURED_UPDATES, 2 * CAPTURED_UPDATES, NEVER), execution, "float64")
    cohort.advance()
    cohort.drop(trials[0].number)
    cohort.add(trials[-1])
    cohort.advance()
    return cohort


def _apart(one: Cohort, other: Cohort, number: int) -> float:
    theirs = other.state_of(number).tensors()
    return max(
        float((tensor.double() - theirs[name].double()).abs().max())
        for name, tensor in one.state_of(number).tensors().items()
    )
