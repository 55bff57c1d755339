"""The base class of all kinds of data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.data.rows import check_rows_file, rows_of, write_rows
from wgan_core.errors import UserError

ROWS_FILE = "rows.parquet"
# Bytes of one entry of a sample while rows are made of samples: double precision, and Python numbers in lists.
ENTRY_BYTES = 72


@dataclass(frozen=True)
class Kind(ABC):
    """A kind of data. Its subclasses own all that depends on the kind; `wgan_core.kinds.kind_of` chooses one.

    Samples with a coding are numbers without bounds, and are exported as rows. Others are in [-1, 1].

    Attributes:
        sample_shape: Shape of one sample.
        coding: The columns that a sample's entries code; None for data without columns.
        exported: What `export` writes, as a noun for messages.
    """

    sample_shape: tuple[int, ...]
    coding: Coding | None
    exported: ClassVar[str] = "rows"

    @property
    @abstractmethod
    def in_picture(self) -> int:
        """Number of generated samples that fill a picture."""

    @abstractmethod
    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        """Draw generated samples as a PNG. Its axes depend on the real samples only.

        Args:
            samples: Generated samples (N, ...), as the generator returns them.
            real: Real samples (M, ...), as the data set stores them.
            columns: Images or sequences beside each other; None chooses.
        """

    @property
    def output(self) -> str:
        """Name of the usual last activation of a generator, in `wgan_core.networks.layers.OUTPUTS`."""
        return "tanh" if self.coding is None else "linear"

    def row_bytes(self, size: int) -> int:
        """Return the bytes that exporting takes for each sample, whose entries have `size` bytes themselves."""
        entries = math.prod(self.sample_shape)
        if self.coding is None:
            return 4 * size * entries  # A picture takes four times as much as its samples.
        longest = (max((len(str(value)) for value in each.values), default=0) for each in self.coding.columns)
        return ENTRY_BYTES * entries + 2 * sum(longest)

    def export_path(self, given: str | None) -> Path:
        """Return the file to export samples to: the given one, or the default one in the current folder.

        Raises:
            UserError: Samples of this kind cannot be exported, or not to a file of this suffix.
        """
        if self.coding is None:
            raise UserError(
                "sweeps sample draws images, and writes rows of tables; these samples have the shape "
                f"{self.sample_shape}: take `sweeps export` and its program, or look at the pictures in MLflow"
            )
        path = Path(ROWS_FILE if given is None else given)
        check_rows_file(path)
        return path

    def export(
        self,
        samples: Tensor,
        path: Path,
        columns: int | None = None,
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Write samples (N, ...) to a file that `export_path` returned.

        Args:
            samples: The samples.
            path: The file.
            columns: Images beside each other in a picture; None chooses.
            given: Further columns of rows, N values each, such as the conditions that the samples were generated for. A
                picture does not show them.

        Raises:
            UserError: A sample is not finite, the file format cannot hold the samples, or the file cannot be written.
        """
        assert self.coding is not None
        write_rows(rows_of(samples, self.coding, given), path)
