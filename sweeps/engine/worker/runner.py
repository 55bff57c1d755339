"""Training loop of one cohort of sweep trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ray import tune

from sweeps.engine.plan.structures import is_checked_whole
from sweeps.engine.study.attributes import NO_MEMORY
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.narrowing import width_for
from sweeps.engine.worker.held_trials import HeldTrials
from sweeps.engine.worker.holder import Holder
from sweeps.engine.worker.job import Job
from sweeps.engine.worker.rank_group import GroupCohort, RankGroup
from sweeps.engine.worker.scorer import Scorer
from wgan_core.backend.memory import give_back, is_out_of_memory, what_ran_out
from wgan_core.errors import UserError
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit


class Leaving(Exception):
    """Signal that this node is about to leave the cluster, after the state of every trial was saved."""


class UnfitStructure(Exception):
    """Signal that the settings of the claimed trials do not go together."""


class Runner:
    """Training loop of one cohort: it fills the lanes, trains, and halves the lanes if memory runs out.

    An empty cohort may be followed by one of another structure.
    """

    def __init__(self, job: Job, holder: Holder, data: TrainingData, scorer: Scorer, group: RankGroup) -> None:
        self._job, self._holder, self._data, self._group = job, holder, data, group
        self._held = HeldTrials(job, holder, scorer, group.machine(data.device))
        # `_lanes` is the most lanes that the cohort may have. `_width` is the number that it has, or tried to have when
        # memory ran out.
        self._lanes, self._width = job.lanes, 1
        # The settings of the cohort's structure that the sweep searches.
        self._settings: dict[str, float | str] | None = None
        self._cohort: GroupCohort
        self._is_alone = False

    def run(self, claims: list[Claim], leaves: Callable[[], bool]) -> None:
        """Train until no trial is left to claim. If `leaves` returns True, save all trials and raise `Leaving`."""
        if not claims:  # another process holds them by now
            return
        while True:
            try:
                self._start(claims)
                self._train(leaves)
                return
            except UnfitStructure as error:
                for claim in self._holder.held():
                    self._held.fail(claim, str(error))
                claims = self._holder.claim(self._job.lanes) if self._job.lanes > 1 else []
                if not claims:
                    return
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = what_ran_out(error)
            # Narrow outside the `except` block: the error's traceback would keep the tensors in memory.
            claims = self._narrow(ran_out)

    def _start(self, claims: list[Claim]) -> None:
        """Put trials on lanes; continue each from its last checkpoint if it has one."""
        if claims:
            self._take_structure(claims)
        self._is_alone = any(claim.alone for claim in claims)
        self._fit(len(self._cohort.trials) + len(claims))
        for claim in claims:
            found = self._held.start(claim)
            if claim.trial.number not in self._held:
                continue
            if found is None:
                self._cohort.add(claim.trial)
            else:
                self._cohort.add(claim.trial, found.state, found.critic_updates, found.since_report)

    def _take_structure(self, claims: Sequence[Claim]) -> None:
        """Replace the cohort, which is empty, if the trials have another structure.

        Raises:
            UnfitStructure: The structure cannot be built. If there are many, not all are checked before a sweep starts.
        """
        plan = self._job.plan
        settings = plan.space.settings(claims[0].params)
        if settings == self._settings:
            return
        try:
            structure = plan.structure_of(settings)
            if not is_checked_whole(plan.space):
                check_fit(structure, 1, self._job.places.ranks)
        except UserError as error:
            raise UnfitStructure(str(error)) from error
        self._settings, self._cohort = settings, GroupCohort(self._group, self._job, self._data, structure)
        self._lanes = max(len(claims), self._holder.lanes(self._job.lanes, settings))
        give_back(self._data.device)

    def _train(self, leaves: Callable[[], bool]) -> None:
        while self._refill():
            self._fit(len(self._cohort.trials))
            reports = self._cohort.advance(leaves)
            if reports:
                values = self._held.report(self._cohort, reports)
                self._drop_ended()
                if values:
                    step, value = min(values.values(), key=lambda item: item[1])
                    tune.report({"value": value, "critic_updates": step})
            if leaves():
                self._held.save(self._cohort)
                raise Leaving
            if reports and self._is_alone and self._job.lanes > 1:
                self._hand_back()

    def _refill(self) -> bool:
        """Fill freed lanes with the next trials. Return whether the cohort has any trial.

        If a cohort has one lane, Tune starts a new Tune trial for each sweep trial, so nothing is filled.
        """
        while self._job.lanes > 1:
            # An empty cohort may take trials of another structure, of which more fit.
            free = (self._lanes if self._cohort.trials else self._job.lanes) - len(self._cohort.trials)
            if free < 1:
                break
            if self._is_alone and self._cohort.trials:
                break
            claims = self._holder.claim(free)
            if not claims:
                break
            self._start(claims)
        return bool(self._cohort.trials)

    def _fit(self, trials: int) -> None:
        """Resize the cohort to a number of trials, because vacant lanes cost as much as occupied ones."""
        self._width = width_for(trials, self._lanes)
        if self._cohort.width != self._width:
            self._cohort.resize(self._width)

    def _drop_ended(self) -> None:
        for trial in self._cohort.trials:
            if trial.number not in self._held:
                self._cohort.drop(trial.number)

    def _hand_back(self) -> None:
        """Hand a suspected trial back to the study after it reported. It may join a cohort again."""
        numbers = [trial.number for trial in self._cohort.trials]
        for number in numbers:
            self._cohort.drop(number)
        self._held.forget()
        self._holder.hand_back(numbers)

    def _narrow(self, ran_out: str) -> list[Claim]:
        """Halve the lanes after running out of memory. If there was only one lane, fail its trial.

        Returns:
            Trials to continue from their last checkpoints, at most one per lane. The others wait for a lane.
        """
        self._cohort = GroupCohort(self._group, self._job, self._data, self._cohort.structure)
        self._held.forget()
        give_back(self._data.device)
        if self._width > 1:
            self._lanes = self._width // 2
            said = (
                f"{self._width} lanes do not fit in memory ({ran_out}): {self._lanes} from now on; trials go on from "
                "their last checkpoints, and those without a lane wait for one"
            )
            return self._holder.narrow(self._lanes, said)
        for claim in self._holder.held():
            self._held.fail(claim, f"{NO_MEMORY} ({ran_out}): give a smaller batch_size, or {self._remedy()}")
        return []

    def _remedy(self) -> str:
        if self._data.device.type == "cpu":
            return "fewer processes by a smaller --max-concurrent"
        gpus = self._job.places.gpus_per_trial
        return ("fewer processes per GPU" if gpus < 1 else "more GPUs a trial") + " by a larger --gpus-per-trial"
