"""Chart of what the score does not tell: precision, recall, coverage and copies of the best trials."""

from __future__ import annotations

import re

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweeps.engine.charts.facts import Facts
from sweeps.engine.charts.style import BEST, LINES, blank, finish

LEADERS = 10
SHARES = ("precision", "recall", "coverage", "copied")
# The name of a class's coverage in a report.
OF_CLASS = re.compile(r"class/(\d+)/coverage")


def quality(facts: Facts) -> go.Figure:
    """Draw the shares of the ten best trials, and below them the best trial's coverage of each class if it has any."""
    leaders = [row for row in facts.best_first[:LEADERS] if row.beside]
    shares = [name for name in SHARES if any(name in row.beside for row in leaders)]
    if not shares:
        return blank("no trial has these scores: the metrics of the sweep were chosen without them, or it is older")
    by_class = class_coverage(facts)
    figure = make_subplots(rows=2 if by_class else 1, cols=1, vertical_spacing=0.16)
    names = [f"trial {row.label}" for row in leaders]
    for place, share in enumerate(shares):
        values = [row.beside.get(share) for row in leaders]
        figure.add_bar(x=names, y=values, name=share, marker={"color": LINES[place]}, row=1, col=1)
    figure.update_yaxes(range=[0, 1], title="share", row=1, col=1)
    if by_class:
        classes = [str(label) for label in by_class]
        values = list(by_class.values())
        figure.add_bar(x=classes, y=values, marker={"color": BEST}, showlegend=False, row=2, col=1)
        figure.update_xaxes(type="category", title="class", row=2, col=1)
        figure.update_yaxes(range=[0, 1], title=f"coverage, trial {facts.best_first[0].label}", row=2, col=1)
    return finish(figure, 640 if by_class else 360)


def class_coverage(facts: Facts) -> dict[int, float]:
    """Return the best trial's coverage of each class at its best report; empty if it is not measured."""
    if facts.best is None:
        return {}
    scores = facts.histories[facts.best.number].at(facts.best.best_step)
    found = {int(match[1]): value for name, value in scores.items() if (match := OF_CLASS.fullmatch(name))}
    return dict(sorted(found.items()))
