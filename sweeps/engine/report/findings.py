"""Findings for and against the winner, as sentences that a person can check in the charts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.engine.charts.equal import ends, on_scale
from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.quality import class_coverage
from sweeps.engine.plan.plan import UNSCORED
from sweeps.engine.plan.space import label_of, short_text
from sweeps.engine.results.confirmation import Confirmation, ConfirmedSetting
from sweeps.engine.results.leaderboard import Z_95, ties
from sweeps.engine.study.rows import ENDED, Row
from wgan_core.metrics.names import unscored_text

# Two scores with a smaller relative difference are a tie until fresh seeds tell them apart.
TIE = 0.05
# A class is lost if its coverage is less than this share of the best covered one.
LOST = 0.5
# A value within this share of its range's length lies at the end of the range.
EDGE = 0.05


@dataclass(frozen=True)
class Finding:
    """A sentence about the sweep. `asks` says whether the person should act on it."""

    text: str
    asks: bool = False


def findings(facts: Facts, confirmation: Confirmation | None = None) -> list[Finding]:
    """Return how sure the winner is and what to try next; empty if the sweep has no winner.

    If any settings are confirmed, the winner is the leader with the best confirmed settings.
    """
    winner = None if confirmation is None else confirmation.winner
    best = facts.best if winner is None else winner.leader
    if best is None:
        return []
    found = [_ended(facts), *_first_point(facts, best)]
    if confirmation is not None and winner is not None:
        found += _confirmed(confirmation, winner)
    else:
        found += _runner_up(facts, best)
    found += [
        *_floor(facts, best),
        *_unscored(facts),
        *_missing(facts),
        *_copies(facts),
        *_edges(facts, best),
        *_course(facts, best),
        *_few(facts),
        *_failed(facts),
    ]
    return [*found, *_seeds(confirmation)]


def _ended(facts: Facts) -> Finding:
    states = [row.state for row in facts.rows]
    ended = sum(state in ENDED for state in states)
    whole, stopped = states.count("COMPLETE"), states.count("PRUNED")
    counts = (
        f"{ended} of {facts.plan.trials} trials ended: {whole} trained for the whole budget, {stopped} stopped early"
    )
    if ended < facts.plan.trials:
        return Finding(f"{counts}. The sweep is not over: this may change.", True)
    return Finding(f"{counts}.")


def _first_point(facts: Facts, best: Row) -> Iterator[Finding]:
    """Compare the best trial with the first starting point, which holds published settings."""
    first = facts.rows[0]
    if not facts.plan.space.presets or first.number != 0 or first not in facts.best_first:
        return
    reached = f"The first preset, trial 0, reached {first.value:.4g}"
    if facts.best is first:
        yield Finding("Nothing beat the first preset, trial 0: more trials, or other ranges, may.", True)
    elif best.step != first.step:
        yield Finding(f"{reached} and ended at critic update {first.step:,}.")
    else:
        yield Finding(f"{reached} with the same budget.")


def _confirmed(confirmation: Confirmation, winner: ConfirmedSetting) -> Iterator[Finding]:
    """Report on the confirmed winner, on the next best setting, and on an unconfirmed leader."""
    said = f"Trained again with {len(winner.complete)} fresh seeds, the settings of trial {winner.leader.label} score"
    yield Finding(f"{said} {winner}.", asks=bool(winner.failed))
    assert winner.validation is not None
    others = (each for each in confirmation.settings if each is not winner and each.leader != winner.leader)
    second = next((each for each in others if each.validation is not None), None)
    if second is not None and second.validation is not None and second.validation.low <= winner.validation.high:
        yield Finding(
            f"The runs of trial {second.leader.label} score {second.validation}, which overlaps: call it a tie.", True
        )
    ahead = confirmation.ahead
    if ahead is not None:
        yield Finding(
            f"Trial {ahead.label} leads the search with {ahead.value:.4g} and is not confirmed: `sweeps confirm`.", True
        )


def _unscored(facts: Facts) -> Iterator[Finding]:
    plan = facts.plan
    left_out = plan.protocol.get(UNSCORED)
    # Somebody else may have written the plan.
    if isinstance(left_out, list) and left_out and all(isinstance(each, int) for each in left_out):
        yield Finding(
            f"The objective {plan.objective} does not see all classes: "
            f"{unscored_text(left_out, plan.structure.classes)}. More samples of them would help.",
            True,
        )


def _runner_up(facts: Facts, best: Row) -> Iterator[Finding]:
    if len(facts.best_first) < 2:
        return
    second = facts.best_first[1]
    gap = (second.value - best.value) / abs(best.value) if best.value else math.inf
    tied = ties(facts.rows)
    if tied:
        told = f"{len(tied)} other trial{'s' if len(tied) > 1 else ''}"
        yield Finding(f"By these samples, {told} cannot be told from trial {best.label}: call it a tie.", True)
    elif gap < TIE:
        yield Finding(f"Trial {second.number} is within {gap:.1%} of it ({second.value:.4g}): call it a tie.", True)
    else:
        more = f", {gap:.0%} more" if math.isfinite(gap) else ""
        yield Finding(f"The next best, trial {second.number}, has {second.value:.4g}{more}.")


def _floor(facts: Facts, best: Row) -> Iterator[Finding]:
    error = 0.0 if math.isnan(facts.plan.floor_error) else facts.plan.floor_error
    if best.value <= facts.plan.floor + Z_95 * error:
        yield Finding(
            f"Trial {best.label} scores no worse than real samples do: the objective tells them apart no further, so "
            "take a stricter one.",
            True,
        )


def _missing(facts: Facts) -> Iterator[Finding]:
    """Name the classes that the best trial of the search has lost."""
    by_class = class_coverage(facts)
    most = max(by_class.values(), default=0.0)
    lost = [str(label) for label, share in by_class.items() if share < LOST * most]
    if lost and facts.best is not None:
        named = f"class {lost[0]}" if len(lost) == 1 else f"classes {', '.join(lost)}"
        yield Finding(f"The samples of trial {facts.best.label} lack {named}: see their coverage.", True)


def _copies(facts: Facts) -> Iterator[Finding]:
    copying = [row.label for row in facts.rows if row.copies]
    if copying:
        named = f"trial {copying[0]} copies" if len(copying) == 1 else f"trials {', '.join(copying)} copy"
        yield Finding(f"Not counted: {named} the training samples. More data or fewer updates may help.", True)


def _edges(facts: Facts, best: Row) -> Iterator[Finding]:
    for name, bounds in facts.searched.items() if facts.is_whole(best) else ():
        low, high = ends(bounds)
        place = (on_scale(bounds, best.params[name]) - low) / (high - low)
        # Skip ranges that need no widening: lists, those of a few whole numbers, and a lower end at zero.
        if bounds.among or (bounds.whole and bounds.high - bounds.low < 10) or (place < EDGE and bounds.low == 0):
            continue
        if min(place, 1 - place) < EDGE:
            where = f"lies at the {'lower' if place < EDGE else 'upper'} end of the range: widen it there"
            yield Finding(f"Trial {best.label}'s {label_of(name)}, {short_text(best.params[name])}, {where}.", True)


def _course(facts: Facts, best: Row) -> Iterator[Finding]:
    if best.state == "COMPLETE" and best.best_step == best.step:
        yield Finding(
            f"Trial {best.label}'s last report is its best: it was still getting better, and a larger budget may pay.",
            True,
        )
    elif best.best_step < best.step:
        last = facts.curves[best.number].get(best.step)
        became = "" if last is None else f"; at the last report it had {last:.4g}"
        text = f"Trial {best.label}'s best came at critic update {best.best_step:,} of {best.step:,}{became}."
        yield Finding(f"{text} The best is kept.")


def _few(facts: Facts) -> Iterator[Finding]:
    """Warn of too few trials with a score. The charts' caution counts only trials that reached the equal step."""
    count, wanted = len(facts.best_first), facts.wanted
    if count < wanted:
        few = f"{count} trials are few for {len(facts.searched)} hyper-parameters"
        yield Finding(f"{few}; {wanted} would say which of them matter.", True)


def _failed(facts: Facts) -> Iterator[Finding]:
    failed = sum(row.state == "FAIL" for row in facts.rows)
    if failed:
        yield Finding(f"{failed} of {len(facts.rows)} trials failed; why is below.", 4 * failed > len(facts.rows))


def _seeds(confirmation: Confirmation | None) -> Iterator[Finding]:
    """Say whether fresh seeds confirm the winner. Say nothing once they do."""
    if confirmation is None:
        yield Finding(
            "Each score is of one seed: train the leaders again with fresh seeds (`sweeps confirm`) to confirm it.",
            True,
        )
    elif not confirmation.has_ended:
        ended = f"{sum(row.state in ENDED for row in confirmation.rows)} of {confirmation.plan.trials} runs ended"
        yield Finding(f"The leaders are being trained again with fresh seeds: {ended}.", True)
