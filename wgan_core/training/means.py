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
        self._device = device
        self._lanes = lanes
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def clear(self, lane: int) -> None:
        for name, counts in self._counts.items():
            self._sums[name][lane], counts[lane] = 0.0, 0

    def record(self, quantities: Mapping[str, Tensor], due: Tensor | None = None) -> None:
        """Add one update's quantities, each (K,), for the lanes in `due`, (K,) bool. None means all lanes."""
        for name, values in quantities.items():
            self._make(name)
            # Select instead of multiplying by `due`: a lane that is not due may hold NaN or infinity.
            self._sums[name].add_(values if due is None else torch.where(due, values, 0))
            self._counts[name].add_(1 if due is None else due)

    def so_far(self, lane: int) -> Sums:
        """Return the sum and count of each quantity of a lane since `take` last took them. Waits for the device."""
        return {name: (float(self._sums[name][lane]), int(counts[lane])) for name, counts in self._counts.items()}

    def put(self, lane: int, so_far: Mapping[str, tuple[float, int]]) -> None:
        """Replace a lane's sums by sums from `so_far`."""
        self.clear(lane)
        for name, (total, count) in so_far.items():
            self._make(name)
            self._sums[name][lane], self._counts[name][lane] = total, count

    def take(self, lanes: Sequence[int]) -> list[dict[str, float]]:
        """Return the means of each lane since the last `take`, and clear their sums. Waits for the device once."""
        names = list(self._sums)
        found = [dict[str, float]() for _ in lanes]
        if names:
            sums = torch.stack([self._sums[name] for name in names] + [self._counts[name] for name in names]).tolist()
            for means, lane in zip(found, lanes, strict=True):
                for name, total, count in zip(names, sums, sums[len(names) :], strict=False):
                    if count[lane] > 0:
                        means[name] = total[lane] / count[lane]
        for lane in lanes:
            self.clear(lane)
        return found

    def _make(self, name: str) -> None:
        if name not in self._sums:
            # Counts are float64 too, which is exact for them, so that one transfer reads sums and counts.
            self._sums[name], self._counts[name] = (
                torch.zeros(self._lanes, dtype=torch.float64, device=self._device) for _ in range(2)
            )
