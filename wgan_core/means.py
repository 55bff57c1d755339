"""Running means of what an update reports, per lane, without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

# Of one lane: by quantity, the sum and the number of updates in it.
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

    def record(self, quantities: dict[str, Tensor], lanes: slice | list[int]) -> None:
        """Add one update's quantities, each (K,), of these lanes."""
        for name, values in quantities.items():
            self._make(name)
            self._sums[name][lanes] += values[lanes]
            self._counts[name][lanes] += 1

    def so_far(self, lane: int) -> Sums:
        """Sum and count of each quantity of a lane since they were last taken. Waits for the device."""
        return {name: (float(self._sums[name][lane]), int(counts[lane])) for name, counts in self._counts.items()}

    def put(self, lane: int, so_far: Mapping[str, tuple[float, int]]) -> None:
        """Go on from what `so_far` gave, in place of what the lane has."""
        self.clear(lane)
        for name, (total, count) in so_far.items():
            self._make(name)
            self._sums[name][lane], self._counts[name][lane] = total, count

    def take(self, lane: int) -> dict[str, float]:
        """The means of a lane since they were last taken. Waits for the device."""
        means = {}
        for name, counts in self._counts.items():
            if counts[lane] > 0:
                means[name] = float(self._sums[name][lane]) / int(counts[lane])
        self.clear(lane)
        return means

    def _make(self, name: str) -> None:
        if name not in self._sums:
            self._sums[name] = torch.zeros(self._lanes, dtype=torch.float64, device=self._device)
            self._counts[name] = torch.zeros(self._lanes, dtype=torch.int64)
