"""Ticks of K lanes: a critic update of all lanes, then a generator update of the lanes that are due.

The tensors of a tick stay in place on the device, so a GPU replays a tick as a recorded CUDA graph. The caller's counts
decide which graph to replay and when to draw batches, so nothing is read back from the device.

In shapes, K is the number of lanes.
"""

from __future__ import annotations

from collections.abc import Mapping

from wgan_core.backend.graph import ProgramRecorder
from wgan_core.config import Trial
from wgan_core.training.batches import BLOCK, Batches
from wgan_core.training.data import TrainingData
from wgan_core.training.lanes import Lanes
from wgan_core.training.means import Means
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step


class Ticks:
    """State, batches and updates of K lanes. Any lane may be vacant: it is computed too, and its results are discarded.

    Args:
        step: Makes one critic update or one generator update.
        data: The training data, on the device that trains.
        start: A state of K lanes. `put` overwrites its values; only its shapes matter.
        is_captured: Whether a GPU records ticks as CUDA graphs.
    """

    def __init__(self, step: Step, data: TrainingData, start: TrainingState, is_captured: bool) -> None:
        width, device = start.width, data.device
        self.state, self.lanes, self.means = start, Lanes.vacant(width, device), Means(width, device)
        self._step = step
        self._batches = Batches(step.structure, data, self.lanes.seeds, step.ranks)
        recorder, batches, lanes = ProgramRecorder(device, is_captured), self._batches, self.lanes
        self._critic_alone = recorder.program(self._update_critic_alone)
        self._both = recorder.program(self._update_both)
        self._draw_for_critic = recorder.program(lambda: batches.for_critic.fill(lanes.critic_updates), can_repeat=True)
        self._draw_for_generator = recorder.program(
            lambda: batches.for_generator.fill(lanes.generator_updates()), can_repeat=True
        )
        # `_critic_drawn` counts the critic updates that the drawn block still covers. `_generator_drawn` has, by lane
        # index, the generator updates that a lane had made when its block was drawn; None if nothing is drawn.
        self._critic_drawn = 0
        self._generator_drawn: dict[int, int] | None = None

    def put(self, index: int, trial: Trial, state: TrainingState, critic_updates: int) -> None:
        """Give a lane to a trial, with a single-lane state at a count of critic updates."""
        self.state.put(index, state)
        self.lanes.put(index, trial, critic_updates)
        self._redraw()

    def vacate(self, index: int) -> None:
        """Take the trial off a lane."""
        self.lanes.vacate(index)
        self._redraw()

    def tick(self, generator_updates: Mapping[int, int], is_due: bool) -> None:
        """Make a critic update of all lanes, then a generator update of the lanes that are due.

        Args:
            generator_updates: Generator updates that each occupied lane has made before this tick, by lane index.
            is_due: Whether any occupied lane is due for a generator update.
        """
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
        """Discard the drawn batches, which belong to the previous trials."""
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
