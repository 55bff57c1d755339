"""Rows of tables, which are shown as a histogram of each column: real values grey, generated ones outlined in blue.

Below are the correlations of pairs of columns: real, generated, and their difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from wgan_core.data.coding import Coding, Column
from wgan_core.kinds.canvas import BLUE, FRAME, GREY, WHITE, Pixels, png, to_draw
from wgan_core.kinds.kind import Kind

SHOWN, ACROSS = 48, 4
# In pixels: width and height of a panel, height of the words above and below it, and space between panels.
WIDTH, HEIGHT, WORDS, SPACE = 200, 80, 15, 14
BINS = 25
LETTERS = 200  # of a name, before it is cut to the width of a panel
SIDE = 270  # of a matrix of correlations, in pixels
ROOM = 1.4  # height of a panel, divided by the height of its highest real bar

RED = (200, 40, 30)

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Table(Kind):
    """Rows (D,) of a table."""

    coding: Coding

    @property
    def in_picture(self) -> int:
        return 2_000

    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        return png(spreads(samples, to_draw(real), self.coding))


def spreads(samples: Tensor, real: Tensor, coding: Coding) -> Pixels:
    """Draw the first 48 columns of generated rows (N, D) and real rows (M, D) as pixels (H, W, 3).

    Each column has a histogram, in which a bar is the share of rows in a bin or with a category. The axes span the real
    rows. A generated value outside counts in the bin at the edge. Generated rows with a value that is not finite are
    left out. Rank correlations are of pairs of columns that hold numbers or two categories.
    """
    columns = coding.columns[:SHOWN]
    drawn = Coding(columns)
    axes = sum(column.width for column in columns)
    known, made = (
        drawn.decode(side[:, :axes], as_read=True) for side in (real, samples[samples.isfinite().all(dim=1)])
    )
    down = math.ceil(len(columns) / ACROSS)
    cell = HEIGHT + 2 * WORDS + SPACE
    ordered = [column for column in columns if not column.values or _has_order(column)]
    end = WORDS + SPACE + down * cell
    size = (ACROSS * (WIDTH + SPACE) + SPACE, end + (WORDS + SIDE + SPACE if len(ordered) > 1 else 0))
    picture = Image.new("RGB", size, WHITE)
    drawing = ImageDraw.Draw(picture)
    drawing.text((SPACE, 6), f"{len(columns)} of {len(coding.columns)} columns:  generated", fill=BLUE)
    drawing.text((SPACE + 190, 6), "real", fill=FRAME)
    for index, column in enumerate(columns):
        left, top = SPACE + index % ACROSS * (WIDTH + SPACE), WORDS + SPACE + index // ACROSS * cell
        low, high, bars = _shares(column, known[column.name], made[column.name])
        drawing.text((left, top), _fitting(drawing, column.name, WIDTH), fill=FRAME)
        _panel(drawing, left, top + WORDS, *bars)
        drawing.text((left, top + WORDS + HEIGHT + 1), _fitting(drawing, low, WIDTH // 2), fill=FRAME)
        last = _fitting(drawing, high, WIDTH // 2)
        drawing.text((left + WIDTH - drawing.textlength(last), top + WORDS + HEIGHT + 1), last, fill=FRAME)
    if len(ordered) > 1:
        real_pairs, made_pairs = (_correlations(ordered, side) for side in (known, made))
        apart = np.abs(made_pairs - real_pairs)[~np.eye(len(ordered), dtype=bool)].mean()
        panels = {
            f"rank correlations of {len(ordered)} columns: real": real_pairs,
            "generated": made_pairs,
            f"generated - real, {apart:.2f} on average": made_pairs - real_pairs,
        }
        for index, (title, matrix) in enumerate(panels.items()):
            left = SPACE + index * (SIDE + SPACE)
            drawing.text((left, end), title, fill=FRAME)
            shades = Image.fromarray(_shades(matrix)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            picture.paste(shades, (left, end + WORDS))
    return np.asarray(picture)


def _has_order(column: Column) -> bool:
    """Return whether categories are numbers, or two."""
    there = [value for value in column.values if value is not None]
    return len(there) == 2 or (len(there) > 2 and not isinstance(there[0], str))


def _correlations(columns: Sequence[Column], decoded: Mapping[str, Sequence[Any]]) -> Numbers:
    """Return the rank correlations (C, C) of columns. A missing value has the mean rank.

    The correlations of a column of one value are 0.
    """
    ranks = np.stack([_ranks(column, decoded[column.name]) for column in columns])
    spread = np.sqrt((ranks**2).sum(axis=1))
    scaled = ranks / np.where(spread > 0, spread, 1)[:, None]
    return scaled @ scaled.T


def _ranks(column: Column, values: Sequence[Any]) -> Numbers:
    """Return the ranks (N,) of a column's values around their mean. Equal values share their mean rank."""
    places = {value: place for place, value in enumerate(column.values)}
    numbers = np.array([math.nan if value is None else places.get(value, value) for value in values], np.float64)
    there = np.isfinite(numbers)
    ranks = np.zeros(len(numbers))
    _, which, counts = np.unique(numbers[there], return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    ranks[there] = mean_rank[which] - (there.sum() - 1) / 2
    return ranks


def _shades(matrix: Numbers) -> Pixels:
    """Return correlations (C, C) as colours (C, C, 3): -1 or less is red, 0 white, and 1 or more blue."""
    strength = np.clip(np.abs(matrix), 0, 1)[..., None]
    ends = np.where(matrix[..., None] < 0, np.array(RED), np.array(BLUE))
    return np.rint(np.array(WHITE) * (1 - strength) + ends * strength).astype(np.uint8)


def _shares(column: Column, real: Sequence[Any], made: Sequence[Any]) -> tuple[str, str, tuple[Numbers, Numbers]]:
    """Return the texts at both ends of a column's axis, and the real and the generated shares of its bins.

    Missing numbers are left out.
    """
    if column.values:
        edges = np.arange(len(column.values) + 1) - 0.5
        places = {value: place for place, value in enumerate(column.values)}
        real, made = ([places[value] for value in side] for side in (real, made))
        low, high = (_text(column, column.values[place]) for place in (0, -1))
    else:
        real, made = ([value for value in side if value is not None] for side in (real, made))
        least, most = (float(min(real)), float(max(real))) if real else (0.0, 1.0)
        low, high = _text(column, least), _text(column, most)
        half = 0.5 if column.whole or least == most else 0.0
        bins = min(BINS, round(most - least) + 1) if column.whole else BINS
        edges = np.linspace(least - half, most + half, bins + 1)
    counts = (np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] for side in (real, made))
    known, found = (count / max(1, count.sum()) for count in counts)
    return low, high, (known, found)


def _text(column: Column, value: Any) -> str:
    """Return a value of a column as the axis shows it."""
    if value is None:
        return "missing"
    if column.form.kind:
        return str(column.form.write([value], column.places or 0)[0])
    return str(value) if column.values else f"{value:.4g}"


def _panel(drawing: ImageDraw.ImageDraw, left: int, top: int, real: Numbers, made: Numbers) -> None:
    """Draw real shares (B,) as bars and generated shares (B,) as an outline. The real shares set the scale."""
    edges = np.rint(left + WIDTH * np.arange(len(real) + 1) / len(real)).astype(int)
    bottom = top + HEIGHT
    ends = [np.rint(bottom - HEIGHT * np.clip(side / (ROOM * real.max()), 0, 1)).astype(int) for side in (real, made)]
    for at, height in enumerate(ends[0]):
        if height < bottom:
            # With more categories than pixels, a bar may have no width of its own.
            right = max(int(edges[at]), int(edges[at + 1]) - 1)
            drawing.rectangle((int(edges[at]), int(height), right, bottom), fill=GREY)
    outline = [(int(edges[0]), bottom)]
    for at, height in enumerate(ends[1]):
        outline += [(int(edges[at]), int(height)), (int(edges[at + 1]), int(height))]
    drawing.line([*outline, (int(edges[-1]), bottom)], fill=BLUE, width=2)
    drawing.line((left, bottom, left + WIDTH, bottom), fill=FRAME)


def _fitting(drawing: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Return the text in one line and in ASCII, which any font has, cut to a width in pixels."""
    text = " ".join(text[:LETTERS].split()).encode("ascii", "replace").decode()
    while drawing.textlength(text) > width:
        text = f"{text.removesuffix('...')[:-1]}..."
    return text
