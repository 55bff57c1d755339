"""Images, which are shown in a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wgan_core.data.dataset import to_pixels
from wgan_core.data.folder import write_file
from wgan_core.data.rows import WRITERS
from wgan_core.errors import UserError
from wgan_core.kinds.canvas import GAP, png
from wgan_core.kinds.kind import Kind

FILE = "samples.png"


@dataclass(frozen=True)
class Images(Kind):
    """Grey or colour images (C, H, W) in [-1, 1]."""

    exported = "samples"

    @property
    def in_picture(self) -> int:
        return 64

    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        return grid_png(samples, columns)

    def export_path(self, given: str | None) -> Path:
        path = Path(FILE if given is None else given)
        if path.suffix in WRITERS:
            raise UserError(f"--out must be a PNG file, as these samples are images; given {path}: give --out {FILE}")
        return path

    def export(
        self,
        samples: Tensor,
        path: Path,
        columns: int | None = None,
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        write_file(path, grid_png(samples, columns))


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether samples of this shape are grey or colour images."""
    return len(shape) == 3 and shape[0] in (1, 3)


def grid_png(samples: Tensor, columns: int | None = None) -> bytes:
    """Draw images (N, C, H, W) in [-1, 1], C 1 or 3, row by row as a PNG.

    If `columns` is None, the grid has about as many rows as columns.

    Raises:
        UserError: The samples are not images.
    """
    if not is_image(tuple(samples.shape[1:])):
        raise UserError(f"a picture needs samples of shape (N, 1 or 3, height, width); given {tuple(samples.shape)}")
    count, channels, height, width = samples.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), dtype=np.uint8)
    for index, pixels in enumerate(to_pixels(samples).permute(0, 2, 3, 1).cpu().numpy()):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = pixels
    return png(canvas.squeeze(2) if channels == 1 else canvas)
