"""Common style of the charts: axes, a transparent background, and colours for light and dark pages."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from sweeps.engine.charts.facts import Facts
from sweeps.engine.plan.space import label_of

STATES = {"COMPLETE": "#2f9e44", "PRUNED": "#868e96", "FAIL": "#e03131", "RUNNING": "#1c7ed6", "WAITING": "#f08c00"}
# From the best score to the worst. All colours are visible on white and on black, and to colour-blind people.
SCALE = ["#e8590c", "#f2a93b", "#b5b08a", "#6fa8b5", "#3f74a8"]
LINES = ["#e8590c", "#1c7ed6", "#2f9e44", "#ae3ec9", "#f08c00", "#0c8599", "#d6336c", "#7048e8", "#74b816", "#a0705a"]
MOST_TICKS, MOST_ROUND = 10, 6
# Powers of ten beyond this one leave double precision.
LAST_DECADE = 300
GREY, BEST = "#868e96", "#e8590c"

_TEMPLATE = go.layout.Template(
    layout={
        "colorway": LINES,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        "margin": {"l": 64, "r": 16, "t": 16, "b": 48},
        "xaxis": {"gridcolor": "rgba(134,142,150,.25)", "zeroline": False, "automargin": True},
        "yaxis": {"gridcolor": "rgba(134,142,150,.25)", "zeroline": False, "automargin": True},
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": "rgba(0,0,0,0)"},
    }
)


def finish(figure: go.Figure, height: int = 420) -> go.Figure:
    """Apply the common style to a chart. `height` is in pixels."""
    return figure.update_layout(template=_TEMPLATE, height=height, title=None, width=None, autosize=True)


def blank(reason: str) -> go.Figure:
    """Return an empty chart that shows the reason why there is no data yet."""
    figure = go.Figure()
    figure.add_annotation(text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return finish(figure, 120)


def ring(x: float, y: float, size: int) -> go.Scatter:
    """Return a ring around the point of the best trial. `size` is in pixels."""
    marker = {"symbol": "circle-open", "size": size, "color": BEST, "line": {"width": 2.5}}
    return go.Scatter(x=[x], y=[y], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def score_axis(facts: Facts) -> dict[str, Any]:
    """Return the settings of the score's axis, with a log scale if all scores are positive."""
    # Without a format, Plotly shows only the first digit of labels between two powers of ten.
    kind = {"type": "log", "tickformat": ".3~g"} if facts.is_log else {"type": "linear"}
    return {"title": {"text": facts.score_label}, **kind}


def hyper_axis(facts: Facts, name: str) -> dict[str, Any]:
    """Return the settings of a hyper-parameter's axis, with a log scale if it is searched on one."""
    bounds = facts.searched[name]
    if bounds.is_of_texts:
        places = list(range(len(bounds.among)))
        return {"title": {"text": label_of(name)}, "type": "linear", "tickvals": places, "ticktext": list(bounds.among)}
    axis: dict[str, Any] = {"title": {"text": label_of(name)}, "type": "log" if bounds.log else "linear"}
    if bounds.log:
        axis["tickformat"] = "~e" if bounds.low < 1e-3 else "~g"
        if bounds.high >= 100 * bounds.low:
            axis["dtick"] = 1
    elif bounds.whole and bounds.high - bounds.low <= MOST_TICKS:
        axis["dtick"] = 1
    return axis


def hover(facts: Facts, name: str, axis: str) -> str:
    """Return the place of a hyper-parameter's value in a template of hover texts. `axis` is "x" or "y"."""
    return f"%{{{axis}}}" if facts.searched[name].is_of_texts else f"%{{{axis}:.4g}}"


def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Choose ticks at round numbers for an axis that shows log10 of a value.

    Args:
        low: The axis' lower end, as log10 of the value.
        high: The axis' upper end, as log10 of the value.

    Returns:
        The ticks' positions, and their texts.
    """
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        decades = range(max(math.floor(low), -LAST_DECADE), min(math.ceil(high), LAST_DECADE) + 1)
        found = [digit * 10.0**decade for decade in decades for digit in digits]
        within = [value for value in found if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(within) >= 3:
            break
    return [math.log10(value) for value in within], [f"{value:.3g}" for value in within]


def round_ticks(low: float, high: float) -> list[float]:
    """Return about six round numbers at most between two ends."""
    if not high - low < 10.0**LAST_DECADE:
        return [low, high]
    step = 10.0 ** math.floor(math.log10(high - low))
    step *= next(part for part in (0.2, 0.25, 0.5, 1, 2) if (high - low) / (part * step) <= MOST_ROUND)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def score_bar(facts: Facts, scaled: list[float]) -> dict[str, Any]:
    """Return the settings of a colour bar for scores on the scale of their axis (see `Facts.scaled`)."""
    bar: dict[str, Any] = {"title": {"text": facts.score_label}, "thickness": 12, "outlinewidth": 0}
    bar["title"]["side"] = "right"
    if facts.is_log and scaled:
        bar["tickvals"], bar["ticktext"] = ticks(min(scaled), max(scaled))
    return bar


def scale() -> list[tuple[float, str]]:
    """Return the colour scale in Plotly's form. Low scores, which are the best, come first."""
    return [(place / (len(SCALE) - 1), colour) for place, colour in enumerate(SCALE)]
