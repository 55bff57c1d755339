"""Colours, sizes and functions that the pictures of all kinds share."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wgan_core.data.dataset import to_model

GAP = 2
SIDE = 400
MARGIN = 0.08  # on each side of an axis, as a share of the real data's range
WHITE, GREY, FRAME, BLUE = (255, 255, 255), (205, 205, 205), (120, 120, 120), (0, 90, 200)

REAL_ROWS = 4_000
"""Most real samples that set the axes of a plot."""

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


def to_draw(real: Tensor, count: int = REAL_ROWS) -> Tensor:
    """Return at most `count` of the stored real samples (M, ...) as a network sees them, on the CPU."""
    return to_model(spread(real, count).cpu(), torch.float32)
