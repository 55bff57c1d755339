"""Charts of the search's course: the best score so far, each trial's scores, other metrics, and the timeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import plotly.graph_objects as go

from sweeps.engine.charts.facts import Facts, settings
from sweeps.engine.charts.style import BEST, GREY, LINES, STATES, blank, finish, score_axis
from wgan_core.metrics.registry import known_metrics

LEADERS, WITH_METRICS = 10, 5
# Most metrics in the menu of one chart. Each entry of the menu names the visibility of all curves.
MENU = 50
BY_ONES = 30
NOTHING = "no trial has a score yet"


def best_so_far(facts: Facts) -> go.Figure:
    """Draw the lowest score so far against the summed critic updates of all trials, in the order of the reports."""
    reports = in_order(facts)
    if not reports:
        return blank(NOTHING)
    figure = go.Figure()
    spent, scores = np.array([report.spent for report in reports]), np.array([report.score for report in reports])
    figure.add_scatter(
        x=spent,
        y=scores,
        mode="markers",
        marker={"size": 4, "color": GREY, "opacity": 0.6},
        name="each report",
        customdata=np.array([(report.number, report.critic_updates) for report in reports]),
        hovertemplate="trial %{customdata[0]} at critic update %{customdata[1]:,}: %{y:.4g}<extra></extra>",
    )
    lowest = np.minimum.accumulate(scores)
    falls = np.flatnonzero(np.diff(lowest, prepend=np.inf) < 0)
    shown = np.append(falls, len(reports) - 1)
    figure.add_scatter(
        x=spent[shown],
        y=lowest[shown],
        mode="lines",
        line={"shape": "hv", "color": BEST, "width": 2.5},
        name="best so far",
        hovertemplate="best so far %{y:.4g} after %{x:,} critic updates in all<extra></extra>",
    )
    add_floor(figure, facts, (0, int(spent[-1])))
    figure.update_xaxes(title="critic updates of all trials together", rangemode="tozero")
    return finish(figure.update_yaxes(score_axis(facts)))


@dataclass(frozen=True)
class Report:
    """A trial's report with a score. `spent` is the sum of critic updates over all trials by then."""

    number: int
    critic_updates: int
    spent: int
    score: float


def in_order(facts: Facts) -> list[Report]:
    """Return the reports with a score in order of time. `spent` also counts the updates of reports without one."""
    reports = sorted(
        (step.timestamp_ms, number, step.critic_updates, before)
        for number, history in facts.histories.items()
        for step, before in zip(history.steps, (0, *(s.critic_updates for s in history.steps)), strict=False)
    )
    spent, found = 0, []
    for _, number, critic_updates, before in reports:
        spent += critic_updates - before
        score = facts.curves[number].get(critic_updates)
        if score is not None:
            found.append(Report(number, critic_updates, spent, score))
    return found


def curves(facts: Facts) -> go.Figure:
    """Draw every trial's score over its critic updates: the ten best by name, the others faintly, by state."""
    if not facts.best_first:
        return blank(NOTHING)
    leaders = facts.best_first[:LEADERS]
    named = {row.number for row in leaders}
    figure = go.Figure()
    for state, colour in STATES.items():
        others = [row for row in facts.rows if row.state == state and row.number not in named]
        # NaN makes a gap after each trial. Arrays take a tenth of the space of lists of texts.
        points = [
            point
            for row in others
            for point in (
                *((x, y, row.number) for x, y in facts.curves[row.number].items()),
                (np.nan, np.nan, row.number),
            )
            if facts.curves[row.number]
        ]
        if points:
            x, y, numbers = np.array(points, dtype=np.float64).T
            figure.add_scatter(
                x=x,
                y=y,
                customdata=numbers,
                mode="lines+markers",
                line={"color": colour, "width": 1},
                marker={"size": 3},
                opacity=0.4,
                name=f"other {state}",
                hovertemplate="trial %{customdata}: %{y:.4g}<extra>" + state + "</extra>",
            )
    for place, row in enumerate(leaders):
        curve = facts.curves[row.number]
        style = {"color": LINES[place % len(LINES)], "width": 3 if place == 0 else 1.8}
        name = f"trial {row.number}" + (" (best)" if place == 0 else "")
        figure.add_scatter(
            x=list(curve), y=list(curve.values()), mode="lines+markers", line=style, name=name, text=settings(row)
        )
    add_floor(figure, facts, (0, max(max(curve, default=0) for curve in facts.curves.values())))
    figure.update_xaxes(title="critic updates of the trial", rangemode="tozero")
    return finish(figure.update_yaxes(score_axis(facts)), 480)


def metrics(facts: Facts) -> go.Figure:
    """Draw a metric of the five best trials over critic updates, with a menu to choose the metric."""
    leaders = facts.best_first[:WITH_METRICS]
    names = sorted(metric_names(facts)[:MENU])
    # Start with the critic's estimate of the distance, because the score has a chart of its own.
    first = "train/wasserstein_estimate" if "train/wasserstein_estimate" in names else next(iter(names), "")
    if not first:
        return blank(NOTHING)
    figure = go.Figure()
    for name in names:
        for place, row in enumerate(leaders):
            curve = facts.histories[row.number].curve(name)
            style = {"color": LINES[place]}
            figure.add_scatter(
                x=list(curve),
                y=list(curve.values()),
                mode="lines+markers",
                line=style,
                name=f"trial {row.number}",
                visible=name == first,
            )
    chosen = [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": [other == name for other in names for _ in leaders]}, {"yaxis.title.text": name}],
        }
        for name in names
    ]
    axes = [{"label": kind, "method": "relayout", "args": [{"yaxis.type": kind}]} for kind in ("linear", "log")]
    menu = {
        "x": 0,
        "xanchor": "left",
        "y": 1.22,
        "yanchor": "bottom",
        "bgcolor": "#eef0f3",
        "font": {"color": "#1f2328"},  # Plotly paints the chosen entry white, even on a dark page.
        "bordercolor": GREY,
    }
    figure.update_layout(
        updatemenus=[
            {**menu, "buttons": chosen, "active": names.index(first)},
            {**menu, "buttons": axes, "x": 1, "xanchor": "right", "type": "buttons", "direction": "right"},
        ]
    )
    figure.update_xaxes(title="critic updates of the trial", rangemode="tozero").update_yaxes(title=first)
    return finish(figure, 460).update_layout(margin_t=110)


def metric_names(facts: Facts) -> list[str]:
    """Return the metrics of the five best trials: the objective, then those of this package, then others by name."""
    named = {name for row in facts.best_first[:WITH_METRICS] for name in facts.histories[row.number].last}
    first = [name for name in (facts.plan.objective, *known_metrics()) if name in named]
    # Metrics on features of the user's follow.
    return list(dict.fromkeys([*first, *sorted(named, key=lambda name: (not name.startswith("eval/"), name))]))


def timeline(facts: Facts) -> go.Figure:
    """Draw when each trial was trained, from its start to its end or its last record, coloured by its state."""
    spans = {number: span for number, history in facts.histories.items() if (span := history.span_ms)}
    if not spans:
        return blank("no trial has begun yet")
    figure = go.Figure()
    for state, colour in STATES.items():
        rows = [row for row in facts.rows if row.state == state and row.number in spans]
        if rows:
            figure.add_bar(
                base=[_time(spans[row.number][0]) for row in rows],
                # A bar of length zero would be invisible.
                x=[max(spans[row.number][1] - spans[row.number][0], 1) for row in rows],
                y=[row.number for row in rows],
                orientation="h",
                width=0.85,
                marker={"color": colour, "line": {"width": 0}},
                name=state,
                customdata=[[_lasted(spans[row.number]), row.step] for row in rows],
                hovertemplate="trial %{y}: %{customdata[0]}, %{customdata[1]:,} critic updates<extra>"
                + state
                + "</extra>",
            )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(type="date", title="time (UTC)")
    figure.update_yaxes(title="trial", range=[max(spans) + 0.6, min(spans) - 0.6], tickformat="d")
    if len(spans) <= BY_ONES:
        figure.update_yaxes(dtick=1)
    return finish(figure, min(160 + 18 * len(facts.rows), 900))


def add_floor(figure: go.Figure, facts: Facts, between: tuple[int, int]) -> None:
    """Draw a line at the floor, unless a log axis cannot show it.

    Args:
        figure: The chart.
        facts: The sweep.
        between: The line's ends on the x axis.
    """
    floor = facts.plan.floor
    if math.isfinite(floor) and (floor > 0 or not facts.is_log):
        line = {"color": GREY, "dash": "dash", "width": 1.5}
        figure.add_scatter(
            x=list(between), y=[floor] * 2, mode="lines", line=line, name="floor: real against real", hoverinfo="y+name"
        )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _lasted(span: tuple[int, int]) -> str:
    seconds = (span[1] - span[0]) / 1000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
