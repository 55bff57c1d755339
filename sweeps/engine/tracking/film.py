"""A trial's training as one picture: the same few samples at up to nine of its reports, in the order of training."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from wgan_core.data.image_files import open_png
from wgan_core.pictures import is_image
from wgan_core.pictures.canvas import FRAME, GAP, WHITE

REPORTS, SAMPLES = 9, 8
# Pixels: the least width of a sample, the side of a whole picture; for words above it, and beside a row.
_LEAST, _SIDE, _WORDS, _MARGIN = 48, 160, 14, 34
# The most that a row of samples has, and its longer side if it is made smaller.
_CELL_PIXELS, _CELL_SIDE = 4_194_304, 4_096


@dataclass(frozen=True)
class Tiles:
    """Of a grid of images: height and width of each in pixels; by_class: a row of the grid is a class."""

    height: int
    width: int
    by_class: bool


def tiles(description: Mapping[str, Any]) -> Tiles | None:
    """How a sweep's pictures are made up, if they are grids of images; `description`: its plan as JSON."""
    structure = description.get("structure")
    if not isinstance(structure, Mapping) or structure.get("coding") is not None:
        return None
    given = structure.get("sample_shape", ())
    shape = tuple(given) if isinstance(given, list | tuple) else ()
    if not all(type(side) is int and side > 0 for side in shape) or not is_image(shape):
        return None
    return Tiles(shape[1], shape[2], bool(structure.get("classes")))


def chosen(steps: Sequence[int]) -> list[int]:
    """At most `REPORTS` of the steps, evenly spread, the first and the last among them."""
    count = min(REPORTS, len(steps))
    return [steps[round(place * (len(steps) - 1) / max(1, count - 1))] for place in range(count)]


def film(pictures: Mapping[int, bytes], grid: Tiles | None) -> bytes | None:
    """A PNG of a trial's pictures, by critic updates; None if not one of them is an image.

    Of grids of images: a row a report, the same samples in each. Of others: the pictures, small, row by row.
    """
    cells: dict[int, Image.Image] = {}
    for step, png in sorted(pictures.items()):
        # One after the other: a whole picture may take 200 MB.
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
    """The first samples of a grid side by side: of its first row, or, where a row is a class, of each row.

    None if the picture has no room for a sample: it is of another sweep.
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
    """Cells under each other, with words to the left of them."""
    width, height = _MARGIN + max(cell.width for cell in cells), max(cell.height for cell in cells)
    sheet = Image.new("RGB", (width, len(cells) * (height + GAP) - GAP), WHITE)
    drawing = ImageDraw.Draw(sheet)
    for place, (cell, said) in enumerate(zip(cells, words, strict=True)):
        top = place * (height + GAP)
        drawing.text((_MARGIN - 4 - drawing.textlength(said), top + height // 2 - 6), said, fill=FRAME)
        sheet.paste(cell, (_MARGIN, top))
    return sheet


def _sheet(cells: Sequence[Image.Image], words: Sequence[str], across: int) -> Image.Image:
    """Cells with words above them, so many in a row."""
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
    """1111 as 1.1k, 900 as 900."""
    return str(count) if count < 1000 else f"{count / 1000:.3g}k" if count >= 10_000 else f"{count / 1000:.2g}k"


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
