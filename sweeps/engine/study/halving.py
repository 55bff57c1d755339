"""Stateless rule of asynchronous successive halving (Li et al., MLSys 2020), used for early stopping.

The rule needs only the values that trials have reported at the same step so far. So any process may apply it at any
time, and a crash loses nothing. The order in which a cohort reports does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def rungs(grid: Sequence[int], eta: int) -> tuple[int, ...]:
    """Return the steps of the report grid at which trials are judged, ascending.

    Of n reports, these are the reports n / eta, n / eta^2, ..., rounded down, and never the last. Example: with 9
    reports and eta 3, trials are judged at the reports 1 and 3.
    """
    found = set()
    share = len(grid) / eta
    while share >= 1:
        found.add(grid[math.floor(share) - 1])
        share /= eta
    return tuple(sorted(found))


def survives(value: float, others: Sequence[float], eta: int) -> bool:
    """Return whether a value is in the best 1 / eta of all values at a rung, or the best of fewer than eta.

    Smaller is better. NaN never survives.
    """
    places = max(1, (len(others) + 1) // eta)
    return not math.isnan(value) and sum(other < value for other in others) < places
