"""Charts of which hyper-parameters matter and which values are good, by the score at the equal step."""

from __future__ import annotations

import math

import optuna
import plotly.graph_objects as go

from sweeps.engine.charts.equal import ends, on_scale
from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.style import (
    LINES,
    MOST_TICKS,
    blank,
    finish,
    hover,
    hyper_axis,
    ring,
    round_ticks,
    scale,
    score_axis,
    score_bar,
    ticks,
)
from sweeps.engine.plan.space import Range, label_of

NOTHING = "no trial has a score yet"
FEW = "too few trials to say, or no difference between them"


def parallel_coordinates(facts: Facts) -> go.Figure:
    """Draw one line per trial through its hyper-parameters, its score at the equal step and its best score.

    The colour is the score at the equal step. Hyper-parameters that are searched on a log scale have log axes, and so
    do the scores if all are positive. If a person drags along an axis, only the lines through that interval stay.
    """
    rows = facts.equal_rows
    if not rows:
        return blank(NOTHING)
    dimensions = [
        _axis(label_of(name), [on_scale(bounds, row.params[name]) for row in rows], bounds.log, bounds)
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
    """Draw each hyper-parameter's share in the variance of the score at the equal step as a bar."""
    shares = facts.importances
    if not shares:
        return blank(FEW)
    names = list(shares)[::-1]
    figure = go.Figure(
        go.Bar(
            x=[shares[name] for name in names],
            y=[label_of(name) for name in names],
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
    """Draw the score at the equal step against each hyper-parameter, with a ring around the best trial."""
    if not facts.equal or not facts.searched:
        return blank(NOTHING if facts.searched else "nothing is searched")
    names = facts.by_importance
    figure = optuna.visualization.plot_slice(facts.study, params=names, target_name=facts.score_label)
    # Optuna sorts the panels by name.
    for place, name in enumerate(sorted(names)):
        figure.data[place].update(
            marker={
                "size": 7,
                "colorscale": [(0, "#6fa8b5"), (1, "#1c5d99")],
                "colorbar": {"thickness": 12, "xpad": 8, "outlinewidth": 0},
            },
            hovertemplate=f"{label_of(name)} {hover(facts, name, 'x')}<br>score %{{y:.4g}}"
            "<br>trial %{marker.color}<extra></extra>",
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
        where = {"row": 1, "col": place} if len(names) > 1 else {}
        figure.add_trace(ring(facts.searched[name].number(best.params[name]), facts.equal[best.number], 15), **where)


def _axis(title: str, values: list[float], is_log: bool, bounds: Range | None = None) -> dict[str, object]:
    low, high = ends(bounds) if bounds else (min(values), max(values))
    if math.isclose(low, high):  # An axis must have a length above zero.
        low, high = low - 0.5, high + 0.5
    if bounds is not None and bounds.is_of_texts:
        positions, texts = [float(place) for place in range(len(bounds.among))], list(bounds.among)
    elif is_log:
        positions, texts = ticks(low, high)
    else:
        is_whole = bounds is not None and bounds.whole and high - low <= MOST_TICKS
        positions = [low + place for place in range(round(high - low) + 1)] if is_whole else round_ticks(low, high)
        texts = [f"{position:.3g}" for position in positions]
    return {"label": title, "values": values, "range": [low, high], "tickvals": positions, "ticktext": texts}
