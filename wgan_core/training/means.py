"""Running means of each lane's training metrics, computed without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# One lane's sums: by quantity, the sum and the number of updates in it.
Sums: TypeAlias = dict[str, tuple[float, int]]


class Means:
    """Running means per lane and quantity, kept on the device until a report takes them."""

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._lanes, self._device = lanes, device
        # By quantity: sums and counts, (2, K). Counts are float64 too, which is exact for them, so that one transfer
        # reads both.
        self._totals: dict[str, Tensor] = {}

    def clear(self, lane: int) -> None:
        for totals in self._totals.values():
            totals[:, lane] = 0

    def record(self, quantities: Mapping[str, Tensor], due: Tensor | None = None) -> None:
        """Add one update's quantities, each (K,), for the lanes in `due`, (K,) bool. None means all lanes."""
        for name, values in quantities.items():
            sums, counts = self._of(name)
            # Select instead of multiplying by `due`: a lane that is not due may hold NaN or infinity.
            sums.add_(values if due is None else torch.where(due, values, 0))
            counts.add_(1 if due is None else due)

    def so_far(self, lane: int) -> Sums:
        """Return the sum and count of each quantity of a lane since `take` last took them. Waits for the device."""
        return {name: (float(totals[0, lane]), int(totals[1, lane])) for name, totals in self._totals.items()}

    def put(self, lane: int, so_far: Mapping[str, tuple[float, int]]) -> None:
        """Replace a lane's sums by sums from `so_far`."""
        self.clear(lane)
        for name, (total, count) in so_far.items():
            totals = self._of(name)
            totals[0, lane], totals[1, lane] = total, count

    def take(self, lanes: Sequence[int]) -> list[dict[str, float]]:
        """Return the means of each lane since the last `take`, and clear their sums. Waits for the device once."""
        found = [dict[str, float]() for _ in lanes]
        totals = torch.stack(list(self._totals.values())).tolist() if self._totals else []
        for name, (sums, counts) in zip(self._totals, totals, strict=True):
            for means, lane in zip(found, lanes, strict=True):
                if counts[lane] > 0:
                    means[name] = sums[lane] / counts[lane]
        for lane in lanes:
            self.clear(lane)
        return found

    def _of(self, name: str) -> Tensor:
        if name not in self._totals:
            self._totals[name] = torch.zeros(2, self._lanes, dtype=torch.float64, device=self._device)
        return self._totals[name]
