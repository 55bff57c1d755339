"""Charts of the joint effect of two hyper-parameters: the trials, over the predictions of a random forest."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweeps.engine.charts.equal import LEAST_TRIALS, ends
from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.forest import Forest
from sweeps.engine.charts.style import blank, finish, hover, hyper_axis, ring, scale, score_bar

MOST_IMPORTANT = 4
CELLS = 24
FEW = f"fewer than {LEAST_TRIALS} trials, or fewer than two hyper-parameters that are searched"


def interactions(facts: Facts) -> go.Figure:
    """Draw the predicted score over each pair of the four most important hyper-parameters, with the trials."""
    forest = facts.forest
    if forest is None:
        return blank(FEW)
    names = facts.by_importance[:MOST_IMPORTANT]
    size = len(names) - 1
    figure = make_subplots(
        size, size, shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.03
    )
    for row in range(size):
        for column in range(row + 1):
            pair = names[column], names[row + 1]
            place = {"row": row + 1, "col": column + 1}
            figure.add_trace(_heat(facts, forest, pair), **place)
            figure.add_trace(_dots(facts, pair, size=7), **place)
            figure.update_xaxes({**hyper_axis(facts, pair[0]), "range": _span(facts, pair[0])}, **place)
            figure.update_yaxes({**hyper_axis(facts, pair[1]), "range": _span(facts, pair[1])}, **place)
            if row < size - 1:
                figure.update_xaxes(title=None, **place)
            if column > 0:
                figure.update_yaxes(title=None, **place)
    return _coloured(figure, facts, 200 + 190 * size)


def map_of_two(facts: Facts) -> go.Figure:
    """Draw the score at the equal step over two hyper-parameters (see `mapped`)."""
    if len(facts.searched) < 2 or not facts.equal:
        return blank(FEW)
    pair, forest = mapped(facts), facts.forest
    figure = go.Figure()
    if forest is not None:
        figure.add_trace(_heat(facts, forest, pair))
    figure.add_trace(_dots(facts, pair, size=10))
    if facts.best is not None and facts.best.number in facts.equal:
        x, y = (facts.searched[name].number(facts.best.params[name]) for name in pair)
        figure.add_trace(ring(x, y, 20))
    for axis, name in ((figure.update_xaxes, pair[0]), (figure.update_yaxes, pair[1])):
        axis({**hyper_axis(facts, name), "range": _span(facts, name)})
    return _coloured(figure, facts, 480)


def mapped(facts: Facts) -> tuple[str, str]:
    """Return the map's two hyper-parameters.

    They are λ and the learning rate (or the critic's rate) if both are searched, else the two most important ones.
    """
    rate = next((name for name in ("lr", "lr_critic") if name in facts.searched), None)
    if rate is not None and "lambda_gp" in facts.searched:
        return "lambda_gp", rate
    first, second = facts.by_importance[:2]
    return first, second


def _heat(facts: Facts, forest: Forest, pair: tuple[str, str]) -> go.Heatmap:
    over = {name: np.linspace(*ends(facts.searched[name]), CELLS) for name in pair}
    values = forest.surface(pair, over)
    x, y = (10 ** over[name] if facts.searched[name].log else over[name] for name in pair)
    return go.Heatmap(x=x, y=y, z=values, coloraxis="coloraxis", opacity=0.55, hoverinfo="skip", zsmooth="best")


def _dots(facts: Facts, pair: tuple[str, str], size: int) -> go.Scatter:
    rows = facts.equal_rows
    return go.Scatter(
        x=[facts.searched[pair[0]].number(row.params[pair[0]]) for row in rows],
        y=[facts.searched[pair[1]].number(row.params[pair[1]]) for row in rows],
        mode="markers",
        marker={
            "color": [facts.scaled(facts.equal[row.number]) for row in rows],
            "coloraxis": "coloraxis",
            "size": size,
            "line": {"width": 1, "color": "#495057"},
        },
        customdata=np.array([(row.number, facts.equal[row.number]) for row in rows]),
        hovertemplate="trial %{customdata[0]}: %{customdata[1]:.4g}<br>"
        f"{hover(facts, pair[0], 'x')}, {hover(facts, pair[1], 'y')}<extra></extra>",
        showlegend=False,
    )


def _coloured(figure: go.Figure, facts: Facts, height: int) -> go.Figure:
    scaled = [facts.scaled(score) for score in facts.equal.values()]
    figure.update_layout(coloraxis={"colorscale": scale(), "colorbar": score_bar(facts, scaled)})
    return finish(figure, height)


def _span(facts: Facts, name: str) -> list[float]:
    """Return an axis' ends on its scale, with a margin for points that lie on the ends."""
    low, high = ends(facts.searched[name])
    return [low - 0.04 * (high - low), high + 0.04 * (high - low)]
