"""Budgets that follow the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wgan_core.config import Structure


@dataclass(frozen=True)
class Passes:
    """A budget as passes over the training rows.

    Attributes:
        count: Number of passes.
        least, most: Bounds of the budget, in critic updates.
        batch_size: The default batch size, at which passes are counted as critic updates.
    """

    count: int
    least: int
    most: int
    batch_size: int = Structure.batch_size

    def updates(self, rows: int) -> int:
        """Return the critic updates for so many training rows."""
        return min(max(math.ceil(self.count * rows / self.batch_size), self.least), self.most)

    @property
    def described(self) -> str:
        return (
            f"{self.count:,} passes over the training rows in batches of {self.batch_size}, at least {self.least:,} "
            f"and at most {self.most:,} critic updates"
        )
