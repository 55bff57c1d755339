"""Group of processes that train one trial on several GPUs, one process per GPU.

The process that Tune started is the leader and has rank 0. It starts a follower, a Ray actor, for each further GPU.
Every rank has a cohort of its own: followers repeat the leader's calls of `add` and `advance`. Only the leader scores
samples, writes checkpoints and talks to the study.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray.actor import ActorHandle
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeps.engine.worker.job import Job
from sweeps.engine.worker.resident import resident
from wgan_core.backend import process
from wgan_core.backend.memory import give_back
from wgan_core.backend.ranks import ALONE, TIMEOUT_S, LostRank, Ranks, joined
from wgan_core.config import Structure, Trial
from wgan_core.data import Split
from wgan_core.errors import one_line
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData
from wgan_core.training.means import Sums
from wgan_core.training.state import TrainingState

# Seconds within which a follower's process must start and finish its imports.
START_S = 300.0
POLL_S = 0.5
# Seconds for a leader to notice by itself that a follower is lost. It does notice on a CPU, but not on a GPU.
GRACE_S = 15.0


class Follower:
    """Ray actor that holds one further rank."""

    def __init__(self, job: Job, train: Split) -> None:
        self._job, self._device = job, job.configure()
        self._data = resident(train, job.plan.data_digest, self._device)
        self._stack = ExitStack()
        self._ranks: Ranks = ALONE
        self._cohort: Cohort | None = None

    def ready(self) -> None:
        """Return once the process has started."""

    def join(self, meeting: str, rank: int, size: int) -> None:
        self._ranks = self._stack.enter_context(joined(Path(meeting), rank, size, self._device))

    def add(self, structure: Structure, *trial: Any) -> None:
        """Replace the trial on the lane. Take the trial's structure and the arguments of `Cohort.add`."""
        self._cohort = None
        give_back(self._device)
        cohort = Cohort(structure, self._data, self._job.plan.grid, ranks=self._ranks)
        with self._leaving():
            cohort.add(*trial)
        self._cohort = cohort

    def advance(self) -> None:
        """Call `Cohort.advance`. Only the leader has an `interrupted` callback; its answer stops all ranks."""
        assert self._cohort is not None
        with self._leaving():
            self._cohort.advance()

    def leave(self) -> None:
        self._cohort = None
        self._stack.close()

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """Leave the group if the block fails on a CPU, so that the leader's collective call fails at once.

        On a GPU, leaving would wait for the other ranks. There the leader learns of the error from `RankGroup._watch`.
        """
        try:
            yield
        except BaseException:
            if self._device.type == "cpu":
                self.leave()
            raise


class RankGroup:
    """Leader's view of the ranks of one trial. A trial on one GPU or on the CPU has no followers."""

    def __init__(self, ranks: Ranks, followers: Sequence[ActorHandle[Any]], tell: Callable[[str], None]) -> None:
        """Take the ranks, the followers, and `tell`, which receives the reason before this process kills itself."""
        self.ranks, self._followers, self._tell = ranks, followers, tell

    def machine(self, device: torch.device) -> str:
        """Describe the hardware that trains the trial."""
        described = process.describe(device)
        return described if self.ranks.size == 1 else f"{self.ranks.size} x {described}"

    @contextmanager
    def doing(self, method: str, *arguments: Any) -> Iterator[None]:
        """Call a method of all followers while the leader runs the block. Raise the error of a follower that failed."""
        asked = [getattr(each, method).remote(*arguments) for each in self._followers]
        with self._watched(asked):
            try:
                yield
            except LostRank as error:
                raise _cause(asked) or error from None
        ray.get(asked, timeout=TIMEOUT_S)

    @contextmanager
    def _watched(self, asked: Sequence[ray.ObjectRef[Any]]) -> Iterator[None]:
        if not asked:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(asked, done), name="ranks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _watch(self, asked: Sequence[ray.ObjectRef[Any]], done: threading.Event) -> None:
        """Kill this process if a follower has failed and the leader does not notice: on a GPU it would hang."""
        while not done.wait(POLL_S):
            if (cause := _cause(asked, within_s=0)) is not None and not done.wait(GRACE_S):
                self._tell(one_line(cause))
                os._exit(1)


class GroupCohort(Cohort):
    """Leader's cohort, which repeats each `add` and `advance` on the followers.

    With followers it has one lane: each trial replaces the one before it.
    """

    def __init__(self, group: RankGroup, job: Job, data: TrainingData, structure: Structure) -> None:
        super().__init__(structure, data, job.plan.grid, execution=job.execution, ranks=group.ranks)
        self._group = group

    def add(
        self,
        trial: Trial,
        state: TrainingState | None = None,
        critic_updates: int = 0,
        since_report: Sums | None = None,
    ) -> None:
        with self._group.doing("add", self.structure, trial, state, critic_updates, since_report):
            super().add(trial, state, critic_updates, since_report)

    def advance(self, interrupted: Callable[[], bool] = lambda: False) -> list[Report]:
        with self._group.doing("advance"):
            return super().advance(interrupted)


@contextmanager
def rank_group(job: Job, train: Split, device: torch.device, tell: Callable[[str], None]) -> Iterator[RankGroup]:
    """Start a group of ranks on the bundles of this process's placement group. End it with the block.

    Args:
        job: The job, which each rank trains.
        train: The training split.
        device: The leader's device.
        tell: Callback that receives the reason if the leader has to kill itself.

    Raises:
        LostRank: A follower died. If a follower raised an error instead, that error is raised.
    """
    size = job.places.ranks
    if size == 1:
        yield RankGroup(ALONE, [], tell)
        return
    held = ray.put(train)
    actor: Any = ray.remote(num_cpus=0, num_gpus=1)(Follower)
    placed = get_current_placement_group()
    assert placed is not None, "Tune starts a trial in a placement group"
    followers: list[ActorHandle[Any]] = []
    try:
        for rank in range(1, size):
            bundle = PlacementGroupSchedulingStrategy(placed, placement_group_bundle_index=rank)
            followers.append(actor.options(scheduling_strategy=bundle).remote(job, held))
        ray.get([each.ready.remote() for each in followers], timeout=START_S)
        with tempfile.TemporaryDirectory(prefix="wgan-ranks-") as folder:
            meeting = Path(folder, "ranks")
            asked = [each.join.remote(str(meeting), rank, size) for rank, each in enumerate(followers, 1)]
            try:
                with joined(meeting, 0, size, device) as ranks:
                    ray.get(asked, timeout=TIMEOUT_S)
                    yield RankGroup(ranks, followers, tell)
                    # Let all ranks leave at the same time: on a GPU, each waits for the others.
                    left = [each.leave.remote() for each in followers]
            except LostRank as error:
                raise _cause(asked) or error from None
            ray.get(left, timeout=TIMEOUT_S)
    finally:
        for each in followers:
            ray.kill(each)


def _cause(asked: Sequence[ray.ObjectRef[Any]], within_s: float = GRACE_S) -> Exception | None:
    """Return the error of a follower's call, or None if no error is known within some seconds.

    A `LostRank` that a follower raised does not count: the rank that it lost has the real error.
    """
    found: list[Exception] = []
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=within_s)
    for each in ready:
        rank = list(asked).index(each) + 1
        try:
            ray.get(each)
        except ray.exceptions.RayActorError:
            found.append(LostRank(f"rank {rank} of {len(asked) + 1} has died, by a signal or for want of memory"))
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, LostRank):
                found.append(error.cause)
    return found[0] if found else None
