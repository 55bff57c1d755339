"""Training data on the device that trains from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingData:
    """The training split on a device.

    Attributes:
        samples: All real samples (M, ...), uint8 pixels or floats.
        labels: Their class labels, int64 (M,), or their conditions, float32 (M, C); None without both.
    """

    samples: Tensor
    labels: Tensor | None = None

    @property
    def device(self) -> torch.device:
        return self.samples.device
