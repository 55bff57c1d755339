"""The charts of the page, in order, with captions that explain how to read them."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from sweeps.engine.charts import hyper, pairs, progress, quality
from sweeps.engine.charts.facts import MOST_POINTS, Facts
from sweeps.engine.plan.space import label_of


@dataclass(frozen=True)
class Chart:
    """A section of the page.

    Attributes:
        key: Id of the section.
        title: Its title.
        caption: One or two sentences that explain the chart.
        figure: The chart.
        caution: A warning, or empty.
        wide: Whether a narrow screen scrolls the chart instead of shrinking it.
    """

    key: str
    title: str
    caption: str
    figure: go.Figure
    caution: str = ""
    wide: bool = False


def charts_of(facts: Facts) -> dict[str, Chart]:
    """Return all charts by key."""
    drawn = [make(facts) for make in (_best_so_far, _parallel, _importance, _pairs, _slices, _map, _timeline, _curves)]
    return {chart.key: chart for chart in (*drawn, _quality(facts), _metrics(facts))}


def _at(facts: Facts) -> str:
    """Describe the score at the equal step and the number of trials that have it."""
    if not facts.equal:
        return "the score at the last step that nearly all trials reached (none has a score yet)"
    return (
        f"the score at critic update {facts.equal_step:,}, the last step that nearly all trials reached "
        f"({len(facts.equal)} of {len(facts.rows)} are in it)"
    )


def _fitted_to(facts: Facts) -> str:
    """Say that a forest was fitted to a part of the trials; empty if it was fitted to all."""
    if len(facts.equal) <= MOST_POINTS:
        return ""
    return f" The forest was fitted to at most {MOST_POINTS} of these trials, evenly chosen by number."


def _best_so_far(facts: Facts) -> Chart:
    caption = (
        "The lowest score against the critic updates of all trials together, in the order in which they reported: "
        "how much budget bought how much. A line that has long been flat says that more trials of this kind buy little."
    )
    return Chart("best-so-far", "Best so far against budget spent", caption, progress.best_so_far(facts))


def _parallel(facts: Facts) -> Chart:
    caption = (
        f"A line a trial, coloured by {_at(facts)}; the last axis has its best score, whenever that was. Drag along an "
        "axis to keep the lines that pass there; click it to let them go."
    )
    figure = hyper.parallel_coordinates(facts)
    return Chart("parallel", "Parallel coordinates", caption, figure, wide=bool(facts.equal))


def _importance(facts: Facts) -> Chart:
    of = "the logarithm of the score" if facts.is_log else "the score"
    caption = (
        f"How much of the variance of {of} each hyper-parameter explains by itself (fANOVA), over {_at(facts)}. What "
        f"matters early need not matter most in the end.{_fitted_to(facts)}"
    )
    return Chart("importance", "Importance", caption, hyper.importance(facts), facts.caution if facts.equal else "")


def _pairs(facts: Facts) -> Chart:
    trust, caution = "", ""
    if facts.forest is not None:
        share = max(0.0, facts.forest.trust)
        trust = f" Of trials that it was not fitted to, it explains {share:.0%} of the variance."
        caution = (
            "" if share >= 0.3 else f"The forest explains {share:.0%} of what it has not seen: trust the points only."
        )
    caption = (
        f"Each two of the most important: points are trials, their colour is {_at(facts)}; the ground is what a random "
        f"forest fitted to them predicts, averaged over the rest. Slanted bands mean that the two act together.{trust}"
        f"{_fitted_to(facts)}"
    )
    figure = pairs.interactions(facts)
    return Chart("interactions", "Interactions", caption, figure, caution, wide=facts.forest is not None)


def _slices(facts: Facts) -> Chart:
    caption = (
        f"Each hyper-parameter against {_at(facts)}; low is good, the darker the later the trial, the best trial is "
        "ringed. Look for where the lower edge of the cloud dips; points crowd where the search found it worthwhile."
    )
    wide = len(facts.searched) > 2 and bool(facts.equal)
    return Chart("slices", "Score against each hyper-parameter", caption, hyper.slices(facts), wide=wide)


def _map(facts: Facts) -> Chart:
    first, second = map(label_of, pairs.mapped(facts)) if len(facts.searched) > 1 else ("λ", "learning rate")
    caption = (
        f"Points are trials, their colour is {_at(facts)}, the best trial is ringed; the ground is the forest's "
        "prediction between them. A broad patch of good colour is a safe choice, a lone point may be luck."
        f"{_fitted_to(facts)}"
    )
    return Chart("map", f"{first} × {second}", caption, pairs.map_of_two(facts))


def _timeline(facts: Facts) -> Chart:
    caption = (
        "When each trial was trained, from its start to its end or its last report, coloured by its state. Many at a "
        "time share the machines; a gap is time in which nothing was trained."
    )
    return Chart("timeline", "Timeline", caption, progress.timeline(facts))


def _curves(facts: Facts) -> Chart:
    caption = (
        "The score of every trial at each of its reports: the ten best by name, the others faintly. Where curves "
        "cross, early scores did not foretell the end; click a name to hide it, twice to see it alone."
    )
    return Chart("curves", "Scores over critic updates", caption, progress.curves(facts), wide=bool(facts.best_first))


def _quality(facts: Facts) -> Chart:
    caption = (
        "What one score does not tell, for the ten best trials at their best report. Precision: the share of samples "
        "among real ones. Recall: the share of real samples among generated ones. Coverage: the share of real samples "
        "with a sample near them. Copied: the training samples that are copied, over the number of samples. If the "
        "data has classes, the lower chart shows the best trial's coverage of each: a class that the generator lost "
        "stands out."
    )
    return Chart("quality", "Precision, recall, coverage and copies", caption, quality.quality(facts))


def _metrics(facts: Facts) -> Chart:
    caption = (
        "Any other metric of the five best trials, chosen from the list. The critic's own estimate of the distance "
        "tells whether a training is healthy; it does not compare between trials of different λ."
    )
    left_out = len(progress.metric_names(facts)) - progress.MENU
    if left_out > 0:
        caption += f" The list has {progress.MENU} metrics; {left_out:,} more are left out."
    return Chart("metrics", "Other metrics", caption, progress.metrics(facts), wide=bool(facts.best_first))
