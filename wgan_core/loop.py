"""The training loop of a cohort: trials side by side, from report to report.

The caller holds the loop: `advance` trains until some lanes stand at a step of the report grid and
says how they fare; the caller judges them, drops lanes and adds others.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core.batches import Batches
from wgan_core.config import Structure, Trial
from wgan_core.means import Means, Sums
from wgan_core.sampling import draw_samples
from wgan_core.state import State
from wgan_core.step import Step


def report_grid(budget: int, reports: int) -> tuple[int, ...]:
    """The critic updates at which every trial of a sweep reports: `reports` even steps up to the budget."""
    return tuple(sorted({max(1, round(budget * k / reports)) for k in range(1, reports + 1)}))


@dataclass(frozen=True)
class Report:
    """How a trial fares at a step of the grid; means are over the updates since the step before.

    `problem` names what is not finite, or is empty. `seconds` are of training since the step before,
    a lane's share of its cohort's.
    """

    trial: Trial
    critic_updates: int
    generator_updates: int
    means: dict[str, float]
    seconds: float
    problem: str


@dataclass
class _Lane:
    trial: Trial
    critic_updates: int
    seconds: float = 0.0

    @property
    def generator_updates(self) -> int:
        return self.critic_updates // self.trial.hyper.n_critic


class Cohort:
    """Trials of one structure on `width` lanes, trained side by side. Not thread-safe.

    A vacant lane is computed as well, on what an occupied one is given, and leaves nothing behind. So shapes never
    change, and with them no bit of a trial, however its neighbours come and go.
    """

    def __init__(
        self,
        structure: Structure,
        data: Tensor,
        grid: Sequence[int],
        device: torch.device,
        width: int = 1,
        labels: Tensor | None = None,
    ) -> None:
        """data: all real samples (M, ...), uint8 pixels or floats, on `device`; grid: the report steps, ascending.

        labels: int64 (M,), on `device`; needed where the structure has classes. Raises `ValueError` without them.
        """
        if structure.classes and labels is None:
            raise ValueError(f"networks of {structure.classes} classes need the labels of the data")
        self.structure, self.grid, self.device = structure, tuple(grid), device
        self._data, self._labels = data, labels
        self._step = Step(structure)
        self._lanes: list[_Lane | None] = [None] * width
        self._state: State | None = None
        self._batches: Batches | None = None
        self._means = Means(width, device)

    @property
    def trials(self) -> list[Trial]:
        """The trials on the lanes, in order."""
        return [lane.trial for _, lane in self._occupied]

    def add(
        self, trial: Trial, state: State | None = None, critic_updates: int = 0, since_report: Sums | None = None
    ) -> None:
        """Put a trial on a vacant lane: from its seed, or from a state of one lane at a count of critic updates.

        since_report: what `since_report` gave of it there, if that is no step of the grid.
        """
        if None not in self._lanes:
            raise ValueError(f"no lane is vacant: the {len(self._lanes)} hold {[t.number for t in self.trials]}")
        index = self._lanes.index(None)
        start = state.to(self.device) if state is not None else State.initial(self.structure, trial.seed, self.device)
        if self._state is None:
            self._state = start.lanes([0] * len(self._lanes))
        else:
            self._state.put(index, start)
        self._lanes[index] = _Lane(trial, critic_updates)
        self._means.put(index, since_report or {})
        self._batches = None

    def drop(self, number: int) -> None:
        """Take the trial of this number off its lane; the others go on as if it had never been there."""
        self._lanes[self._index(number)] = None
        self._batches = None
        if not self._occupied:
            self._state = None

    def resize(self, width: int) -> None:
        """Go on with this many lanes. Raises `ValueError` if the trials need more.

        Another number of lanes may change the last bit of what a trial becomes in single precision.
        """
        occupied = self._occupied
        if width < max(1, len(occupied)):
            raise ValueError(f"{len(occupied)} trials need as many lanes; given {width}")
        means = Means(width, self.device)
        for place, (index, _) in enumerate(occupied):
            means.put(place, self._means.so_far(index))
        if occupied:
            kept = [index for index, _ in occupied]
            self._state = self._held.lanes(kept + kept[:1] * (width - len(kept)))
        self._lanes = [lane for _, lane in occupied] + [None] * (width - len(occupied))
        self._means, self._batches = means, None

    @property
    def width(self) -> int:
        """The number of lanes."""
        return len(self._lanes)

    def state_of(self, number: int) -> State:
        """A copy of the state of one trial, as a single lane."""
        return self._held.lanes([self._index(number)])

    def since_report(self, number: int) -> tuple[int, float, Sums]:
        """Critic updates of one trial in all, and since its last report seconds of training and sums of its means."""
        index = self._index(number)
        lane = dict(self._occupied)[index]
        return lane.critic_updates, lane.seconds, self._means.so_far(index)

    def samples(self, number: int, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Samples (N, ...) of a trial's averaged generator, on the CPU, for z (N, Z) and labels (N,)."""
        return draw_samples(self._step, self.state_of(number), z, labels, self.device)

    def advance(self, interrupted: Callable[[], bool] = lambda: False) -> list[Report]:
        """Train all lanes until at least one stands at its next report step; the reports of those that do.

        interrupted: asked before every update; if it says so, training stops there, maybe without any report.
        """
        occupied = [lane for _, lane in self._occupied]
        ticks = min(self._next_report(lane) - lane.critic_updates for lane in occupied)
        started, left = time.perf_counter(), ticks
        while left and not interrupted():
            self._tick()
            left -= 1
        share = (time.perf_counter() - started) / len(occupied)
        for lane in occupied:
            lane.seconds += share
        if left:
            return []
        return [self._report(index, lane) for index, lane in self._occupied if lane.critic_updates in self.grid]

    def _tick(self) -> None:
        """One critic update of every lane, then a generator update of those whose n_critic-th it was."""
        stand_in = self._occupied[0][1]
        lanes = [lane or stand_in for lane in self._lanes]
        if self._batches is None:
            self._batches = Batches(self.structure, self._data, [lane.trial.seed for lane in lanes], self._labels)
        hypers = [lane.trial.hyper for lane in lanes]
        updates = [lane.critic_updates for lane in lanes]
        quantities = self._step.update_critic(self._held, hypers, self._batches.critic(updates), updates)
        self._means.record(quantities, slice(None))
        generator_updates = [lane.generator_updates for lane in lanes]
        for _, lane in self._occupied:
            lane.critic_updates += 1
        due = [index for index, lane in self._occupied if lane.generator_updates > generator_updates[index]]
        if due:
            z = self._batches.generator(generator_updates)
            labels = self._batches.generator_labels(generator_updates)
            quantities = self._step.update_generator(self._held, hypers, z, generator_updates, due, labels)
            self._means.record(quantities, due)

    def _report(self, index: int, lane: _Lane) -> Report:
        means, seconds = self._means.take(index), lane.seconds
        lane.seconds = 0.0
        wrong = [name for name, value in means.items() if not math.isfinite(value)]
        wrong += [name for name, tensor in self._held.tensors().items() if not tensor[index].isfinite().all()]
        problem = f"not finite at critic update {lane.critic_updates}: {', '.join(wrong[:4])}" if wrong else ""
        return Report(lane.trial, lane.critic_updates, lane.generator_updates, means, seconds, problem)

    def _next_report(self, lane: _Lane) -> int:
        after = bisect_right(self.grid, lane.critic_updates)
        if after == len(self.grid):
            raise ValueError(f"trial {lane.trial.number} stands at the last report step, {self.grid[-1]}: drop it")
        return self.grid[after]

    @property
    def _occupied(self) -> list[tuple[int, _Lane]]:
        return [(index, lane) for index, lane in enumerate(self._lanes) if lane is not None]

    def _index(self, number: int) -> int:
        for index, lane in self._occupied:
            if lane.trial.number == number:
                return index
        raise KeyError(f"no lane holds trial {number}; the lanes hold {[trial.number for trial in self.trials]}")

    @property
    def _held(self) -> State:
        if self._state is None:
            raise ValueError("the cohort holds no trial: add one")
        return self._state
