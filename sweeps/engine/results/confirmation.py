"""Confirmation of a search: its leaders (best trials) are trained again with fresh seeds.

The best of many trials owes part of its score to luck: its seed, and the samples that it was chosen by. Training the
same settings again shows their true score. So a confirmation trains the leaders of a search with new seeds. Each run
chooses its checkpoint on the validation split, as the search does. That checkpoint is scored once on the test split,
with other noise.

A confirmation is a plan of its own with one given point per trial. It has its own Optuna study and does not change the
search's. Its trials' folders lie beside those of the search.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sweeps.engine.plan.confirmation_size import SEEDS, ConfirmationSize
from sweeps.engine.plan.plan import BOUNDS, CONFIRM_FILE, Plan, on_test_split
from sweeps.engine.results.finite import finite
from sweeps.engine.study.rows import ENDED, Row, best_row, scored_rows, sort_rows
from wgan_core.config import trial_seed
from wgan_core.errors import UserError

# Trial number from which the seed of the confirmation is derived. No trial of a search has this number.
SEED_NUMBER = 2**62
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Mean of the runs' scores with its 95 % confidence interval (Student's t). A single run has NaN bounds."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, scores: Sequence[float]) -> Interval:
        """Compute the interval of one or more scores."""
        from scipy.special import stdtrit

        count = len(scores)
        mean = math.fsum(scores) / count
        if count == 1:
            return cls(mean, math.nan, math.nan, 1)
        deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (count - 1))
        half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
        return cls(mean, mean - half, mean + half, count)

    def as_json(self) -> dict[str, float | int | None]:
        return dict(finite(asdict(self)))

    def __str__(self) -> str:
        bounds = "" if math.isnan(self.low) else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.mean:.4g}{bounds}"


@dataclass(frozen=True)
class ConfirmedSetting:
    """Settings of one leader of the search, and their runs with fresh seeds.

    Attributes:
        leader: Trial of the search.
        asked: Number of planned runs.
        runs: Runs that exist so far.
        validation: Scores of the completed runs on the validation split; None without any.
        test: Scores of the completed runs on the test split; None without any.
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
        """Return whether enough runs have ended for an interval."""
        return sum(run.state in ENDED for run in self.runs) >= SEEDS[0]

    def __str__(self) -> str:
        """Format the scores of the runs, and the number of failed runs."""
        said = f"{self.validation} on the validation split"
        if self.test is not None:
            said += f", {self.test} on the test split"
        return said + (f"; {len(self.failed)} of {len(self.runs)} runs failed" if self.failed else "")


@dataclass(frozen=True)
class Confirmation:
    """Current state of a confirmation: its plan, the rows of its trials, and the rows of all the search's trials."""

    plan: Plan
    rows: list[Row]
    searched: Sequence[Row]

    @property
    def has_ended(self) -> bool:
        return len(self.rows) == self.plan.trials and all(row.state in ENDED for row in self.rows)

    @property
    def settings(self) -> list[ConfirmedSetting]:
        """Return the confirmed settings: fewest failed runs first, then lowest mean on the validation split.

        Failures count first, because settings that fail for one seed in three are not reliable. The order ignores the
        test split, so that no choice biases the test scores. Settings without a completed run come last.
        """
        runs: dict[int, list[Row]] = {leader: [] for leader in self.plan.confirms}
        for row in self.rows:
            runs[self.plan.confirms[row.number]].append(row)
        leaders, asked = {row.number: row for row in self.searched}, Counter(self.plan.confirms)
        found = [self._confirmed(leaders[number], asked[number], runs[number]) for number in runs]
        none = [each for each in found if each.validation is None]
        some = [(len(each.failed), each.validation.mean, each) for each in found if each.validation is not None]
        return [*(each for *_, each in sorted(some, key=lambda place: place[:2])), *none]

    @property
    def winner(self) -> ConfirmedSetting | None:
        """Return the first settings with enough ended runs and at least one completed run; None if there are none."""
        return next((each for each in self.settings if each.is_known and each.complete), None)

    @property
    def best(self) -> Row | None:
        """Return the best run of the winner, or None without a winner."""
        return None if self.winner is None else sort_rows(self.winner.complete)[0]

    @property
    def ahead(self) -> Row | None:
        """Return the best trial of the search if it is not confirmed, as after an extended search; otherwise None."""
        leader = best_row(self.searched)
        return None if leader is None or leader.number in self.plan.confirms else leader

    def _confirmed(self, leader: Row, asked: int, runs: list[Row]) -> ConfirmedSetting:
        complete = [run for run in runs if run.state == "COMPLETE"]
        tested = [run.test[name] for run in complete if (name := on_test_split(self.plan.objective)) in run.test]
        return ConfirmedSetting(
            leader=leader,
            asked=asked,
            runs=runs,
            validation=Interval.of([run.value for run in complete]) if complete else None,
            test=Interval.of(tested) if tested else None,
        )


def confirmed_metrics(confirmation: Confirmation | None) -> dict[str, dict[str, float]]:
    """Return the means and interval bounds of each confirmed trial as MLflow metrics, by the trial's label."""
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
    """Format the winner's means and intervals in one line; empty if nothing is confirmed."""
    if confirmation is None or confirmation.winner is None:
        return ""
    best = confirmation.winner
    return f"trial {best.leader.label}'s settings with {len(best.complete)} fresh seeds, mean [95 % interval]: {best}"


def check_leaders(confirmation: Plan, searched: Sequence[Row]) -> None:
    """Raise `UserError` if a confirmation is of trials that the search does not have."""
    unknown = set(confirmation.confirms) - {row.number for row in searched}
    if unknown:
        raise UserError(
            f"a confirmation must be of trials of the search; {CONFIRM_FILE} of {confirmation.name!r} names trial "
            f"{min(unknown)}, which is not there: remove {CONFIRM_FILE} to confirm again"
        )


def plan_confirmation(
    search: Plan,
    rows: Sequence[Row],
    asked: ConfirmationSize,
    found: Plan | None,
    protocol: Mapping[str, Any],
    floors: Mapping[str, float],
) -> Plan:
    """Plan the runs that give each leader of a search the requested number of seeds.

    Args:
        search: Plan of the search.
        rows: Rows of the search's trials.
        asked: Number of leaders, and of seeds for each.
        found: Plan of an earlier confirmation, or None. Its trials stay, even if its leaders were other trials.
        protocol: Protocol of scores on the test split.
        floors: Floor of each metric on the test split.

    Raises:
        UserError: The earlier confirmation is of trials that the search does not have.
    """
    if found is not None:
        check_leaders(found, rows)
    leaders = [row.number for row in scored_rows(rows)[: asked.leaders]]
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
