"""Copies of a row are in one split, each category is in training, and other data is split as it always was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.core.test_data import encoded
from wgan_core.data.copies import copies_notice, first_equal, without_chance
from wgan_core.data.dataset import Dataset
from wgan_core.data.images import load_images
from wgan_core.data.membrane import load_membrane
from wgan_core.data.sequences import load_sequences, shift_of_windows
from wgan_core.data.splits import SPLITS, allot
from wgan_core.data.tables import load_table
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.two_sample import C2ST_NAME

FIVE_TIMES = 1_000


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def five_times(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """1,000 random rows, of which each stands five times, in random order."""
    return np.repeat(rng.normal(size=(FIVE_TIMES // 5, *shape)), 5, axis=0)[rng.permutation(FIVE_TIMES)]


def sets(dataset: Dataset) -> list[set[bytes]]:
    return [{row.tobytes() for row in getattr(dataset, name).values} for name in SPLITS]


def no_row_is_in_two(dataset: Dataset) -> None:
    train, validation, test = sets(dataset)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert abs(len(dataset.validation) - 100) < 10
    assert abs(len(dataset.test) - 100) < 10


# Copies


def test_rows_that_stand_five_times_are_in_one_split(tmp_path: Path) -> None:
    """Two columns, or one that chance could never repeat; categories beside them change nothing."""
    rng = np.random.default_rng(0)
    numbers = five_times(rng, (2,))
    path = write(tmp_path / "t.parquet", {"a": numbers[:, 0].round(3), "b": numbers[:, 1].round(3)})
    dataset = load_table(path)
    no_row_is_in_two(dataset)
    assert dataset.notice == "800 of 1,000 rows are copies of others; copies stay in one split"
    no_row_is_in_two(load_table(write(path, {"a": five_times(rng)})))
    signs = numbers[:, 0] > 0
    both = {"a": numbers[:, 0], "sign": signs, "side": np.where(signs, "right", "left").tolist()}
    no_row_is_in_two(load_table(write(path, both), "side"))
    many = (numbers * 100_000).astype(int)  # whole numbers of many values
    no_row_is_in_two(load_table(write(path, {"a": many[:, 0], "b": many[:, 1]})))


def test_sequences_and_images_that_stand_five_times_are_in_one_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sequences = load_sequences(write(tmp_path / "s.parquet", {"x": list(five_times(rng, (6,)))}))
    no_row_is_in_two(sequences)
    assert sequences.notice == "800 of 1,000 sequences are copies of others; copies stay in one split"
    pixels = (np.clip(five_times(rng, (6, 6)) + 2, 0, 4) * 60).astype(np.uint8)
    images = [{"bytes": encoded(image), "path": None} for image in pixels]
    for labels in ({}, {"label": rng.integers(0, 4, FIVE_TIMES)}):  # copies of two classes are copies too
        found = load_images(write(tmp_path / "i.parquet", {"image": images, **labels}))
        train, validation, test = sets(found)
        assert not train & (validation | test)
        assert not validation & test
        assert found.notice == "800 of 1,000 images are copies of others; copies stay in one split"
        assert min(len(found.validation), len(found.test)) > 60


def test_a_table_whose_equal_rows_are_chance_is_split_as_ever(tmp_path: Path) -> None:
    """Categories, small whole numbers, tenths in a single column, and amounts that are mostly zero."""
    rng = np.random.default_rng(2)
    amounts = np.where(rng.random(1000) < 0.9, 0, rng.normal(size=1000))
    for columns in (
        {"a": rng.random(1000) < 0.5, "b": rng.random(1000) < 0.5},
        {"a": rng.integers(0, 5, 1000), "b": rng.integers(1, 6, 1000), "c": rng.integers(0, 2, 1000)},
        {"a": rng.normal(size=1000).round(1)},
        {"a": amounts, "b": rng.random(1000) < 0.5},
    ):
        dataset = load_table(write(tmp_path / "t.parquet", columns), coding="standard")
        assert dataset.notice == ""
        wanted = np.concatenate([allot({"all": 1000})[name][1] for name in SPLITS])
        column = dataset.coding.columns[0]  # type: ignore[union-attr]
        if not column.values:
            values = np.concatenate([getattr(dataset, name).values[:, 0] for name in SPLITS])
            np.testing.assert_allclose(values * column.sd + column.mean, columns["a"][wanted], atol=1e-6)


def test_a_row_with_very_many_copies_is_in_training() -> None:
    """In a held-out split, it would be most of the split."""
    first = np.arange(10_000)
    first[1:900] = 0
    found = allot({"all": 10_000}, first=first)
    assert set(range(900)) <= set(found["train"][1])
    assert [len(found[name][1]) for name in SPLITS] == [8_000, 1_000, 1_000]


def test_copies_that_files_divide_are_counted_and_stay(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 2))
    parts = {"train": rows[:100], "validation": rows[100:150], "test": np.concatenate([rows[:3], rows[100:104]])}
    for name, part in parts.items():
        write(tmp_path / f"{name}.parquet", {"a": part[:, 0], "b": part[:, 1]})
    dataset = load_table(tmp_path)
    assert [len(getattr(dataset, name)) for name in SPLITS] == [100, 50, 7]
    assert dataset.notice == "7 of 157 rows are copies of others; 11 that are held out have a copy in another split"
    (tmp_path / "validation.parquet").unlink()
    write(tmp_path / "train-more.parquet", {"a": rows[:100, 0], "b": rows[:100, 1]})
    again = load_table(tmp_path)
    train, validation, _ = sets(again)
    assert not train & validation
    assert len(validation) * 2 == len(again.validation) == 20
    assert len(again.test) == 7


# Categories


def test_a_category_of_two_rows_is_in_training(tmp_path: Path) -> None:
    """Without the rule, both rows are held out here, and the table is refused."""
    held_out = np.concatenate([allot({"all": 100})[name][1] for name in SPLITS[1:]])
    towns = np.array(["Ulm", "Trier"] * 50, object)
    towns[held_out[[0, 19]]] = "Aachen"
    path = write(tmp_path / "t.parquet", {"a": np.random.default_rng(4).normal(size=100), "town": towns.tolist()})
    dataset = load_table(path, categorical=["town"])
    assert dataset.coding is not None
    assert dataset.coding.columns[1].values == ("Aachen", "Trier", "Ulm")
    assert dataset.train.values[:, 1].sum() == 1
    assert sorted(len(getattr(dataset, name)) for name in SPLITS[1:]) == [9, 10]


# All rows together


def as_it_was(count: int, strata: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The split of the versions before copies were kept together, row by row."""
    order = np.random.Generator(np.random.PCG64(20_171_107)).permutation(count)
    shares = {each: np.count_nonzero(strata == each) // 10 for each in np.unique(strata).tolist()}
    seen = dict.fromkeys(shares, 0)
    found: dict[str, list[int]] = {name: [] for name in SPLITS}
    for row in order.tolist():
        each = int(strata[row])
        rank, share = seen[each], shares[each]
        found["validation" if rank < share else "test" if rank < 2 * share else "train"].append(row)
        seen[each] += 1
    return {name: np.array(rows, np.int64) for name, rows in found.items()}


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 8), st.integers(0, 99))
def test_rows_without_copies_are_split_as_ever(count: int, classes: int, seed: int) -> None:
    strata = np.random.default_rng(seed).integers(0, classes, count)
    found, alone = allot({"all": count}, strata), allot({"all": count}, strata, np.arange(count), [strata])
    for name, rows in as_it_was(count, strata).items():
        np.testing.assert_array_equal(found[name][1], rows)
        np.testing.assert_array_equal(alone[name][1], rows)


def test_the_split_of_a_thousand_rows_is_the_same_for_ever() -> None:
    rows = np.concatenate([allot({"all": 1000})[name][1] for name in SPLITS])
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] == "8a82e8070cbffbed"


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 6), st.integers(0, 99))
def test_whole_groups_are_assigned_and_categories_are_in_training(
    count: int, groups: int, classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first = first_equal(rng.integers(0, groups, (count, 1)))
    strata, codes = rng.integers(0, classes, count), rng.integers(0, count, count)
    chosen = allot({"all": count}, strata, first, [codes])
    rows = {name: chosen[name][1] for name in SPLITS}
    assert sorted(np.concatenate([*rows.values()])) == list(range(count))
    assert sum(len(set(first[each].tolist())) for each in rows.values()) == len(set(first.tolist()))
    for column in (strata, codes):
        several = np.flatnonzero(np.bincount(column) >= 2)
        assert set(several.tolist()) <= set(column[rows["train"]].tolist())
    assert "copies stay" in copies_notice({"all": count}, chosen, first, "rows") or len(set(first.tolist())) == count


def test_the_rule_of_chance() -> None:
    first = np.array([0, 1, 0, 3, 1])
    alone = np.arange(5)
    np.testing.assert_array_equal(without_chance(first, [np.array([0.1234, 0.2, 0.1234, 0.2001, 0.2])]), first)
    np.testing.assert_array_equal(without_chance(first, [np.array([1.0, 2, 1, 3, 2])]), alone)
    np.testing.assert_array_equal(without_chance(first, [np.full(5, 1e308)]), alone)
    np.testing.assert_array_equal(without_chance(first, []), alone)


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int) -> None:
    assert sum(len(rows) for _, rows in allot({"all": count}, None, np.arange(count)).values()) == count


# Windows of recordings


def recorded(steps: int, length: int, shift: int, channels: int = 1) -> NDArray[np.float64]:
    """Windows (N, C, L) of a recording in which each step is told by its value."""
    series = np.random.default_rng(5).permutation(steps * channels).reshape(channels, steps) + 0.5
    return np.lib.stride_tricks.sliding_window_view(series, length, axis=1).transpose(1, 0, 2)[::shift]


@pytest.mark.parametrize(("length", "shift"), [(16, 1), (16, 2), (20, 7), (20, 18)])
@pytest.mark.parametrize("channels", [1, 2])
def test_windows_that_overlap_are_split_in_time(length: int, shift: int, channels: int, tmp_path: Path) -> None:
    windows = recorded(3_000, length, shift, channels)
    dataset = load_sequences(write(tmp_path / "s.parquet", {"x": windows.tolist()}))
    assert dataset.overlapping
    assert dataset.notice.startswith(f"the sequences are windows that overlap, {shift} steps apart; splits follow")
    order = np.random.default_rng(5).permutation(3_000 * channels).reshape(channels, -1)[0]
    time = {value: step for step, value in enumerate(order.tolist())}
    mean, sd = dataset.coding.columns[0].mean, dataset.coding.columns[0].sd  # type: ignore[union-attr]
    steps = {}
    for name in SPLITS:
        values = getattr(dataset, name).values[:, 0].astype(float) * sd + mean
        steps[name] = np.vectorize(time.__getitem__)(np.rint(values - 0.5))
    for before, after in (("train", "validation"), ("validation", "test")):
        assert steps[after].min() - steps[before].max() > length
    assert len(dataset.validation) == len(dataset.test) == len(windows) // 10


def test_sequences_that_do_not_overlap_are_no_windows() -> None:
    rng = np.random.default_rng(6)
    assert shift_of_windows(recorded(3_000, 16, 16)) == 0
    assert shift_of_windows(rng.normal(size=(300, 1, 8))) == 0
    assert shift_of_windows(rng.integers(0, 2, (300, 1, 8)).astype(float)) == 0
    assert shift_of_windows(np.zeros((300, 1, 8))) == 0
    several = np.concatenate([recorded(200, 16, 4) + 10_000 * index for index in range(5)])
    assert shift_of_windows(several) == 4


def test_the_nearest_neighbour_test_is_not_for_windows_that_overlap() -> None:
    dataset = load_membrane()
    assert dataset.overlapping
    evaluator = Evaluator.build(dataset)
    assert evaluator.objective_default == "eval/sliced_wasserstein"
    assert C2ST_NAME not in evaluator.names


def test_images_that_are_all_equal_are_told(tmp_path: Path) -> None:
    """Nothing can be held out that training lacks, so the notice says that held-out images are copies."""
    path = write(
        tmp_path / "same.parquet", {"image": [{"bytes": encoded(np.zeros((8, 8), np.uint8)), "path": None}] * 20}
    )
    dataset = load_images(path)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [16, 2, 2]
    assert "19 of 20 images are copies of others; 4 that are held out have a copy in another split" in dataset.notice
