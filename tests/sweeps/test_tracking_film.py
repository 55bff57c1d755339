"""A trial's training as one picture, of the pictures that each kind of data has."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sweeps.engine.tracking.film import SAMPLES, Tiles, chosen, film, tiles
from tests.sweeps.made import made_plan, picture
from wgan_core.config import Structure
from wgan_core.data.coding import Coding, Column
from wgan_core.kinds.canvas import GAP

DIGITS = Structure("mlp", (1, 28, 28))
TABLE = Structure("mlp", (3,), coding=Coding(tuple(Column(name, 1.0, 2.0) for name in "abc")))
OTHERS = {"points": Structure("mlp", (2,)), "sequences": Structure("mlp", (2, 30)), "table": TABLE}


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


def pictures(structure: Structure, steps: list[int]) -> dict[int, bytes]:
    plan = made_plan("film", 1, structure)
    return {step: picture(plan, 0, 100.0 / step) for step in steps}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [0]), (2, [0, 1]), (9, list(range(9))), (27, [0, 3, 6, 10, 13, 16, 20, 23, 26])],
)
def test_reports_are_chosen_evenly_with_the_first_and_the_last(count: int, expected: list[int]) -> None:
    assert chosen(range(count)) == expected


def test_a_row_of_a_film_is_the_first_row_of_a_grid() -> None:
    """Twice as large, so that a digit can be made out; the rows in the order of training."""
    kept = pictures(DIGITS, [100, 300, 200])
    shown = pixels(film(kept, tiles(DIGITS)))
    width, height = SAMPLES * (28 + GAP) - GAP, 28
    assert shown.shape[0] == 3 * 2 * height + 2 * GAP
    for row, step in enumerate((100, 200, 300)):
        top = row * (2 * height + GAP)
        drawn = shown[top : top + 2 * height : 2, -2 * width :: 2]
        first = pixels(kept[step])[:height, :width]
        of_sample = np.arange(width) % (28 + GAP) < 28
        assert np.array_equal(drawn[:, of_sample], first[:, of_sample])
    assert not np.array_equal(shown[:56], shown[-56:])


def test_where_a_row_of_a_grid_is_a_class_each_class_is_in_the_film_once() -> None:
    structure = Structure("mlp", (1, 28, 28), classes=10)
    grid = tiles(structure)
    assert grid == Tiles(28, 28, by_class=True)
    kept = pictures(structure, [100])
    shown = pixels(film(kept, grid))[::2, -2 * (SAMPLES * (28 + GAP) - GAP) :: 2]
    down = pixels(kept[100])
    for place in range(SAMPLES):
        at = place * (28 + GAP)
        assert np.array_equal(shown[:, at : at + 28], down[at : at + 28, :28])


@pytest.mark.parametrize("kind", OTHERS)
def test_other_pictures_stand_small_side_by_side(kind: str) -> None:
    """Four of them in two rows."""
    structure = OTHERS[kind]
    assert tiles(structure) is None
    kept = pictures(structure, [100, 200, 300, 400])
    shown = pixels(film(kept, None))
    assert max(shown.shape) <= 2 * (160 + GAP) + 2 * 14
    quarters = [shown[: len(shown) // 2], shown[len(shown) // 2 :]]
    assert all(quarter[:, half].std() > 5 for quarter in quarters for half in (slice(0, 150), slice(165, None)))


def test_what_is_no_image_is_left_out() -> None:
    grid = tiles(DIGITS)
    kept = pictures(DIGITS, [100])
    assert film({**kept, 200: kept[100][:80], 300: b""}, grid) == film(kept, grid)
    assert film({200: b"none"}, grid) is None
