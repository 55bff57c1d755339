"""Names of the samplers, and the spaces that each can take."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweeps.engine.plan.space import Range
from wgan_core.errors import UserError, listed

TPE, GP, CMAES, QMC, RANDOM, GRID = "tpe", "gp", "cmaes", "qmc", "random", "grid"
SAMPLERS: Mapping[str, str] = {
    TPE: "Parzen estimators of good and of other trials",
    GP: "a Gaussian process and its expected improvement",
    CMAES: "covariance matrix adaptation, for ranges alone",
    QMC: "a scrambled Sobol sequence",
    RANDOM: "points at random",
    GRID: "each point of a grid once, for lists alone",
}
"""The meaning of each sampler, by name; the default comes first."""
MOST_POINTS = 100_000
"""Most points of a grid. They are kept in memory."""


def grid_points(ranges: Mapping[str, Range]) -> int:
    """Return the number of points of a grid over lists. A range of one value counts as a list."""
    return math.prod(len(bounds.among) or 1 for bounds in ranges.values())


def check_sampler(name: str, ranges: Mapping[str, Range], trials: int) -> None:
    """Raise `UserError` if the sampler is not known, cannot take the ranges, or has too few points for the trials."""
    if name not in SAMPLERS:
        raise UserError(f"--sampler must be one of {', '.join(SAMPLERS)}; given {name!r}: give --sampler {TPE}")
    lists = [each for each, bounds in ranges.items() if bounds.among]
    spans = [each for each, bounds in ranges.items() if not bounds.among and bounds.low < bounds.high]
    if name == CMAES and (lists or len(spans) < 2):
        raise UserError(
            f"--sampler {CMAES} takes two or more ranges, and no lists; given the lists {listed(lists) or 'none'} and "
            f"the ranges {listed(spans) or 'none'}: search ranges, or take another sampler"
        )
    if name != GRID:
        return
    if spans:
        raise UserError(
            f"--sampler {GRID} takes lists of values alone; given the ranges {listed(spans)}: search lists, such as "
            f"--search {spans[0]}=A,B,C, or fix them by --set"
        )
    if grid_points(ranges) > MOST_POINTS:
        raise UserError(
            f"a grid must have at most {MOST_POINTS:,} points; it has {grid_points(ranges):,}: search shorter lists"
        )
    if trials > grid_points(ranges):
        raise UserError(
            f"--trials must be at most {grid_points(ranges):,}, the number of points of the grid; given {trials:,}: "
            f"give --trials {grid_points(ranges)}, or longer lists"
        )


def grid_notice(name: str, ranges: Mapping[str, Range], trials: int) -> str:
    """Return a notice if a grid has more points than there are trials; "" otherwise."""
    points = grid_points(ranges)
    if name != GRID or trials >= points:
        return ""
    return f"the grid has {points:,} points, and {trials:,} trials try as many of them: --trials {points} tries all"
