"""Sequences are read, standardised and split, or refused with a reason; the data at hand have the laws they claim."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch
from torch import nn

from benchmarks.sines import Fits
from wgan_core.config import Structure
from wgan_core.data import membrane
from wgan_core.data.membrane import LENGTH, STEADY, load_membrane, recording, windows
from wgan_core.data.sequences import load_sequences
from wgan_core.data.sines import AMPLITUDES, CYCLES, NOISE_SD, draw_sines, load_sines
from wgan_core.data.splits import SPLITS
from wgan_core.errors import UserError
from wgan_core.networks.network import initialise

ROWS, STEPS = 40, 12
RNG = np.random.default_rng(3)
A, B = RNG.normal(5, 2, size=(ROWS, STEPS)), RNG.normal(-100, 30, size=(ROWS, STEPS))


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)
    return path


def lists(rows: Any, kind: pa.DataType | None = None) -> pa.Array:
    """Rows as a column of lists; kind: its type, if not what pyarrow finds."""
    return pa.array([list(row) if row is not None else None for row in rows], kind)


def in_units(path: Path, columns: Sequence[str] | None = None) -> Any:
    """All sequences (N, C, L) in their own units, sorted by their first step, and their coding."""
    dataset = load_sequences(path, columns)
    assert dataset.coding is not None
    values = torch.cat([torch.from_numpy(getattr(dataset, split).values) for split in SPLITS])
    decoded = np.stack([np.array(rows) for rows in dataset.coding.decode(values).values()], axis=1)
    return decoded[decoded[:, 0, 0].argsort()], dataset


TYPES = {
    "list": pa.list_(pa.float64()),
    "large_list": pa.large_list(pa.float32()),
    "fixed_size_list": pa.list_(pa.float64(), STEPS),
}


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_each_list_column_is_a_channel_and_others_are_left_out(kind: pa.DataType, tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", {"id": range(ROWS), "a": lists(A, kind), "t": ["x"] * ROWS, "b": lists(B)})
    found, dataset = in_units(path)
    assert dataset.name == "sequences:s"
    assert dataset.sample_shape == (2, STEPS)
    assert dataset.train.values.dtype == np.float32
    assert [column.name for column in dataset.coding.columns] == ["a", "b"]
    assert [len(getattr(dataset, split)) for split in SPLITS] == [32, 4, 4]
    np.testing.assert_allclose(found, np.stack([A, B], axis=1)[A[:, 0].argsort()], rtol=1e-5, atol=1e-4)


def test_columns_are_chosen_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", {"a": lists(A), "b": lists(B), "c": lists(A * 2)})
    assert [column.name for column in load_sequences(path, ["c", "a"]).coding.columns] == ["c", "a"]  # type: ignore[union-attr]
    assert load_sequences(path, ["b"]).sample_shape == (1, STEPS)


def test_a_column_of_lists_of_lists_holds_all_channels(tmp_path: Path) -> None:
    """As the same numbers in columns of their own, bit for bit."""
    both = np.stack([A, B], axis=1)
    path = write(tmp_path / "s.parquet", {"x": pa.array(both.tolist())})
    found, dataset = in_units(path)
    assert [column.name for column in dataset.coding.columns] == ["x[0]", "x[1]"]
    _, apart = in_units(write(tmp_path / "t.parquet", {"a": lists(A), "b": lists(B)}))
    assert dataset.digest == apart.digest
    assert found.shape == (ROWS, 2, STEPS)


def test_each_channel_is_standardised_by_the_training_split(tmp_path: Path) -> None:
    names = {"train": A[:20], "validation": A[20:30] + 7, "test": A[30:]}
    for name, rows in names.items():
        write(tmp_path / f"{name}.parquet", {"a": lists(rows)})
    dataset = load_sequences(tmp_path)
    (column,) = dataset.coding.columns  # type: ignore[union-attr]
    assert (column.mean, column.sd) == (pytest.approx(A[:20].mean(), rel=1e-12), pytest.approx(A[:20].std(), rel=1e-12))
    for name, rows in names.items():
        expected = (rows - A[:20].mean()) / A[:20].std()
        np.testing.assert_allclose(getattr(dataset, name).values[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_whole_numbers_are_rounded_on_the_way_back(tmp_path: Path) -> None:
    counts = RNG.poisson(9, size=(ROWS, STEPS))
    found, dataset = in_units(write(tmp_path / "s.parquet", {"n": lists(counts)}))
    assert sorted(map(tuple, found[:, 0])) == sorted(map(tuple, counts))
    (column,) = dataset.coding.columns
    assert column.whole
    mixed = write(tmp_path / "t.parquet", {"n": lists(counts), "a": lists(A)})
    assert [column.whole for column in load_sequences(mixed).coding.columns] == [True, False]  # type: ignore[union-attr]


def test_several_files_of_one_split_are_one(tmp_path: Path) -> None:
    whole = load_sequences(write(tmp_path / "whole.parquet", {"a": lists(A)}))
    for part in range(2):
        write(tmp_path / "parts" / f"{part}.parquet", {"a": lists(A[part * 20 : part * 20 + 20])})
    assert load_sequences(tmp_path / "parts").digest == whole.digest


def with_row(rows: Any, at: int, row: Any) -> list[Any]:
    changed = [list(each) for each in rows]
    changed[at] = row
    return changed


GAP = with_row(A, 5, [1.0, None, *[2.0] * (STEPS - 2)])
NAN, INF = (with_row(A, 6, [1.0] * (STEPS - 1) + [value]) for value in (float("nan"), float("inf")))
NESTED = np.stack([A, B], axis=1).tolist()
REFUSED: dict[str, tuple[dict[str, Any], list[str] | None, str]] = {
    "no list": (
        {"x": range(ROWS), "t": [["a"]] * ROWS},
        None,
        r"s.parquet must have a column of lists of numbers; its columns are x \(int64\), t \(list<",
    ),
    "text asked for": ({"a": lists(A), "t": [["a"]] * ROWS}, ["t"], r"--columns must be .*lists of numbers; given 't'"),
    "numbers asked for": (
        {"a": lists(A), "x": range(ROWS)},
        ["a", "x"],
        r"given 'x', and the columns of .*x \(int64\)",
    ),
    "another name": ({"a": lists(A)}, ["b"], r"given 'b', and the columns of .*s.parquet are a \(list<"),
    "no name": ({"a": lists(A)}, [], r"must have a column of lists of numbers"),
    "three deep": ({"a": [[[[1.0]]]] * ROWS}, None, r"must have a column of lists of numbers"),
    "twice": ({"a": lists(A)}, ["a", "a"], r"channels must be .*each once.*; given a, a of .*--columns"),
    "lists beside lists of lists": ({"a": lists(A), "x": NESTED}, None, r"one column of lists of lists; given a, x of"),
    "lengths in a column": (
        {"a": with_row(A, 3, [1.0] * 11)},
        None,
        r"as many steps; row 3 of column 'a' of .*s.parquet has 11, row 0 of column 'a' of .*s.parquet has 12: cut or",
    ),
    "lengths of two columns": (
        {"a": lists(A), "b": lists(B[:, :7])},
        None,
        r"row 0 of column 'b' of .* has 7, row 0 of column 'a' of .* has 12",
    ),
    "lengths in a list": (
        {"x": with_row(NESTED, 2, [[1.0] * 12, [1.0] * 5])},
        None,
        r"as many steps; row 2 of column 'x' of .* has 5, row 0 .* has 12",
    ),
    "channels": (
        {"x": with_row(NESTED, 4, [[1.0] * 12] * 3)},
        None,
        r"as many channels; row 4 of column 'x' of .* has 3, row 0 .* has 2",
    ),
    "empty": ({"a": [[]] * ROWS}, ["a"], r"must have a column of lists|--columns must be"),
    "no steps": ({"a": pa.array([[]] * ROWS, pa.list_(pa.float64()))}, None, r"must have steps; row 0 of column 'a'"),
    "a missing row": ({"a": with_row(A, 9, None)}, None, r"row 9 of column 'a' of .*s.parquet is missing: fill"),
    "a missing channel": (
        {"x": with_row(NESTED, 1, [None, [1.0] * 12])},
        None,
        r"row 1 of .* a channel that is missing",
    ),
    "a gap": ({"a": GAP}, None, r"row 5 of column 'a' of .* has a step that is missing"),
    "not a number": ({"b": lists(B), "a": NAN}, None, r"row 6 of column 'a' of .* has a step that is no finite number"),
    "infinity": ({"a": INF}, None, r"row 6 of column 'a' of .* has a step that is no finite number"),
    "constant": (
        {"a": lists(A), "b": lists(0 * B + 3)},
        None,
        r"must vary .*'b' of sequences:s is 3 throughout: leave",
    ),
    "huge": (
        {"a": lists(A * 1e300)},
        None,
        r"finite spread; those of 'a' of sequences:s are .*e\+.*: choose another unit",
    ),
    "a missing list of fixed size": (
        {"a": lists([None, *A[1:]], TYPES["fixed_size_list"])},
        None,
        r"Parquet file without missing lists of a fixed size; .*; fill them in, write lists of any size, or fetch",
    ),
    "whole numbers far apart": (
        {"n": [[row, row * row, row + 2**60] for row in range(ROWS)]},
        None,
        r"must be .*float32 keeps them.*; of 'n', \d+ is not, beside a mean of .*: .*leave the channel out",
    ),
    "few rows": ({"a": lists(A[:9])}, None, r"at least 2 sequences; .* of .*s.parquet has 0 of 9 rows"),
    "no rows": ({"a": lists(A[:0], pa.list_(pa.float64()))}, None, r"at least one row; .*s.parquet has none"),
}


@pytest.mark.parametrize(("columns", "asked", "said"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused_with_column_and_row(
    columns: dict[str, Any], asked: list[str] | None, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "s.parquet", columns)
    with pytest.raises(UserError, match=said) as info:
        load_sequences(path, asked)
    assert "\n" not in str(info.value)


def test_numbers_of_held_out_sequences_must_be_within_float32(tmp_path: Path) -> None:
    for name, rows in (("train", A), ("validation", B), ("test", A * 1e39)):
        write(tmp_path / f"{name}.parquet", {"a": lists(rows)})
    with pytest.raises(UserError, match=r"within float32 .*; of 'a', \S+e\+\d\d is not, beside a spread of 2"):
        load_sequences(tmp_path)


def test_files_of_other_lengths_or_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"a": lists(A)})
    write(tmp_path / "2.parquet", {"a": lists(A[:, :5])})
    with pytest.raises(UserError, match=r"row 0 of column 'a' of .*2.parquet has 5, row 0 .*1.parquet has 12"):
        load_sequences(tmp_path)
    write(tmp_path / "2.parquet", {"b": lists(A)})
    with pytest.raises(UserError, match=r"given 'a', and the columns of .*2.parquet are b"):
        load_sequences(tmp_path)


# The data at hand


def test_sines_have_their_law() -> None:
    """The cycles of 500, to .005, and their weights by least squares: uniform laws, and noise around them."""
    drawn = draw_sines(500, np.random.default_rng(1))[:, 0]
    t = np.arange(64) / 64
    tried = np.arange(0.8, 2.2, 0.005)
    rests, amplitudes = [], []
    for cycles in tried:
        basis = np.stack([np.sin(2 * np.pi * cycles * t), np.cos(2 * np.pi * cycles * t)], axis=1)
        weights = np.linalg.lstsq(basis, drawn.T)[0]
        rests.append(((drawn.T - basis @ weights) ** 2).sum(axis=0))
        amplitudes.append(np.hypot(*weights))
    best = np.argmin(rests, axis=0)
    each = np.arange(len(drawn))
    noise = np.sqrt(np.array(rests)[best, each] / (64 - 3))
    assert noise.mean() == pytest.approx(NOISE_SD, rel=0.02)
    for values, (low, high) in ((np.array(amplitudes)[best, each], AMPLITUDES), (tried[best], CYCLES)):
        assert scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_the_seed_decides_the_sines() -> None:
    dataset = load_sines()
    assert dataset.train.values.shape == (50_000, 1, 64)
    assert dataset.validation.values.shape == dataset.test.values.shape == (10_000, 1, 64)
    assert load_sines().digest == dataset.digest != load_sines(seed=1).digest


def test_no_step_of_the_recording_is_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own index in place of each step: whole windows of following steps, and a window between splits."""
    monkeypatch.setattr(membrane, "recording", lambda: np.arange(12_000.0))
    dataset = load_membrane()
    (column,) = dataset.coding.columns  # type: ignore[union-attr]
    steps = {
        name: np.rint(getattr(dataset, name).values[:, 0].astype(np.float64) * column.sd + column.mean).astype(int)
        for name in SPLITS
    }
    assert [len(steps[name]) for name in SPLITS] == [1_160, 366, 366]
    for each in steps.values():
        np.testing.assert_array_equal(np.diff(each, axis=1), 1)
        np.testing.assert_array_equal(np.diff(each[:, 0]), 2)
    assert STEADY.start == steps["train"].min()
    assert steps["validation"].min() - steps["train"].max() > LENGTH
    assert steps["test"].min() - steps["validation"].max() > LENGTH
    assert steps["test"].max() < STEADY.stop


def test_the_cell_fires_steadily_where_windows_are_taken() -> None:
    """The times between spikes: 142 to 145 steps in the stretch, and others after it."""
    voltage = recording()
    above = np.flatnonzero((voltage[1:] > -0.2) & (voltage[:-1] <= -0.2))
    spikes = above[np.diff(above, prepend=-100) > 30]
    steady = spikes[(spikes >= STEADY.start) & (spikes < STEADY.stop)]
    assert len(steady) == 29
    assert set(np.diff(steady)) <= set(range(142, 146))
    assert np.diff(spikes[spikes > STEADY.stop]).min() < 142 < 200 < np.diff(spikes[spikes > STEADY.stop]).max()


def test_windows_are_all_that_fit() -> None:
    np.testing.assert_array_equal(windows(np.arange(7.0), 4, 2), [[[0, 1, 2, 3]], [[2, 3, 4, 5]]])


def test_another_recording_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membrane, "FILE", "matplotlib/mpl-data/sample_data/eeg.dat")
    with pytest.raises(UserError, match=r"eeg.dat must be Matplotlib's recording; .* install matplotlib again"):
        load_membrane()
    monkeypatch.setattr(membrane, "FILE", "matplotlib/none.dat")
    with pytest.raises(UserError, match=r"files of Matplotlib; there are none: .*none.dat.*: install matplotlib"):
        load_membrane()


def test_the_recording_is_read_without_importing_matplotlib() -> None:
    said = "import sys; from wgan_core.data.membrane import recording; recording(); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


# The networks


@pytest.mark.parametrize("length", [4, 5, 6, 7, 30, 33, 64, 101])
@pytest.mark.parametrize("hidden", [0, 8])
def test_sequences_of_any_length_from_4_on(length: int, hidden: int) -> None:
    """The score depends on each step, and each step on z."""
    options = {"critic": {"hidden": hidden}, "generator": {"hidden": hidden}}
    structure = Structure("sequence", (2, length), latent_dim=6, dtype="float64", network_options=options)
    critic, generator = initialise(structure, 0)
    z = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = generator(z)
    assert samples.shape == (3, 2, length)
    assert (samples.std(0) > 0).all()
    x = samples.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    assert (gradient != 0).all()


def test_the_networks_of_lengths_that_are_multiples_of_4_are_as_they_were() -> None:
    """Names and shapes, and the first weights drawn from a seed."""
    critic, generator = initialise(Structure("sequence", (1, 64)), 0)
    shapes = {name: tuple(tensor.shape) for name, tensor in critic.named_parameters()}
    convolutions = {"0.weight": (32, 1, 4), "0.bias": (32,), "2.weight": (64, 32, 4), "2.bias": (64,)}
    assert shapes == {**convolutions, "5.weight": (1, 1024), "5.bias": (1,)}
    assert list(generator.state_dict())[:2] == ["0.weight", "2.weight"]
    assert tuple(generator.state_dict()["0.weight"].shape) == (1024, 100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = torch.nn.Conv1d(1, 32, 4)
    assert torch.equal(critic.state_dict()["0.weight"], first.weight)


def test_a_generator_that_is_not_batch_normalised_keeps_no_statistics_and_has_biases() -> None:
    options = {"generator": {"hidden": 8, "batch_norm": False}}
    _, generator = initialise(Structure("sequence", (1, 8), latent_dim=4, network_options=options), 0)
    assert not list(generator.buffers())
    layers = [layer for layer in generator.modules() if isinstance(layer, nn.Linear | nn.ConvTranspose1d)]
    assert len(layers) == 4
    assert all(layer.bias is not None for layer in layers)


def test_a_fit_finds_the_sine() -> None:
    """What `benchmarks/sines.py` reports: exact without noise, and of white noise all but a few degrees of freedom."""
    t = np.arange(64) / 64
    sines = np.stack([a * np.sin(2 * np.pi * f * t + p) for a, f, p in ((0.5, 1.03, 0.1), (1.5, 3.97, 5.0))])
    noise = np.random.default_rng(0).standard_normal((1, 64))
    fits = Fits.of(np.concatenate([sines, noise]))
    np.testing.assert_allclose(fits.amplitude[:2], [0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(fits.cycles[:2], [1.03, 3.97], rtol=1e-6)
    assert fits.left[:2].max() < 1e-12
    assert 0.7 < fits.left[2] < 1
