"""Early stopping: asynchronous successive halving (Li et al., MLSys 2020) without a memory of its own.

The rule alone, which needs nothing but the values that all trials reported at the same step: so any process may ask at
any time, a crash loses nothing, and the order in which a cohort reports changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def rungs(grid: Sequence[int], eta: int) -> tuple[int, ...]:
    """The steps of the report grid at which trials are judged: its last one over eta, eta^2, ..., never the last.

    Where the reports are 1 to 9 and eta is 3, the rungs are the reports 1 and 3.
    """
    found = set()
    share = len(grid) / eta
    while share >= 1:
        found.add(grid[math.floor(share) - 1])
        share /= eta
    return tuple(sorted(found))


def survives(value: float, others: Sequence[float], eta: int) -> bool:
    """Whether a value is in the best eta-th of all values at a rung, or the best of fewer; smaller is better."""
    places = max(1, (len(others) + 1) // eta)
    return not math.isnan(value) and sum(other < value for other in others) < places
