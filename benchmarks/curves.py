"""The best score so far against seconds: what there is to keep of it, and its picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Curve:
    """points: seconds and the score that was the best from then on. ended: seconds, to which the last one holds."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    ended: float


def best_so_far(scores: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of seconds and scores, in the order of time, those that are better, which is less, than all before."""
    better: list[tuple[float, float]] = []
    for seconds, score in scores:
        if math.isfinite(score) and (not better or score < better[-1][1]):
            better.append((seconds, score))
    return better


def draw(curves: Iterable[Curve], floor: float, score: str, title: str, out: Path) -> None:
    """Write the picture; its suffix says in which format. Curves of one label are of one kind, and named once."""
    from matplotlib.figure import Figure  # may be absent where the benchmark ran

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    named: set[str] = set()
    for curve in curves:
        if not curve.points:  # no score of it was finite
            continue
        seconds, best = zip(*curve.points, strict=True)
        label = "" if curve.label in named else curve.label
        named.add(curve.label)
        axes.step([*seconds, curve.ended], [*best, best[-1]], where="post", color=curve.colour, label=label)
    axes.axhline(floor, color="black", linestyle="--", linewidth=1, label="floor: real against real")
    axes.set(xlabel="seconds since the start of the first trial", ylabel=f"best {score} so far", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.suptitle(title, fontsize=10)
    figure.savefig(out, dpi=110)
