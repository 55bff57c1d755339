"""A cohort's training loop: trials train side by side, from report to report.

The caller drives the loop. `advance` trains until at least one lane reaches a report step, and returns the reports.
The caller then judges the reports, drops lanes and adds others.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core.backend.choices import CAPTURED, EAGER, EXECUTIONS
from wgan_core.backend.memory import give_back
from wgan_core.backend.ranks import ALONE, Ranks
from wgan_core.config import Structure, Trial
from wgan_core.training.data import TrainingData
from wgan_core.training.means import Sums
from wgan_core.training.samples import SAMPLE_BATCH, draw_samples
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step
from wgan_core.training.ticks import Ticks


@dataclass(frozen=True)
class Report:
    """A trial's progress at one report step.

    Attributes:
        means: Mean of each training metric over the updates since the previous report step.
        seconds: Training time since the previous report step; each lane counts an equal share of the cohort's time.
        problem: Names up to four means or tensors that are not finite; empty if all are finite.
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

    A vacant lane is computed too, and its results are discarded. So tensor shapes stay constant, and no bit of a trial
    depends on which trials come and go beside it. Only `resize` changes the shapes. At some widths, the last bits of a
    trial depend on which lane it is on (docs/how-it-works.md, "What is promised").

    Args:
        structure: The structure of all trials.
        data: The training data, on the device that trains. It needs labels if the structure has classes or conditions.
        grid: The report steps, ascending.
        width: Number of lanes.
        execution: How a GPU carries out updates, one of `EXECUTIONS`. Several ranks always run operation by operation.
        ranks: Ranks that train one trial together, on one lane. Each rank has a cohort of its own and calls the same
            methods with the same arguments.

    Raises:
        ValueError: The execution is unknown, needed labels are missing, or several ranks have several lanes.
    """

    def __init__(
        self,
        structure: Structure,
        data: TrainingData,
        grid: Sequence[int],
        width: int = 1,
        execution: str = CAPTURED,
        ranks: Ranks = ALONE,
    ) -> None:
        if execution not in EXECUTIONS:
            raise ValueError(f"execution must be one of {', '.join(EXECUTIONS)}; given {execution!r}")
        _check_labels(structure, data)
        self.structure, self.grid, self.device = structure, tuple(grid), data.device
        self._data, self._ranks = data, ranks
        # Torch watches the communication of ranks from a thread, which must not query a GPU while a graph is recorded.
        self._is_captured = execution != EAGER and ranks.size == 1
        self._step = Step(structure, ranks)
        self._check_width(width)
        self._lanes: list[_Lane | None] = [None] * width
        self._made: Ticks | None = None

    @property
    def trials(self) -> list[Trial]:
        """Return the trials on the lanes, in lane order."""
        return [lane.trial for _, lane in self._occupied]

    @property
    def width(self) -> int:
        """Return the number of lanes."""
        return len(self._lanes)

    def add(
        self,
        trial: Trial,
        state: TrainingState | None = None,
        critic_updates: int = 0,
        since_report: Sums | None = None,
    ) -> None:
        """Put a trial on a vacant lane.

        Args:
            trial: The trial.
            state: The trial's state, as a single lane; None starts from the trial's seed.
            critic_updates: The count of critic updates of `state`.
            since_report: The sums that method `since_report` returned with `state`; None at a report step.

        Raises:
            ValueError: No lane is vacant.
        """
        if None not in self._lanes:
            raise ValueError(f"no lane is vacant: the {self.width} hold {[trial.number for trial in self.trials]}")
        if state is None:
            state = TrainingState.initial(self.structure, trial.seed, self.device)
        self._put(_Lane(trial, critic_updates), state.to(self.device), since_report or {})

    def drop(self, number: int) -> None:
        """Take the trial of this number off its lane. The other trials are not affected."""
        index, _ = self._lane(number)
        self._lanes[index] = None
        self._ticks.vacate(index)

    def resize(self, width: int) -> None:
        """Continue with this many lanes.

        Another number of lanes may change the last bit of a trial's results in single precision.

        Raises:
            ValueError: The trials need more lanes, or several ranks have more than one lane.
        """
        occupied = self._occupied
        if width < max(1, len(occupied)):
            raise ValueError(f"{len(occupied)} trials need as many lanes; given {width}")
        if width == self.width:
            return
        self._check_width(width)
        moved = [(lane, self._ticks.state.lanes([at]), self._ticks.means.so_far(at)) for at, lane in occupied]
        self._lanes, self._made = [None] * width, None
        give_back(self.device)  # free the old lanes before the new ones take memory
        for each in moved:
            self._put(*each)

    def state_of(self, number: int) -> TrainingState:
        """Return a copy of one trial's state, as a single lane."""
        return self._ticks.state.lanes([self._lane(number)[0]])

    def since_report(self, number: int) -> tuple[int, float, Sums]:
        """Return one trial's progress since its last report.

        Returns:
            Its critic updates in all, then the seconds of training and the sums of its means since its last report.
        """
        index, lane = self._lane(number)
        return lane.critic_updates, lane.seconds, self._ticks.means.so_far(index)

    def samples(self, number: int, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return samples (N, ...) of a trial's averaged generator, on the CPU, for z (N, Z) and labels (N,)."""
        return draw_samples(self._step, self.state_of(number), z, labels, self.device)

    def critic_values(self, number: int, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the values (N,), on the CPU, of a trial's critic for samples (N, ...) and labels (N,)."""
        state, found = self.state_of(number), []
        for start in range(0, len(samples), SAMPLE_BATCH):
            at = slice(start, start + SAMPLE_BATCH)
            told = None if labels is None else labels[None, at].to(self.device)
            given = samples[None, at].to(self.device, self.structure.torch_dtype)
            found.append(self._step.critic_values(state, given, told)[0].reshape(-1).cpu())
        return torch.cat(found)

    def advance(self, interrupted: Callable[[], bool] = lambda: False) -> list[Report]:
        """Train all lanes until at least one reaches its next report step, and return the reports of those lanes.

        Args:
            interrupted: Called before every update; training stops if it returns True, maybe without any report. Over
                several ranks only the first rank's function is called, before the first and every eighth later update.
        """
        occupied = self._occupied
        left = ticks = min(self._next_report(lane) - lane.critic_updates for _, lane in occupied)
        started = time.perf_counter()
        while left and not self._ranks.agreed(interrupted, ticks - left):
            self._tick(occupied)
            left -= 1
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # kernels are queued; wait for them
        share = (time.perf_counter() - started) / len(occupied)
        for _, lane in occupied:
            lane.seconds += share
        return [] if left else self._report([each for each in occupied if each[1].critic_updates in self.grid])

    def _tick(self, occupied: list[tuple[int, _Lane]]) -> None:
        generator_updates = {index: lane.generator_updates for index, lane in occupied}
        for _, lane in occupied:
            lane.critic_updates += 1
        is_due = any(lane.generator_updates > generator_updates[index] for index, lane in occupied)
        self._ticks.tick(generator_updates, is_due)

    def _report(self, standing: list[tuple[int, _Lane]]) -> list[Report]:
        indices = [index for index, _ in standing]
        means, state = self._ticks.means.take(indices), self._ticks.state
        finite = list(zip(state.tensors(), state.is_finite().tolist(), strict=True))
        reports = []
        for (index, lane), values in zip(standing, means, strict=True):
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            wrong += [name for name, is_finite in finite if not is_finite[index]]
            problem = f"not finite at critic update {lane.critic_updates}: {', '.join(wrong[:4])}" if wrong else ""
            seconds, lane.seconds = lane.seconds, 0.0
            reports.append(Report(lane.trial, lane.critic_updates, lane.generator_updates, values, seconds, problem))
        return reports

    def _put(self, lane: _Lane, state: TrainingState, since_report: Sums) -> None:
        """Put a trial, its state and its sums on the first vacant lane."""
        index = self._lanes.index(None)
        if self._made is None:
            start = state.lanes([0] * self.width)
            self._made = Ticks(self._step, self._data, start, self._is_captured)
        self._ticks.put(index, lane.trial, state, lane.critic_updates)
        self._ticks.means.put(index, since_report)
        self._lanes[index] = lane

    def _check_width(self, width: int) -> None:
        if self._ranks.size > 1 and width > 1:
            raise ValueError(f"a cohort over {self._ranks.size} ranks has one lane; given {width}")

    def _next_report(self, lane: _Lane) -> int:
        after = bisect_right(self.grid, lane.critic_updates)
        if after == len(self.grid):
            raise ValueError(f"trial {lane.trial.number} stands at the last report step, {self.grid[-1]}: drop it")
        return self.grid[after]

    @property
    def _occupied(self) -> list[tuple[int, _Lane]]:
        return [(index, lane) for index, lane in enumerate(self._lanes) if lane is not None]

    def _lane(self, number: int) -> tuple[int, _Lane]:
        for index, lane in self._occupied:
            if lane.trial.number == number:
                return index, lane
        raise KeyError(f"no lane holds trial {number}; the lanes hold {[trial.number for trial in self.trials]}")

    @property
    def _ticks(self) -> Ticks:
        if self._made is None:
            raise ValueError("the cohort holds no trial: add one")
        return self._made


def _check_labels(structure: Structure, data: TrainingData) -> None:
    """Raise `ValueError` if the data lacks the labels or conditions that the networks take."""
    if structure.classes and data.labels is None:
        raise ValueError(f"networks of {structure.classes} classes need the labels of the data")
    given = None if data.labels is None else tuple(data.labels.shape)
    wanted = (len(data.samples), structure.code_length)
    if structure.conditions is not None and given != wanted:
        raise ValueError(
            f"networks of {structure.code_length} conditions need those of the data, {wanted}: given {given}"
        )
