"""Precision check of standardised numbers in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.coding import Column
from wgan_core.errors import UserError, quoted

# From 2^53 on, float64 does not distinguish all whole numbers.
MOST_WHOLE = 2.0**53


def check_kept(numbers: NDArray[np.float64], entries: NDArray[np.float32], column: Column, remedy: str) -> None:
    """Raise `UserError` unless the entries are finite and whole numbers can be recovered from them exactly.

    Args:
        numbers: Numbers in the column's own units, of any shape.
        entries: The standardised numbers, of the same shape.
        column: The column of the numbers.
        remedy: Advice on leaving out the column, for the error message.
    """
    finite = np.isfinite(entries)
    if not finite.all():
        raise UserError(
            f"a value must be within float32 once it is standardised; of {quoted(column.name)}, "
            f"{numbers[~finite][0]:g} is not, beside a spread of {column.sd:g}: drop its row, or {remedy}"
        )
    if not column.whole:
        return
    lost = np.rint(entries.astype(np.float64) * column.sd + column.mean) != numbers
    lost |= np.abs(numbers) >= MOST_WHOLE
    if lost.any():
        raise UserError(
            "whole numbers must be below 2^53, and so few apart that float32 keeps them, about 2^23 from their mean; "
            f"of {quoted(column.name)}, {numbers[lost][0]:.0f} is not, beside a mean of {column.mean:g}: write it as "
            f"floating-point numbers or in a larger unit, or {remedy}"
        )
