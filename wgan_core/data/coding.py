"""How the columns of a table became the numbers that a network sees, and the way back.

A row of a table is a sample (D,): each numeric column has one entry, standardised, and each categorical column as many
as it has values, one-hot. A row of sequences is a sample (C, L): each numeric column, of lists, is a channel.

    N rows
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wgan_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Value = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """One column: numeric if it has no `values`, else categorical, and those are all it can be, in order.

    mean, sd: those of the training split, in the column's own units; sd > 0. whole: its numbers are whole, and are
    rounded on the way back.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    whole: bool = False
    values: tuple[Value, ...] = ()

    @property
    def width(self) -> int:
        """Entries of a sample."""
        return max(1, len(self.values))


@dataclass(frozen=True)
class Coding:
    """The columns of a sample, in order.

    label: the column that tells classes apart, or ""; it is one of `columns`, unless the rows are all of the class
    `positive`, which then is its value.
    """

    columns: tuple[Column, ...]
    label: str = ""
    positive: Value | None = None

    @property
    def width(self) -> int:
        """D of a table."""
        return sum(column.width for column in self.columns)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raises `UserError` unless samples of this shape can be so coded."""
        sequences = len(sample_shape) == 2 and len(self.columns) == sample_shape[0] and not self.blocks
        if not sequences and sample_shape != (self.width,):
            raise UserError(
                f"a coding of {len(self.columns)} columns is of samples of shape ({self.width},), or of sequences with "
                f"as many channels; given the sample_shape {sample_shape}: take that of the data set"
            )

    @property
    def blocks(self) -> list[slice]:
        """Where the entries of each categorical column are."""
        return [where for column, where in self._placed() if column.values]

    def as_stored(self, samples: Tensor) -> Tensor:
        """Samples (N, ...) as rows written out and read again give them: one-hot entries, whole numbers."""
        from torch.nn.functional import one_hot

        stored = samples.clone()
        for column, where in self._placed():
            part = stored[:, where]
            if column.values:
                part.copy_(one_hot(part.argmax(1), len(column.values)))
            elif column.whole:
                # Not in float32: beside a large mean it has no room for the units.
                whole = part.double().mul_(column.sd).add_(column.mean).round_()
                part.copy_(whole.sub_(column.mean).div_(column.sd))
        return stored

    def decode(self, samples: Tensor) -> dict[str, list[Any]]:
        """The columns by name, in their own units, of samples (N, ...): N values each, or N lists of L numbers."""
        samples = samples.detach().cpu().double()
        found: dict[str, list[Any]] = {}
        for column, where in self._placed():
            part = samples[:, where]
            if column.values:
                found[column.name] = [column.values[index] for index in part.argmax(1).tolist()]
                continue
            numbers = (part * column.sd + column.mean).squeeze(1)
            found[column.name] = numbers.round().long().tolist() if column.whole else numbers.tolist()
        if self.positive is not None:
            found[self.label] = [self.positive] * len(samples)
        return found

    def _placed(self) -> Iterator[tuple[Column, slice]]:
        start = 0
        for column in self.columns:
            yield column, slice(start, start + column.width)
            start += column.width

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Coding:
        columns = tuple(
            Column(
                name=str(column["name"]),
                mean=float(column["mean"]),
                sd=float(column["sd"]),
                whole=bool(column["whole"]),
                values=tuple(column["values"]),
            )
            for column in values["columns"]
        )
        return cls(columns, str(values["label"]), values["positive"])
