"""Limits on the memory that data files may take.

Data files come from strangers, and a small file can expand to a large amount of data. Zeros compress 30,000 times, and
a Parquet file repeats one value for any number of rows in a few bytes. So images, tables and sequences share two
limits. While a data set is read, it may take

- at most 1 GiB plus 1,000 times the bytes of its files. Honest data stays far below. Black images compress about
  1,000 times, and columns of text or numbers less than 100 times. Constant columns are refused anyway.
- at most half of the memory that is available when reading starts. The trials need the rest.

Each loader computes the size of an array, or an upper bound, and takes it from a `Memory` before it allocates. The size
of a Parquet file's columns is not known before they are read. So another process reads them (`parquet_file`). The
table may take a quarter of the first limit, and two thirds of the second. The rest is for what is made of the columns.
The process that reads may take three times as much as the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from wgan_core.errors import UserError, shortened

FREE_BYTES, GROWTH = 1 << 30, 1_000
SHARE_OF_AVAILABLE = 0.5
# The columns of a Parquet file may take one part in so many.
TABLE_PART = 4

IMAGE_PIXELS = 2048 * 2048
"""Most pixels of one image of a data set. GANs of larger images do not fit into the lanes of one node."""

IMAGE_BYTES = 4096
"""Least bytes to take for an image. Decoding takes time too, and a dictionary can repeat a 1x1 image at no cost."""

COLUMNS = 65_536
"""Most columns of a file, and most entries of a table row. Gene expression data has about 60,000."""

CATEGORIES = 4_096
"""Most values of a categorical column, and most classes of a label. Each value is a network input."""


class Memory:
    """Memory account of one data set while it is read."""

    def __init__(self, files: Sequence[Path], given: Path | str) -> None:
        """Open the account.

        Args:
            files: The files of the data set.
            given: Their common path, for error messages.
        """
        self._given, self._taken = shortened(str(given)), 0
        self._on_disk = sum(file.stat().st_size for file in files)
        self._most = FREE_BYTES + GROWTH * self._on_disk
        self._share = int(SHARE_OF_AVAILABLE * psutil.virtual_memory().available)

    def take(self, count: int, what: str, remedy: str = "") -> None:
        """Take bytes from the account.

        Args:
            count: The number of bytes, or an upper bound.
            what: The data that needs them, for the error message.
            remedy: Advice for the error message; "" for the default advice.

        Raises:
            UserError: The data set exceeds a limit.
        """
        self._taken += count
        if self._taken > min(self._most, self._share):
            is_share = self._taken <= self._most
            raise self._refusal(is_share, f"takes up to {size_text(self._taken)} with {what}", remedy)

    def for_table(self) -> int:
        """Return the most bytes that the columns of a Parquet file may take. Reading may take three times as much."""
        return max(0, min(self._most // TABLE_PART, 2 * self._share // 3) - self._taken)

    def exceeded(self, most: int, what: str) -> UserError:
        """Return the error for columns that take more than `most` bytes, the result of `for_table`."""
        is_share = 2 * self._share // 3 < self._most // TABLE_PART
        return self._refusal(is_share, f"takes more than {size_text(most)} with {what} alone")

    def _refusal(self, is_share: bool, taken: str, remedy: str = "") -> UserError:
        if is_share:
            return UserError(
                f"data must fit into half of the memory that is available, {size_text(self._share)}; {self._given} "
                f"{taken}: {remedy or 'take fewer rows, or a node with more memory'}"
            )
        return UserError(
            f"data must take at most {size_text(FREE_BYTES)} and {GROWTH:,} times the bytes of its files in memory; "
            f"{self._given} has {self._on_disk:,} bytes and {taken}: "
            f"{remedy or 'take another file, as this one is damaged or made to fill the memory'}"
        )

    def give(self, count: int) -> None:
        """Give freed bytes back."""
        self._taken -= count


def size_text(count: int) -> str:
    """Format a number of bytes in GiB, MiB or bytes."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if count >= size:
            return f"{count / size:,.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count:,} bytes"
