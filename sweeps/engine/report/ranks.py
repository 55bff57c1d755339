"""Ranks of the leading trials at equal critic updates, equal generator updates and equal seconds of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sweeps.engine.charts.facts import Facts
from sweeps.engine.storage.history import GENERATOR_UPDATES, SECONDS, History
from sweeps.engine.storage.spool import ReportRecord
from sweeps.engine.study.rows import Row

LEADERS = 10
MEASURES: dict[str, Callable[[ReportRecord], float]] = {
    "critic updates": lambda step: step.critic_updates,
    "generator updates": lambda step: step.metrics.get(GENERATOR_UPDATES, math.nan),
    "seconds": lambda step: step.metrics.get(SECONDS, math.nan),
}


@dataclass(frozen=True)
class Measure:
    """A measure of a trial's cost, and the trials' ranks at equal cost.

    Attributes:
        name: Name of the measure.
        budget: The smallest total cost among the compared trials.
        scores: Each trial's best score within the budget, by trial number; NaN if it has none.
        ranks: Each trial's rank, by trial number. 1 is the lowest score, equal scores share a rank, and None means no
            score.
    """

    name: str
    budget: float
    scores: dict[int, float]
    ranks: dict[int, int | None]

    @property
    def order(self) -> list[int]:
        """The trials' numbers, lowest score first."""
        ranked = {number: rank for number, rank in self.ranks.items() if rank is not None}
        return sorted(ranked, key=lambda number: (ranked[number], number))


@dataclass(frozen=True)
class TrialRanks:
    """The compared trials, by their final scores, and the measures that all of them reported."""

    trials: list[Row]
    measures: list[Measure]

    @property
    def statement(self) -> str:
        """A sentence that says whether the order differs between the measures."""
        if len(self.trials) < 2 or not self.measures:
            return "There are not yet two trials to compare."
        leaders: dict[int, list[str]] = {}
        for measure in self.measures:
            if measure.order:
                leaders.setdefault(measure.order[0], []).append(measure.name)
        if len(leaders) > 1:
            return (
                "The order differs: " + ", ".join(f"trial {n} leads by {_and(by)}" for n, by in leaders.items()) + "."
            )
        orders = [measure.order for measure in self.measures]
        rest = (
            "and the order behind it is the same"
            if orders.count(orders[0]) == len(orders)
            else "behind it the order differs"
        )
        return f"Trial {orders[0][0]} leads by {_and([measure.name for measure in self.measures])}, {rest}."


def ranks(facts: Facts) -> TrialRanks:
    """Rank the ten best complete trials. If fewer than two are complete, rank the ten best of all with a score."""
    whole = [row for row in facts.best_first if row.state == "COMPLETE"]
    compared = (whole if len(whole) > 1 else facts.best_first)[:LEADERS]
    histories = [facts.histories[row.number] for row in compared]
    measures = [_measure(facts, name, of, histories) for name, of in MEASURES.items()]
    # Skip measures at which a trial has no score within the budget. Its rank would be unknown, not the worst.
    known = [each for each in measures if each.scores and all(map(math.isfinite, each.scores.values()))]
    return TrialRanks(compared, [measure for measure in known if math.isfinite(measure.budget)])


def _measure(facts: Facts, name: str, of: Callable[[ReportRecord], float], histories: list[History]) -> Measure:
    totals = [of(history.steps[-1]) if history.steps else math.nan for history in histories]
    budget = math.nan if any(map(math.isnan, totals)) else min(totals, default=math.nan)
    scores = {}
    for history in histories:
        curve = facts.curves[history.number]
        by_then = [curve[s.critic_updates] for s in history.steps if of(s) <= budget and s.critic_updates in curve]
        scores[history.number] = min(by_then, default=math.nan)
    known = sorted(score for score in scores.values() if math.isfinite(score))
    ranked = {number: known.index(score) + 1 if score in known else None for number, score in scores.items()}
    return Measure(name, budget, scores, ranked)


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
