"""Colours, sizes and functions that all pictures share."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

GAP = 2
SIDE = 400
MARGIN = 0.08  # on each side of an axis, as a share of the real data's range
WHITE, GREY, FRAME, BLUE = (255, 255, 255), (205, 205, 205), (120, 120, 120), (0, 90, 200)

Pixels = NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    """Encode pixels (H, W) or (H, W, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def spread(values: Tensor, count: int) -> Tensor:
    """Return at most `count` of the values (M, ...), evenly spaced because the values may be sorted."""
    count = min(count, len(values))
    return values[torch.arange(count, device=values.device) * len(values) // count]
