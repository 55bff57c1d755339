"""Pictures show what there is: images in a grid, points and sequences on real axes, other rows in grey."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wgan_core.data.coding import Coding, Column
from wgan_core.data.toy import load_toy
from wgan_core.errors import UserError
from wgan_core.kinds import kind_of
from wgan_core.kinds.canvas import BLUE, GREY, SIDE
from wgan_core.kinds.images import grid_png


@pytest.fixture(scope="module")
def real() -> Tensor:
    return torch.from_numpy(load_toy("8gaussians").train.values)


def picture_of(samples: Tensor, real: Tensor, columns: int | None = None, coding: Coding | None = None) -> bytes:
    return kind_of(tuple(real.shape[1:]), coding).picture(samples, real, columns)


def pixels(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)))


def is_colour(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (picture == colour).all(axis=2)
    return found


@pytest.mark.parametrize("shape", [(9, 1, 5, 4), (5, 3, 4, 4)])
def test_images_stand_in_the_grid_whatever_the_data(shape: tuple[int, ...]) -> None:
    samples = torch.rand(shape) * 2 - 1
    assert picture_of(samples, torch.zeros(3, *shape[1:], dtype=torch.uint8)) == grid_png(samples)
    assert picture_of(samples, samples, columns=2) == grid_png(samples, 2)
    assert kind_of(shape[1:]).in_picture == 64


def test_points_lie_over_the_real_ones_on_axes_that_the_samples_do_not_move(real: Tensor) -> None:
    """One sample at the first centre, to the right of the middle: 8 grey spots become 7 and one with blue in it."""
    at_first = torch.tensor([[2 / 1.414, 0.0]])
    picture = pixels(picture_of(at_first, real))
    assert picture.shape == (SIDE, SIDE, 3)
    rows, columns = np.nonzero(is_colour(picture, BLUE))
    assert len(rows) == 4
    assert abs(rows.mean() - SIDE / 2) < 4
    assert 0.9 * SIDE < columns.mean() < SIDE - 20
    shifted = pixels(picture_of(at_first - 0.4, real))
    grey = is_colour(picture, GREY) & is_colour(shifted, GREY)
    assert grey.sum() > 0.99 * is_colour(shifted, GREY).sum()


def test_the_second_axis_points_up(real: Tensor) -> None:
    rows, columns = np.nonzero(is_colour(pixels(picture_of(torch.tensor([[0.0, 1.0]]), real)), BLUE))
    assert rows.mean() < SIDE / 4
    assert abs(columns.mean() - SIDE / 2) < 4


def test_points_outside_are_on_the_edge_and_those_not_finite_are_left_out(real: Tensor) -> None:
    outside = torch.tensor([[50.0, 0.0], [torch.nan, 0.0], [0.0, torch.inf]])
    rows, columns = np.nonzero(is_colour(pixels(picture_of(outside, real)), BLUE))
    assert columns.min() >= SIDE - 3
    assert abs(rows.mean() - SIDE / 2) < 4
    assert not is_colour(pixels(picture_of(outside[1:], real)), BLUE).any()


def test_data_that_is_one_point_has_a_picture() -> None:
    assert is_colour(pixels(picture_of(torch.ones(3, 2), torch.ones(7, 2))), BLUE).sum() == 4


@pytest.mark.parametrize("shape", [(1,), (3,), (258,), (2, 5, 5), (4, 4, 4, 4)])
def test_anything_else_is_rows_of_grey_beside_real_rows(shape: tuple[int, ...]) -> None:
    """The extremes of each column of the real data are black and white; what is not finite stands for 0."""
    values = torch.rand(500, *shape)
    samples = values[torch.arange(64) * 500 // 64]  # the very rows that are shown of the real data
    picture = pixels(picture_of(samples, values))
    half = picture.shape[1] // 2
    assert picture.ndim == 2
    assert picture.shape[0] == 64 * (SIDE // 64)
    assert {int(picture[:, :half].min()), int(picture[:, :half].max())} == {0, 255}
    samples[0] = torch.nan
    assert pixels(picture_of(samples, values)).shape == picture.shape


def halves(picture: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the left half is blue and where the right half is grey, to one level of antialiasing."""
    middle = picture.shape[1] // 2
    drawn = picture.astype(int)
    blue, dark = drawn[:, :middle], drawn[:, middle:]
    return (blue[..., 2] - blue[..., 0] > 100), (dark.max(axis=2) < 140)


def test_sequences_are_lines_beside_as_many_real_ones() -> None:
    """The very same sequences on both sides: the same strokes, in blue and in grey."""
    values = torch.randn(24, 1, 64, generator=torch.Generator().manual_seed(1)).cumsum(2)
    assert kind_of((1, 64)).in_picture == 24
    picture = pixels(picture_of(values, values))
    left, right = halves(picture)
    left, right = left[80:], right[80:]  # below the row of the words
    found = [np.nonzero(side.any(axis=1))[0] for side in (left, right)]
    assert abs(found[0].min() - found[1].min()) <= 1
    assert abs(found[0].max() - found[1].max()) <= 1
    offset = np.nonzero(right.any(axis=0))[0].min() - np.nonzero(left.any(axis=0))[0].min()
    moved = np.roll(right, -offset, axis=1)
    assert (moved & left).sum() > 0.8 * min(moved.sum(), left.sum())


def test_the_axis_of_a_channel_is_that_of_the_real_ones() -> None:
    """A sequence on the real range's middle is in its track's middle, however far others are; those are on the edge."""
    real = torch.stack([torch.linspace(-1, 1, 10).expand(50, 10), torch.linspace(100, 300, 10).expand(50, 10)], dim=1)
    flat = torch.stack([torch.zeros(10), torch.full((10,), 200.0)])
    samples = torch.stack([flat, flat + 1e6, flat - 1e6])
    left, _ = halves(pixels(picture_of(samples, real, columns=3)))
    top = int(np.nonzero(pixels(picture_of(samples, real, columns=3))[:, 60, 0] == 225)[0].min())
    rows = [np.nonzero(left[top + 1 :, at : at + 60].any(axis=1))[0] for at in (60, 180, 310)]
    middles, high, low = rows
    assert np.allclose([middles.min(), middles.max()], [15, 47], atol=2)
    assert np.allclose([high.min(), high.max()], [1, 33], atol=2)
    assert np.allclose([low.min(), low.max()], [29, 61], atol=2)


def test_steps_that_are_not_finite_are_left_out_and_the_others_are_drawn() -> None:
    real = torch.linspace(-1, 1, 40).expand(50, 1, 40)
    broken = torch.zeros(1, 1, 40)
    broken[0, 0, 10:30] = torch.nan
    broken[0, 0, 35] = torch.inf
    whole, _ = halves(pixels(picture_of(torch.zeros(1, 1, 40), real)))
    part, _ = halves(pixels(picture_of(broken, real)))
    drawn, kept = (side[25:, 40:].any(axis=0).sum() for side in (whole, part))
    assert 0.2 * drawn < kept < 0.6 * drawn
    assert not halves(pixels(picture_of(torch.full((4, 1, 40), torch.nan), real)))[0][25:].any()


@pytest.mark.parametrize("shape", [(1, 4), (4, 100), (12, 30), (40, 7)], ids=str)
def test_any_sequences_have_a_picture_of_whole_rows(shape: tuple[int, int]) -> None:
    count = kind_of(shape).in_picture
    assert count % 4 == 0
    values = torch.rand(count, *shape)
    picture = pixels(picture_of(values, values[:1]))
    assert picture.shape[1] == 1060
    assert picture.shape[0] >= 20 + 30 * min(shape[0], 16)
    one = pixels(picture_of(torch.ones(2, *shape), torch.ones(3, *shape)))  # a real range of no width
    assert halves(one)[0].any()


def test_sequences_of_very_many_channels_have_a_small_picture() -> None:
    values = torch.rand(4, 60_000, 4)
    assert kind_of((60_000, 4)).in_picture == kind_of((16, 4)).in_picture
    assert pixels(picture_of(values, values)).shape == pixels(picture_of(values[:, :16], values[:, :16])).shape


def test_a_row_of_a_picture_of_sequences_may_be_a_class() -> None:
    """With 8 columns, 16 sequences are two rows of 8, beside as many real ones."""
    values = torch.rand(16, 1, 20)
    eight, four = (pixels(picture_of(values, values, columns)).shape for columns in (8, None))
    assert eight[0] < four[0]
    assert eight[1] > 1.8 * four[1]


COLUMNS = (
    Column("age", mean=40.0, sd=10.0, whole=True),
    Column("grade", values=("low", "middle", "high")),
    Column("Größe"),
)


def rows_of(ages: list[float], grades: list[int], sizes: list[float]) -> Tensor:
    """Rows of `COLUMNS`, as samples (N, 5)."""
    age = (torch.tensor(ages) - 40) / 10
    return torch.cat([age[:, None], torch.eye(3)[grades], torch.tensor(sizes)[:, None]], dim=1)


def panel_heights(picture: NDArray[np.uint8], panel: int, colour: tuple[int, int, int]) -> NDArray[np.intp]:
    """In one panel of a picture of columns, how many of its pixels have a colour, by column of pixels."""
    left = 14 + panel * 214
    heights: NDArray[np.intp] = is_colour(picture[44:124, left : left + 200], colour).sum(axis=0)
    return heights


def test_a_table_is_drawn_column_by_column() -> None:
    """A third of the real rows has each grade, and all generated ones the last: grey bars of one height."""
    real = rows_of([20.0, 30, 40] * 20, [0, 1, 2] * 20, [0.0, 0.5, 1] * 20)
    made = rows_of([40.0] * 50, [2] * 50, [float("nan")] + [9.0] * 49)
    coding = Coding(COLUMNS)
    assert kind_of((5,), coding).in_picture == 2_000
    assert kind_of((5,)).in_picture == 64
    picture = pixels(picture_of(made, real, coding=coding))
    grey = panel_heights(picture, 1, GREY)
    assert grey[5:60].min() == grey[5:60].max() == pytest.approx(80 / 1.4, abs=2)
    blue = is_colour(picture[44:124, 14 + 214 : 14 + 414], BLUE)
    assert blue[:60, 140:195].any(axis=0).all()  # over the last third
    assert not blue[:70, :120].any()
    for panel in (0, 2):  # values at the last bin, and those outside counted at the edge
        heights = is_colour(picture[44:124, 14 + panel * 214 : 214 + panel * 214], BLUE)[:70].any(axis=0)
        assert heights[193:199].all()
        assert not heights[:180].any()
    moved = pixels(picture_of(rows_of([30.0] * 50, [0] * 50, [0.2] * 50), real, coding=coding))
    assert (panel_heights(moved, 1, GREY) > 0).sum() > 150  # the axes are still those of the real rows


@pytest.mark.parametrize("count", [1, 4, 5, 60])
def test_a_table_of_any_width_has_a_picture(count: int) -> None:
    """Columns after the 48th are left out; a column may be constant, and no generated row finite."""
    coding = Coding(tuple(Column(f"a column with a long name, {n}") for n in range(count)))
    real = torch.randn(30, count)
    real[:, 0] = 3.0
    picture = pixels(picture_of(torch.full((20, count), torch.nan), real, coding=coding))
    correlations = 299 if count > 1 else 0
    assert picture.shape == (29 + 124 * -(-min(count, 48) // 4) + correlations, 870, 3)


def test_correlations_of_pairs_are_side_by_side() -> None:
    """Blue for 1, red for -1, and the difference: real ones rise together, generated ones do not; gaps count little."""
    rising = torch.arange(40.0)
    real = torch.stack([rising, rising.exp().clamp(max=1e30), 0 * rising, 0 * rising + 1], dim=1)
    made = torch.stack([rising, -rising, 0 * rising, 0 * rising + 1], dim=1)
    coding = Coding((Column("a"), Column("b"), Column("town", values=("Ulm", "Aachen"))))
    picture = pixels(picture_of(made, real, coding=coding))
    matrices = picture[29 + 124 + 15 :]
    middle = [45, 135, 225]  # of three columns in 270 pixels
    real_pairs, made_pairs, apart = (matrices[middle][:, [left + at for at in middle]] for left in (14, 298, 582))
    blue, red, white = BLUE, (200, 40, 30), (255, 255, 255)
    assert [tuple(each) for each in real_pairs[0]] == [blue, blue, white]
    assert [tuple(each) for each in made_pairs[0]] == [blue, red, white]
    assert [tuple(each) for each in apart[0]] == [white, red, white]


@pytest.mark.parametrize("count", [200, 201, 1000])
def test_a_column_may_have_more_categories_than_its_panel_has_pixels(count: int) -> None:
    coding = Coding((Column("city", values=tuple(map(str, range(count)))), Column("size")))
    real = torch.cat([torch.eye(count), torch.randn(count, 1)], dim=1)
    assert pixels(picture_of(real, real, coding=coding)).shape == (29 + 124, 870, 3)


def test_names_of_any_length_and_with_line_breaks_are_drawn_in_one_line() -> None:
    long = "n\n" * 500_000
    coding = Coding((Column(long), Column("a\r\n(mm)", values=(long, "b\n")), *(Column(str(n)) for n in range(50))))
    real = torch.cat([torch.randn(30, 1), torch.eye(2)[torch.arange(30) % 2], torch.randn(30, 50)], dim=1)
    picture = pixels(picture_of(real, real, coding=coding))
    assert picture.shape == (29 + 124 * 12 + 299, 870, 3)


def test_a_grid_is_of_images() -> None:
    with pytest.raises(UserError, match=r"needs samples of shape .* given \(4, 2\)"):
        grid_png(torch.zeros(4, 2))


@pytest.mark.parametrize(
    "name",
    [
        "height\n(cm)",
        "a\r\nb\tc",
        "\u2028\u2029\x85\x0b\x0c\x1c",
        "\u202eright to left\u202c",
        "\u05d0\u05d1",
        "x" * 100_000,
        "",
        "\0\x07\x1b[31m",
        "\udcff",
        "\U0001f600",
    ],
    ids=lambda name: ascii(name[:9]),
)
def test_captions_of_any_text_are_drawn(name: str) -> None:
    """A name or a category of a table must not end the process that trains."""
    coding = Coding((Column(name, 0.0, 1.0), Column("kind", values=(name, f"{name}2"))))
    rows = torch.nn.functional.pad(torch.randn(40, 1), (0, 2))
    rows[:20, 1], rows[20:, 2] = 1, 1
    assert pixels(picture_of(rows, rows, coding=coding)).shape[2] == 3
