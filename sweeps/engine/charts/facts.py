"""Data of the charts: a plan, its trials, and the values that follow from their reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import optuna

from sweeps.engine.charts.equal import Point, equal_study, importances
from sweeps.engine.charts.forest import Forest, fitted
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.space import Range, label_of, short_text
from sweeps.engine.results.results import Results
from sweeps.engine.storage.history import History, read_histories
from sweeps.engine.study.rows import Row, scored_rows

NEARLY_ALL = 0.9
WANTED_PER_HYPER_PARAMETER = 10
# Most trials that a forest is fitted to. Its time grows faster than their number: 2,000 trials took two minutes.
MOST_POINTS = 500


@dataclass(frozen=True)
class Facts:
    """The state of a sweep. `histories` holds the trials' records by trial number."""

    plan: Plan
    rows: Sequence[Row]
    histories: Mapping[int, History]

    @cached_property
    def searched(self) -> dict[str, Range]:
        """The hyper-parameters that differ between trials."""
        return {name: bounds for name, bounds in self.plan.space.ranges.items() if bounds.low < bounds.high}

    @cached_property
    def best_first(self) -> list[Row]:
        """The trials with a finite score, best first."""
        return scored_rows(self.rows)

    @cached_property
    def best(self) -> Row | None:
        """The trial with the lowest score."""
        return self.best_first[0] if self.best_first else None

    @cached_property
    def curves(self) -> dict[int, dict[int, float]]:
        """The scores by trial number and critic updates. Those of trials that copy training data do not count."""
        copying = {row.number for row in self.rows if row.copies}
        return {
            number: {} if number in copying else history.curve(self.plan.objective)
            for number, history in self.histories.items()
        }

    @cached_property
    def is_log(self) -> bool:
        """True if all scores are positive, so that a log axis can show them."""
        return all(value > 0 for curve in self.curves.values() for value in curve.values())

    @cached_property
    def equal_step(self) -> int:
        """The latest step at which at least 90 % of the trials with scores reported one; 0 if there are no scores.

        If no step has so many scores, the latest step with the largest number of scores.
        """
        scored = [curve for curve in self.curves.values() if curve]
        counts: dict[int, int] = {}
        for curve in scored:
            for step in curve:
                counts[step] = counts.get(step, 0) + 1
        enough = min(math.ceil(NEARLY_ALL * len(scored)), max(counts.values(), default=0))
        return max((step for step, count in counts.items() if count >= enough), default=0)

    @cached_property
    def equal(self) -> dict[int, float]:
        """The scores at the equal step by trial number, of trials with complete hyper-parameters."""
        return {
            row.number: self.curves[row.number][self.equal_step]
            for row in self.rows
            if self.is_whole(row) and self.equal_step in self.curves[row.number]
        }

    @cached_property
    def equal_rows(self) -> list[Row]:
        """The trials that `equal` holds."""
        return [row for row in self.rows if row.number in self.equal]

    def is_whole(self, row: Row) -> bool:
        """Return whether a trial has all its hyper-parameters.

        If a driver is killed while it creates a trial, the trial stays incomplete.
        """
        return row.params.keys() == self.plan.space.ranges.keys()

    def scaled(self, score: float) -> float:
        """Return a score on the scale of its axis: log10 of the score for a log axis, else the score itself."""
        return math.log10(score) if self.is_log else score

    @cached_property
    def study(self) -> optuna.Study:
        """An Optuna study with the scores at the equal step. Trials without such a score are FAIL."""
        return equal_study(self.searched, [Point(row.params, self.equal.get(row.number)) for row in self.rows])

    @cached_property
    def importances(self) -> dict[str, float]:
        """Each hyper-parameter's share in the variance of the score at the equal step.

        The variance is that of log10 of the score if all scores are positive. Empty if there are too few trials.
        """
        return importances(self.searched, self._points)

    @cached_property
    def forest(self) -> Forest | None:
        """A random forest of the score at the equal step, or None if there are too few trials.

        It predicts log10 of the score if all scores are positive.
        """
        return fitted(self.searched, self._points)

    @property
    def _points(self) -> list[Point]:
        count = len(self.equal_rows)
        chosen = np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int)
        rows = [self.equal_rows[place] for place in chosen]
        return [Point(row.params, self.scaled(self.equal[row.number])) for row in rows]

    @property
    def by_importance(self) -> list[str]:
        """The searched hyper-parameters, the most important first if that is known."""
        return list(self.importances) or list(self.searched)

    @property
    def wanted(self) -> int:
        """The number of trials that are needed to judge all searched hyper-parameters."""
        return WANTED_PER_HYPER_PARAMETER * len(self.searched)

    @property
    def caution(self) -> str:
        """A warning that the trials are too few to judge the hyper-parameters; empty if they are enough."""
        if len(self.equal) >= self.wanted:
            return ""
        return (
            f"Only {len(self.equal)} trials for {len(self.searched)} hyper-parameters: at least {self.wanted}, "
            f"{WANTED_PER_HYPER_PARAMETER} for each, would be wanted. Take this for a hint, not for a finding."
        )

    @property
    def score_label(self) -> str:
        """The objective's name on an axis."""
        return self.plan.objective.removeprefix("eval/")


def read_facts(results: Results) -> Facts:
    """Read the facts of a sweep. Raise `UserError` if its trials' records cannot be read."""
    return Facts(results.plan, results.rows, read_histories(results.folder, results.rows))


def settings(row: Row) -> str:
    """Format a trial's searched hyper-parameters as one line."""
    return ", ".join(f"{label_of(name)} {short_text(value)}" for name, value in row.params.items())
