"""Whether standardised numbers in float32 still are the numbers that they were made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.coding import Column
from wgan_core.errors import UserError, quoted

# From here on a float64 has no room for every whole number.
MOST_WHOLE = 2.0**53


def check_kept(numbers: NDArray[np.float64], entries: NDArray[np.float32], column: Column, remedy: str) -> None:
    """Raises `UserError` unless the entries are finite, and whole numbers come back from them as they were.

    numbers: in the column's own units, of any shape. entries: what samples hold of them, of the same shape. remedy: how
    the column is left out.
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
