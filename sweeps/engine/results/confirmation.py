"""The leaders of a search trained again with fresh seeds: what is asked, and what came of it.

The best of many trials owes part of its score to luck: of its seed, and of the samples that it was chosen by. Its
settings are worth what they score when they are trained again. So the leaders of a search get new seeds, each run's
checkpoint is chosen on the validation split as before, and is scored once on the test split, with other noise.

A confirmation is a plan of its own whose points are given, one a trial. It has an Optuna study beside the search's,
which it leaves as it is; its trials lie among those of the search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.engine.plan.confirmation_size import SEEDS, ConfirmationSize
from sweeps.engine.plan.plan import BOUNDS, Plan, on_test_split
from sweeps.engine.study.rows import ENDED, Row, sort_rows
from wgan_core.config import trial_seed

# No trial of a search has this number, from which the seed of the confirmation is drawn.
SEED_NUMBER = 2**62
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """The mean of some runs' scores and its 95 % interval, Student's t; without bounds (NaN) for a single run."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, scores: Sequence[float]) -> Interval:
        """Of at least one score."""
        from scipy.special import stdtrit

        count = len(scores)
        mean = math.fsum(scores) / count
        if count == 1:
            return cls(mean, math.nan, math.nan, 1)
        deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (count - 1))
        half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
        return cls(mean, mean - half, mean + half, count)

    def as_json(self) -> dict[str, float | int | None]:
        known = self.count > 1
        return {
            "mean": self.mean,
            "low": self.low if known else None,
            "high": self.high if known else None,
            "count": self.count,
        }

    def __str__(self) -> str:
        bounds = "" if math.isnan(self.low) else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.mean:.4g}{bounds}"


@dataclass(frozen=True)
class ConfirmedSetting:
    """A leader of the search and its runs with fresh seeds, of which `asked` were asked for in all.

    validation, test: of the runs that are complete; None while there are none.
    """

    leader: Row
    asked: int
    runs: list[Row]
    validation: Interval | None
    test: Interval | None

    @property
    def complete(self) -> list[Row]:
        return [run for run in self.runs if run.state == "COMPLETE"]

    @property
    def failed(self) -> list[Row]:
        return [run for run in self.runs if run.state == "FAIL"]

    @property
    def is_known(self) -> bool:
        """Whether enough runs have ended for an interval."""
        return sum(run.state in ENDED for run in self.runs) >= SEEDS[0]

    def __str__(self) -> str:
        """What the runs score, in words."""
        said = f"{self.validation} on the validation split"
        if self.test is not None:
            said += f", {self.test} on the test split"
        return said + (f"; {len(self.failed)} of {len(self.runs)} runs failed" if self.failed else "")


@dataclass(frozen=True)
class Confirmation:
    """A confirmation as it stands: its plan, its trials, and the search's trials that it confirms."""

    plan: Plan
    rows: list[Row]
    searched: Sequence[Row]

    @property
    def has_ended(self) -> bool:
        return len(self.rows) == self.plan.trials and all(row.state in ENDED for row in self.rows)

    @property
    def settings(self) -> list[ConfirmedSetting]:
        """The leaders: those with fewer failed runs first, of these that with the least mean on the validation split.

        Settings that fail for one seed in three do not hold, whatever the others score. By the validation split, so
        that the scores on the test split stay of no choice's making.
        """
        found = [self._confirmed(leader) for leader in dict.fromkeys(self.plan.confirms)]
        none = [each for each in found if each.validation is None]
        some = [(len(each.failed), each.validation.mean, each) for each in found if each.validation is not None]
        return [*(each for *_, each in sorted(some, key=lambda place: place[:2])), *none]

    @property
    def winner(self) -> ConfirmedSetting | None:
        """The first of the settings that are known; None before there is one, or if none has a run that is complete."""
        return next((each for each in self.settings if each.is_known and each.complete), None)

    @property
    def best(self) -> Row | None:
        """The best run of the winner."""
        return None if self.winner is None else sort_rows(self.winner.complete)[0]

    @property
    def ahead(self) -> Row | None:
        """The trial that leads the search, if it is not confirmed: the search was extended since."""
        leader = next((row for row in sort_rows(self.searched) if math.isfinite(row.value)), None)
        return None if leader is None or leader.number in self.plan.confirms else leader

    def _confirmed(self, leader: int) -> ConfirmedSetting:
        runs = [row for row in self.rows if self.plan.confirms[row.number] == leader]
        complete = [run for run in runs if run.state == "COMPLETE"]
        tested = [run.test[name] for run in complete if (name := on_test_split(self.plan.objective)) in run.test]
        return ConfirmedSetting(
            leader=next(row for row in self.searched if row.number == leader),
            asked=self.plan.confirms.count(leader),
            runs=runs,
            validation=Interval.of([run.value for run in complete]) if complete else None,
            test=Interval.of(tested) if tested else None,
        )


def confirmed_metrics(confirmation: Confirmation | None) -> dict[str, dict[str, float]]:
    """By the label of each confirmed trial, its means and their bounds as MLflow's metrics."""
    if confirmation is None:
        return {}
    objective = confirmation.plan.objective
    names = {"validation": objective, "test": on_test_split(objective)}
    found: dict[str, dict[str, float]] = {}
    for each in confirmation.settings:
        for split, interval in (("validation", each.validation), ("test", each.test)):
            if interval is not None:
                values = dict(zip(("", *BOUNDS), (interval.mean, interval.low, interval.high), strict=True))
                known = {f"confirmed/{names[split]}{end}": value for end, value in values.items()}
                found.setdefault(each.leader.label, {}).update(known)
    return found


def confirmed_line(confirmation: Confirmation | None) -> str:
    """How sure the best is, in one line; empty where nothing is confirmed."""
    if confirmation is None or confirmation.winner is None:
        return ""
    best = confirmation.winner
    return f"trial {best.leader.label}'s settings with {len(best.complete)} fresh seeds, mean [95 % interval]: {best}"


def plan_confirmation(
    search: Plan,
    rows: Sequence[Row],
    asked: ConfirmationSize,
    found: Plan | None,
    protocol: Mapping[str, Any],
    floors: Mapping[str, float],
) -> Plan:
    """What is to be trained so that the leaders of a search have as many runs as asked for.

    rows: the search's. found: an earlier confirmation, whose trials stay; the leaders may have been others then.
    protocol, floors: of the test split.
    """
    leaders = [row.number for row in sort_rows(rows) if not math.isnan(row.value)][: asked.leaders]
    confirms = list(found.confirms) if found is not None else []
    for leader in leaders:
        confirms += [leader] * (asked.seeds - confirms.count(leader))
    points = {row.number: row.params for row in rows}
    return replace(
        search,
        trials=len(confirms),
        seed=trial_seed(search.seed, SEED_NUMBER),
        space=replace(search.space, presets=tuple(dict(points[leader]) for leader in confirms)),
        protocol={**search.protocol, "test": dict(protocol)},
        floors={**search.floors, **{on_test_split(name): floor for name, floor in floors.items()}},
        pruning=False,
        confirms=tuple(confirms),
    )
