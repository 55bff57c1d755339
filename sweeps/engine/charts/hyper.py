"""Which hyper-parameters matter and which values are good: all at the one step that nearly all trials reached."""

from __future__ import annotations

import math

import optuna
import plotly.graph_objects as go

from sweeps.engine.charts.equal import ends, on_scale
from sweeps.engine.charts.facts import Facts, label
from sweeps.engine.charts.looks import (
    BEST,
    LINES,
    MOST_TICKS,
    blank,
    finish,
    hyper_axis,
    round_ticks,
    scale,
    score_axis,
    score_bar,
    ticks,
)
from sweeps.engine.plan.space import Range

NOTHING = "no trial has a score yet"
FEW = "too few trials to say, or no difference between them"


def parallel_coordinates(facts: Facts) -> go.Figure:
    """A line a trial through its hyper-parameters, its score at the equal step and its best; coloured by the former.

    An axis of what is searched on a log scale is one too, and so is the score's where all are above zero. To drag along
    an axis keeps the lines that pass there.
    """
    rows = [row for row in facts.rows if row.number in facts.equal]
    if not rows:
        return blank(NOTHING)
    dimensions = [
        _axis(label(name), [on_scale(bounds, row.params[name]) for row in rows], bounds.log, bounds)
        for name, bounds in facts.searched.items()
    ]
    scaled = [facts.scaled(facts.equal[row.number]) for row in rows]
    best = [facts.scaled(row.value) for row in rows]
    dimensions.append(_axis(f"at {facts.equal_step:,}", scaled, facts.is_log))
    dimensions.append(_axis("best", best, facts.is_log))
    line = {"color": scaled, "colorscale": scale(), "showscale": True, "colorbar": score_bar(facts, scaled)}
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line, unselected={"line": {"opacity": 0.08}}))
    return finish(figure, 440).update_layout(margin={"l": 70, "r": 30, "t": 60, "b": 30})


def importance(facts: Facts) -> go.Figure:
    """Each hyper-parameter's share in the variance of the score at the equal step."""
    shares = facts.importances
    if not shares:
        return blank(FEW)
    names = list(shares)[::-1]
    figure = go.Figure(
        go.Bar(
            x=[shares[name] for name in names],
            y=[label(name) for name in names],
            orientation="h",
            marker={"color": LINES[1]},
            text=[f"{shares[name]:.0%}" for name in names],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(title="share of the score's variance", tickformat=".0%", range=[0, 1.1 * max(shares.values())])
    return finish(figure, 120 + 44 * len(names))


def slices(facts: Facts) -> go.Figure:
    """The score at the equal step against each hyper-parameter; the best trial is ringed."""
    if not facts.equal or not facts.searched:
        return blank(NOTHING if facts.searched else "nothing is searched")
    names = facts.by_importance
    figure = optuna.visualization.plot_slice(facts.study, params=names, target_name=facts.score_label)
    # Optuna puts the panels in the order of the names' letters.
    for place, name in enumerate(sorted(names)):
        figure.data[place].update(
            marker={
                "size": 7,
                "colorscale": [(0, "#6fa8b5"), (1, "#1c5d99")],
                "colorbar": {"thickness": 12, "xpad": 8, "outlinewidth": 0},
            },
            hovertemplate=f"{label(name)} %{{x:.4g}}<br>score %{{y:.4g}}<br>trial %{{marker.color}}<extra></extra>",
        )
        figure.update_xaxes(hyper_axis(facts, name), selector=lambda axis, text=name: axis.title.text == text)
    figure.update_yaxes({key: value for key, value in score_axis(facts).items() if key != "title"})
    _ring(figure, facts, sorted(names))
    return finish(figure, 380)


def _ring(figure: go.Figure, facts: Facts, names: list[str]) -> None:
    best = facts.best
    if best is None or best.number not in facts.equal:
        return
    for place, name in enumerate(names, start=1):
        figure.add_scatter(
            x=[best.params[name]],
            y=[facts.equal[best.number]],
            mode="markers",
            marker={"symbol": "circle-open", "size": 15, "color": BEST, "line": {"width": 2.5}},
            hoverinfo="skip",
            showlegend=False,
            **({"row": 1, "col": place} if len(names) > 1 else {}),
        )


def _axis(title: str, values: list[float], is_log: bool, bounds: Range | None = None) -> dict[str, object]:
    low, high = ends(bounds) if bounds else (min(values), max(values))
    if math.isclose(low, high):  # an axis must have some length
        low, high = low - 0.5, high + 0.5
    if is_log:
        positions, texts = ticks(low, high)
    else:
        is_whole = bounds is not None and bounds.whole and high - low <= MOST_TICKS
        positions = [low + place for place in range(round(high - low) + 1)] if is_whole else round_ticks(low, high)
        texts = [f"{position:.3g}" for position in positions]
    return {"label": title, "values": values, "range": [low, high], "tickvals": positions, "ticktext": texts}
