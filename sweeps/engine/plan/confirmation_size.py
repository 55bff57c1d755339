"""Size of a confirmation: the number of leaders, and the number of seeds for each leader."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from wgan_core.errors import UserError

SEEDS = (2, len(string.ascii_lowercase))
"""Fewest and most seeds per leader. An interval needs two scores. The trials' labels end with one letter, a to z."""

DIGITS = 18
"""Most digits of a whole number that a user may give. Python itself refuses to read thousands."""


@dataclass(frozen=True)
class ConfirmationSize:
    """Number of leaders to train again, and of seeds for each leader. Raise `UserError` if one is out of range."""

    leaders: int
    seeds: int

    def __post_init__(self) -> None:
        least, most = SEEDS
        if self.leaders < 1 or not least <= self.seeds <= most:
            raise UserError(
                f"--confirm must be leaders x seeds, of 1 leader or more and {least} to {most} seeds each; "
                f"given {self}: give --confirm 3x3, for example"
            )

    @classmethod
    def read(cls, text: str) -> ConfirmationSize:
        """Parse leaders x seeds, such as `3x3`. Raise `UserError` for any other form."""
        found = re.fullmatch(rf"(\d{{1,{DIGITS}}})x(\d{{1,{DIGITS}}})", text.strip())
        if found is None:
            raise UserError(
                f"--confirm must be two whole numbers, leaders x seeds; given {text!r}: give --confirm 3x3, for example"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.leaders}x{self.seeds}"
