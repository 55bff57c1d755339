"""How many lanes a cohort has."""

from __future__ import annotations


def width_for(trials: int, most: int) -> int:
    """The lanes on which so many trials, at most `most`, are trained: the next power of two, or `most` if that is less.

    It depends on nothing else, so that a sweep that was interrupted goes on as it would have; and it takes few values,
    as another number of lanes may cost a new compilation or capture.
    """
    return min(1 << max(0, trials - 1).bit_length(), most)
