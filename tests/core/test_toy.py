"""The toy data have the laws of the script that they come from, and are the same from the same seed."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.datasets import make_swiss_roll

from wgan_core.data.dataset import Dataset
from wgan_core.data.toy import DRAWS, MIXTURES, load_toy
from wgan_core.errors import UserError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def loaded() -> dict[str, Dataset]:
    return {name: load_toy(name) for name in DRAWS}


@pytest.mark.parametrize("name", DRAWS)
def test_there_are_three_splits_of_points_in_the_plane(name: str, loaded: dict[str, Dataset]) -> None:
    dataset = loaded[name]
    assert dataset.name == name
    assert [getattr(dataset, split).values.shape for split in SPLITS] == [(100_000, 2), (10_000, 2), (10_000, 2)]
    assert {getattr(dataset, split).values.dtype for split in SPLITS} == {np.dtype(np.float32)}
    rows = np.concatenate([getattr(dataset, split).values for split in SPLITS])
    assert len(np.unique(rows, axis=0)) > 0.999 * len(rows)  # no split repeats another


@pytest.mark.parametrize("name", DRAWS)
def test_the_seed_decides_the_samples(name: str, loaded: dict[str, Dataset]) -> None:
    assert load_toy(name).digest == loaded[name].digest != load_toy(name, seed=1).digest


def test_the_centres_are_where_the_authors_have_them() -> None:
    """A ring of radius 2 divided by 1.414; the grid -4, -2, ..., 4 divided by 2.828."""
    ring, grid = MIXTURES["8gaussians"], MIXTURES["25gaussians"]
    diagonal = 2 / math.sqrt(2)
    expected = {(2, 0), (-2, 0), (0, 2), (0, -2)} | {(x * diagonal, y * diagonal) for x in (-1, 1) for y in (-1, 1)}
    assert {(round(x, 9), round(y, 9)) for x, y in 1.414 * ring.centres + 0.0} == {
        (round(x, 9), round(y, 9)) for x, y in expected
    }
    assert {(round(x), round(y)) for x, y in 2.828 * grid.centres} == {
        (2 * x, 2 * y) for x in range(-2, 3) for y in range(-2, 3)
    }
    assert (ring.sd, grid.sd) == (0.02 / 1.414, 0.05 / 2.828)


@pytest.mark.parametrize("name", MIXTURES)
def test_each_mode_has_its_share_its_centre_and_its_sd(name: str, loaded: dict[str, Dataset]) -> None:
    mixture, train = MIXTURES[name], loaded[name].train
    assert train.labels is not None
    counts = np.bincount(train.labels, minlength=len(mixture.centres))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    for mode, (centre, count) in enumerate(zip(mixture.centres, counts, strict=True)):
        scaled = (train.values[train.labels == mode] - centre) / mixture.sd  # N(0, 1) on each axis
        assert np.abs(scaled.mean(axis=0)).max() < 4.5 / math.sqrt(count)
        assert np.abs(scaled.var(axis=0) - 1).max() < 4.5 * math.sqrt(2 / count)
        assert abs(np.corrcoef(scaled.T)[0, 1]) < 4.5 / math.sqrt(count)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_has_about_unit_variance(name: str, loaded: dict[str, Dataset]) -> None:
    np.testing.assert_allclose(loaded[name].train.values.var(axis=0), 1.0, atol=0.02)


def test_the_swiss_roll_is_that_of_scikit_learn(loaded: dict[str, Dataset]) -> None:
    """Kolmogorov and Smirnov find no difference along the axes, the diagonals and the radius."""
    theirs = make_swiss_roll(20_000, noise=0.25, random_state=0)[0][:, [0, 2]] / 7.5
    ours = loaded["swissroll"].validation.values
    for direction in ((1, 0), (0, 1), (1, 1), (1, -1)):
        assert scipy.stats.ks_2samp(ours @ direction, theirs @ direction).pvalue > 1e-3
    assert scipy.stats.ks_2samp(np.hypot(*ours.T), np.hypot(*theirs.T)).pvalue > 1e-3
    assert loaded["swissroll"].train.labels is None


@pytest.mark.parametrize("name", ["9gaussians", "", "images/"])
def test_another_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=f"8gaussians, 25gaussians, swissroll; given {name!r}: give --data 8gaussians"):
        load_toy(name)
