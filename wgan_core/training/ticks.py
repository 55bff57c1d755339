"""Ticks of K lanes: a critic update of all of them, then a generator update of those that are due.

All that a tick touches stays where it is on the device, so on a GPU a tick is the replay of a recorded program. Which
program it is, and when draws are made, follows from counts that the caller has: nothing is read back.

    K lanes
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wgan_core.backend.graph import ProgramRecorder
from wgan_core.backend.ranks import ALONE, Ranks
from wgan_core.config import Structure, Trial
from wgan_core.training.batches import BLOCK, Batches
from wgan_core.training.lanes import Lanes
from wgan_core.training.means import Means
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step


class Ticks:
    """K lanes, of which any may be vacant. A vacant lane is computed as well and leaves nothing behind."""

    def __init__(
        self,
        step: Step,
        structure: Structure,
        data: Tensor,
        labels: Tensor | None,
        start: TrainingState,
        device: torch.device,
        is_captured: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        """start: of K lanes, to be overwritten; its shapes count."""
        width = start.width
        self.state, self.lanes, self.means = start, Lanes.vacant(width, device), Means(width, device)
        self._step = step
        self._batches = Batches(structure, data, self.lanes.seeds, labels, ranks)
        recorder, batches, lanes = ProgramRecorder(device, is_captured), self._batches, self.lanes
        self._critic_alone = recorder.program(self._update_critic_alone)
        self._both = recorder.program(self._update_both)
        self._draw_for_critic = recorder.program(lambda: batches.for_critic.fill(lanes.critic_updates), can_repeat=True)
        self._draw_for_generator = recorder.program(
            lambda: batches.for_generator.fill(lanes.generator_updates()), can_repeat=True
        )
        # For how many critic updates there are draws, and from which counts of the generators there are any for these.
        self._critic_drawn = 0
        self._generator_drawn: dict[int, int] | None = None

    def put(self, index: int, trial: Trial, state: TrainingState, critic_updates: int) -> None:
        """Give a lane to a trial, from a state of one lane at a count of critic updates."""
        self.state.put(index, state)
        self.lanes.put(index, trial, critic_updates)
        self._redraw()

    def vacate(self, index: int) -> None:
        """Take its trial off a lane."""
        self.lanes.vacate(index)
        self._redraw()

    def tick(self, generator_updates: Mapping[int, int], is_due: bool) -> None:
        """generator_updates: the count of each occupied lane, by index; is_due: whether a generator of theirs is."""
        if self._critic_drawn == 0:
            self._draw_for_critic()
            self._critic_drawn = BLOCK
        self._critic_drawn -= 1
        if not is_due:
            self._critic_alone()
            return
        first = self._generator_drawn
        if first is None or any(count - first[index] >= BLOCK for index, count in generator_updates.items()):
            self._draw_for_generator()
            self._generator_drawn = dict(generator_updates)
        self._both()

    def _redraw(self) -> None:
        """What is drawn is of other trials than those on the lanes now."""
        self._critic_drawn, self._generator_drawn = 0, None

    def _update_critic_alone(self) -> None:
        self._update_critic()
        self.lanes.count_()

    def _update_both(self) -> None:
        self._update_critic()
        z, labels = self._batches.generator(self.lanes.generator_updates())
        self.means.record(self._step.update_generator(self.state, self.lanes, z, labels), self.lanes.due())
        self.lanes.count_()

    def _update_critic(self) -> None:
        batch = self._batches.critic(self.lanes.critic_updates)
        self.means.record(self._step.update_critic(self.state, self.lanes, batch))
