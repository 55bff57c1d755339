"""The points that Optuna's samplers draw, and what they learn from: finished trials, and trials that failed."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.plan.plan import RANDOM_TRIALS, Plan
from sweeps.engine.plan.samplers import CMAES, GP, GRID, QMC, RANDOM, TPE
from sweeps.engine.plan.space import Range
from sweeps.engine.study.attributes import NO_MEMORY, REASON
from sweeps.engine.study.deaths import death_of
from sweeps.engine.study.rows import best
from wgan_core.config import trial_seed

# Failed trials that a sampler sees for each finished one. TPE takes the best tenth for its model of good trials, so
# with more, failed trials would count as good ones.
FAILED_PER_FINISHED = 9


class Sampling:
    """The source of the points of a plan's trials that are no starting points."""

    def __init__(self, plan: Plan) -> None:
        ranges = plan.space.ranges
        self._plan = plan
        self.distributions = {name: as_distribution(bounds) for name, bounds in ranges.items()}
        self._alone = {name: bounds.ends[0] for name, bounds in ranges.items() if self.distributions[name].single()}
        # Optuna's own relative spaces are sorted by name.
        self._drawn = {name: each for name, each in sorted(self.distributions.items()) if name not in self._alone}
        self._grid: list[dict[str, Any]] = []
        if plan.sampler == GRID and not plan.confirms:
            lists = {name: bounds.among or (bounds.low,) for name, bounds in ranges.items()}
            sampler = GridSampler(lists, seed=plan.seed % 2**32)
            points = [dict(zip(sampler._param_names, values, strict=True)) for values in sampler._all_grids]
            starts = [dict(point) for point in plan.space.presets]
            self._grid = [point for point in points if point not in starts]

    def point(self, study: optuna.Study, frozen: FrozenTrial) -> dict[str, Any]:
        """Draw the point of a trial. The sampler of each trial is a new one, so a restart repeats no draws."""
        if self._grid:
            return self._grid[frozen.number - len(self._plan.space.presets)]
        sampler, trials = self._sampler(frozen.number), study.get_trials(deepcopy=False)
        by_value = self._plan.sampler in (GP, CMAES)
        seen = cast("optuna.Study", _Seen(study, evidence(trials, self.distributions, by_value)))
        point = (
            {**self._alone, **sampler.sample_relative(seen, frozen, self._drawn)} if self._drawn else {**self._alone}
        )
        for name, distribution in self.distributions.items():
            if name not in point:
                point[name] = sampler.sample_independent(seen, frozen, name, distribution)
        return point

    def _sampler(self, number: int) -> BaseSampler:
        """Return a sampler seeded by the sweep's seed and the trial's number. QMC has the sweep's seed alone."""
        name, seed = self._plan.sampler, trial_seed(self._plan.seed, number) % 2**32
        at_random = RandomSampler(seed=seed)
        if name == QMC:
            return _PlacedQmc(self._plan.seed % 2**32, number - len(self._plan.space.presets), at_random)
        if name == CMAES:
            return _ReplayedCmaEs(seed, self._drawn)
        if name == RANDOM or number < len(self._plan.space.presets) + RANDOM_TRIALS:
            return at_random
        if name == GP:
            return GPSampler(
                seed=seed, n_startup_trials=1, independent_sampler=at_random, warn_independent_sampling=False
            )
        assert name == TPE, name
        return TPESampler(seed=seed, n_startup_trials=1)


class _Seen:
    """A study as a sampler sees it: with other trials."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]

    _get_trials = get_trials


class _PlacedQmc(QMCSampler):
    """A scrambled Sobol sequence, of which each trial takes the point at its own place.

    Optuna counts places in the study's storage. A draw that is repeated after a crash would take another place there.
    """

    def __init__(self, seed: int, place: int, at_random: BaseSampler) -> None:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            super().__init__(scramble=True, seed=seed, independent_sampler=at_random, warn_independent_sampling=False)
        self._place = place

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._place


class _ReplayedCmaEs(CmaEsSampler):
    """CMA-ES (Hansen and Ostermeier 2001) that learns all earlier generations anew for each trial.

    Optuna keeps the state of CMA-ES in the study as a pickle, which is never opened here. So the state follows from the
    trials and the generation that Optuna notes in each.
    """

    def __init__(self, seed: int, space: Mapping[str, BaseDistribution]) -> None:
        at_random = RandomSampler(seed=seed)
        super().__init__(seed=seed, n_startup_trials=0, independent_sampler=at_random, warn_independent_sampling=False)
        self._transform = _SearchSpaceTransform(dict(space), transform_step=True, transform_0_1=True)

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        optimizer = self._init_optimizer(self._transform, StudyDirection.MINIMIZE)
        while True:
            trials = self._get_solution_trials(completed_trials, optimizer.generation)
            if len(trials) < optimizer.population_size:
                return optimizer
            told = [(self._transform.transform(trial.params), trial.value) for trial in trials]
            optimizer.tell(told[: optimizer.population_size])


def evidence(trials: Sequence[FrozenTrial], names: Mapping[str, Any], by_value: bool) -> list[FrozenTrial]:
    """Return the trials as a sampler learns from them. A trial that failed by itself is worse than any finished trial.

    Args:
        trials: All trials of the study.
        names: Names of the parameters. A trial that lacks one is left out, except if it runs.
        by_value: The sampler sees completed trials only. So stopped trials count as completed with their best value.
            Other samplers rank a stopped trial by its last report, below completed trials.
    """
    whole = [trial for trial in trials if trial.params.keys() >= names.keys()]
    finished = [
        trial
        for trial in whole
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and math.isfinite(best(trial)[1])
    ]
    failed = [trial for trial in whole if failed_by_itself(trial)]
    failed = failed[max(0, len(failed) - FAILED_PER_FINISHED * len(finished)) :]
    found = [trial for trial in trials if trial.state is TrialState.RUNNING]
    if by_value:
        values = [best(trial)[1] for trial in finished]
        worst = max(values, default=0.0) + ((max(values, default=0.0) - min(values, default=0.0)) or 1.0)
        found += [_as(trial, TrialState.COMPLETE, best(trial)[1]) for trial in finished]
        found += [_as(trial, TrialState.COMPLETE, worst) for trial in failed]
    else:
        found += finished
        found += [_as(trial, TrialState.PRUNED) for trial in failed]
    return sorted(found, key=lambda trial: trial.number)


def failed_by_itself(trial: FrozenTrial) -> bool:
    """Return whether a trial failed because of its point: it is not finite, or copies its training data.

    The death of its process, the loss of its nodes and a lack of memory say nothing about the point.
    """
    out_of_memory = str(trial.user_attrs.get(REASON, "")).startswith(NO_MEMORY)
    return trial.state is TrialState.FAIL and not death_of(trial).is_final and not out_of_memory


def _as(trial: FrozenTrial, state: TrialState, value: float | None = None) -> FrozenTrial:
    """Return a copy of a trial in another state. Optuna ranks a stopped trial without reports last."""
    found = copy.copy(trial)
    found.state, found.value, found.intermediate_values = state, value, {}
    return found


def as_distribution(bounds: Range) -> BaseDistribution:
    """Convert a range or a list to an Optuna distribution."""
    if bounds.among:
        return CategoricalDistribution(bounds.among)
    if bounds.whole:
        return IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log)
    return FloatDistribution(bounds.low, bounds.high, log=bounds.log)
