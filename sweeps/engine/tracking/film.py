"""The film of a trial: one picture that shows the same few samples at up to nine of its reports, in order."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from wgan_core.config import Structure
from wgan_core.data.image_files import open_png
from wgan_core.kinds.canvas import FRAME, GAP, WHITE
from wgan_core.kinds.images import is_image

REPORTS, SAMPLES = 9, 8
# Pixels: smallest width of a sample; largest side of a whole picture; height of a caption; width of a row's label.
_LEAST, _SIDE, _WORDS, _MARGIN = 48, 160, 14, 34
# Largest number of pixels in a row of samples, and the longer side of a row that must be shrunk.
_CELL_PIXELS, _CELL_SIDE = 4_194_304, 4_096


@dataclass(frozen=True)
class Tiles:
    """Layout of a grid of images.

    Attributes:
        height: Height of an image in pixels.
        width: Width of an image in pixels.
        by_class: Whether each row of the grid holds one class.
    """

    height: int
    width: int
    by_class: bool


def tiles(structure: Structure) -> Tiles | None:
    """Return the layout of a sweep's sample pictures, or None if they are no grids of images."""
    shape = structure.sample_shape
    if structure.coding is not None or not is_image(shape):
        return None
    return Tiles(shape[1], shape[2], by_class=structure.classes > 0)


def chosen(steps: Sequence[int]) -> list[int]:
    """Return at most `REPORTS` of the steps, evenly spread, with the first and the last step."""
    count = min(REPORTS, len(steps))
    return [steps[round(place * (len(steps) - 1) / max(1, count - 1))] for place in range(count)]


def film(pictures: Mapping[int, bytes], grid: Tiles | None) -> bytes | None:
    """Return a PNG of a trial's pictures, or None if none of them is an image.

    Args:
        pictures: PNG files of the samples, by critic updates.
        grid: Layout of the pictures. The film then has one row per report, with the same samples in each row. If None,
            the film shows the whole pictures, shrunk, row by row.
    """
    cells: dict[int, Image.Image] = {}
    for step, png in sorted(pictures.items()):
        # Open one picture at a time: each may take 200 MB.
        image = open_png(png)
        cell = None if image is None else _whole(image) if grid is None else _first(image, grid)
        if cell is not None:
            cells[step] = cell
    if not cells:
        return None
    words = [_short(step) for step in cells]
    if grid is None:
        return _png(_sheet([*cells.values()], words, math.ceil(math.sqrt(len(cells)))))
    return _png(_rows([*cells.values()], words))


def _whole(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return small


def _first(image: Image.Image, grid: Tiles) -> Image.Image | None:
    """Return the first samples of a grid side by side: of its first row, or of each row if a row is a class.

    Return None if the picture is smaller than a sample: then it comes from another sweep.
    """
    if image.width < grid.width or image.height < grid.height:
        return None
    down, right = grid.height + GAP, grid.width + GAP
    count = min(SAMPLES, (image.height + GAP) // down if grid.by_class else (image.width + GAP) // right)
    row = Image.new("RGB", (count * right - GAP, grid.height), WHITE)
    for place in range(count):
        left, top = (0, place * down) if grid.by_class else (place * right, 0)
        row.paste(image.crop((left, top, left + grid.width, top + grid.height)), (place * right, 0))
    larger = math.ceil(_LEAST / grid.width)
    while larger > 1 and row.width * row.height * larger**2 > _CELL_PIXELS:
        larger -= 1
    if row.width * row.height > _CELL_PIXELS:
        row.thumbnail((_CELL_SIDE, _CELL_SIDE))
    return row.resize((row.width * larger, row.height * larger), Image.Resampling.NEAREST)


def _rows(cells: Sequence[Image.Image], words: Sequence[str]) -> Image.Image:
    """Stack cells vertically, each with its label to the left."""
    width, height = _MARGIN + max(cell.width for cell in cells), max(cell.height for cell in cells)
    sheet = Image.new("RGB", (width, len(cells) * (height + GAP) - GAP), WHITE)
    drawing = ImageDraw.Draw(sheet)
    for place, (cell, said) in enumerate(zip(cells, words, strict=True)):
        top = place * (height + GAP)
        drawing.text((_MARGIN - 4 - drawing.textlength(said), top + height // 2 - 6), said, fill=FRAME)
        sheet.paste(cell, (_MARGIN, top))
    return sheet


def _sheet(cells: Sequence[Image.Image], words: Sequence[str], across: int) -> Image.Image:
    """Arrange cells in rows of `across` cells, each with its label above."""
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells) + _WORDS
    rows = math.ceil(len(cells) / across)
    sheet = Image.new("RGB", (across * (width + GAP) - GAP, rows * (height + GAP) - GAP), WHITE)
    drawing = ImageDraw.Draw(sheet)
    for place, (cell, said) in enumerate(zip(cells, words, strict=True)):
        left, top = place % across * (width + GAP), place // across * (height + GAP)
        drawing.text((left + 1, top), said, fill=FRAME)
        sheet.paste(cell, (left, top + _WORDS))
    return sheet


def _short(count: int) -> str:
    """Shorten a count: 1111 becomes 1.1k, 900 stays 900."""
    return str(count) if count < 1000 else f"{count / 1000:.3g}k" if count >= 10_000 else f"{count / 1000:.2g}k"


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
