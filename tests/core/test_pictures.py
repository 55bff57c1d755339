"""Pictures show what there is: images in a grid, points on the axes of the real data, other rows beside real ones."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wgan_core.data.toy import load_toy
from wgan_core.errors import UserError
from wgan_core.pictures import BLUE, GREY, SIDE, grid_png, samples_in_picture, samples_png


@pytest.fixture(scope="module")
def real() -> Tensor:
    return torch.from_numpy(load_toy("8gaussians").train.values)


def pixels(picture: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture)))


def is_colour(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (picture == colour).all(axis=2)
    return found


@pytest.mark.parametrize("shape", [(9, 1, 5, 4), (5, 3, 4, 4)])
def test_images_stand_in_the_grid_whatever_the_data(shape: tuple[int, ...]) -> None:
    samples = torch.rand(shape) * 2 - 1
    assert samples_png(samples, torch.zeros(3, *shape[1:], dtype=torch.uint8)) == grid_png(samples)
    assert samples_png(samples, samples, columns=2) == grid_png(samples, 2)
    assert samples_in_picture(shape[1:]) == 64


def test_points_lie_over_the_real_ones_on_axes_that_the_samples_do_not_move(real: Tensor) -> None:
    """One sample at the first centre, to the right of the middle: 8 grey spots become 7 and one with blue in it."""
    at_first = torch.tensor([[2 / 1.414, 0.0]])
    picture = pixels(samples_png(at_first, real))
    assert picture.shape == (SIDE, SIDE, 3)
    rows, columns = np.nonzero(is_colour(picture, BLUE))
    assert len(rows) == 4
    assert abs(rows.mean() - SIDE / 2) < 4
    assert 0.9 * SIDE < columns.mean() < SIDE - 20
    shifted = pixels(samples_png(at_first - 0.4, real))
    grey = is_colour(picture, GREY) & is_colour(shifted, GREY)
    assert grey.sum() > 0.99 * is_colour(shifted, GREY).sum()


def test_the_second_axis_points_up(real: Tensor) -> None:
    rows, columns = np.nonzero(is_colour(pixels(samples_png(torch.tensor([[0.0, 1.0]]), real)), BLUE))
    assert rows.mean() < SIDE / 4
    assert abs(columns.mean() - SIDE / 2) < 4


def test_points_outside_are_on_the_edge_and_those_not_finite_are_left_out(real: Tensor) -> None:
    outside = torch.tensor([[50.0, 0.0], [torch.nan, 0.0], [0.0, torch.inf]])
    rows, columns = np.nonzero(is_colour(pixels(samples_png(outside, real)), BLUE))
    assert columns.min() >= SIDE - 3
    assert abs(rows.mean() - SIDE / 2) < 4
    assert not is_colour(pixels(samples_png(outside[1:], real)), BLUE).any()


def test_data_that_is_one_point_has_a_picture() -> None:
    assert is_colour(pixels(samples_png(torch.ones(3, 2), torch.ones(7, 2))), BLUE).sum() == 4


@pytest.mark.parametrize("shape", [(1,), (3,), (258,), (2, 30), (2, 5, 5), (4, 4, 4, 4)])
def test_anything_else_is_rows_of_grey_beside_real_rows(shape: tuple[int, ...]) -> None:
    """The extremes of each column of the real data are black and white; what is not finite stands for 0."""
    values = torch.rand(500, *shape)
    samples = values[torch.arange(64) * 500 // 64]  # the very rows that are shown of the real data
    picture = pixels(samples_png(samples, values))
    half = picture.shape[1] // 2
    assert picture.ndim == 2
    assert picture.shape[0] == 64 * (SIDE // 64)
    assert {int(picture[:, :half].min()), int(picture[:, :half].max())} == {0, 255}
    samples[0] = torch.nan
    assert pixels(samples_png(samples, values)).shape == picture.shape


def test_a_grid_is_of_images() -> None:
    with pytest.raises(UserError, match=r"needs samples of shape .* given \(4, 2\)"):
        grid_png(torch.zeros(4, 2))
