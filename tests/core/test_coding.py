"""Columns as numbers and generated samples as rows, and files of rows, which are read again as they were written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import csv
from torch import nn

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.data.rows import rows_of, write_rows
from wgan_core.data.splits import read_table
from wgan_core.errors import UserError
from wgan_core.kinds import kind_of
from wgan_core.networks.layers import Categorical, gumbel
from wgan_core.networks.network import build, initialise, loaded_generator
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

TABLE = Coding(
    (
        Column("höhe, m", 170.0, 9.0),
        Column("kind", values=("", "NA", 'a "b"')),
        Column("year", 2e9, 12.0, whole=True),
        Column("smoker", values=(False, True)),
        Column("rank", values=(1, 2, 10)),
    ),
    "ill",
    "yes",
)
SEQUENCES = Coding((Column("x", 1.0, 2.0), Column("y", -3.0, 50.0, whole=True)))


def samples(*shape: int) -> torch.Tensor:
    return torch.randn(30, *shape, generator=torch.Generator().manual_seed(3))


def test_columns_are_in_the_data_s_units() -> None:
    drawn = samples(TABLE.width)
    rows = rows_of(drawn, TABLE)
    assert rows.column_names == ["höhe, m", "kind", "year", "smoker", "rank", "ill"]
    assert [str(kind) for kind in rows.schema.types] == ["double", "string", "int64", "bool", "int64", "string"]
    np.testing.assert_allclose(rows["höhe, m"], 170 + 9 * drawn[:, 0].double().numpy())
    assert rows["kind"].to_pylist() == [("", "NA", 'a "b"')[each] for each in drawn[:, 1:4].argmax(1)]
    np.testing.assert_array_equal(rows["year"], np.rint(2e9 + 12 * drawn[:, 4].double().numpy()))
    assert rows["ill"].to_pylist() == ["yes"] * 30


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_written_rows_are_read_again_as_they_were(name: str, tmp_path: Path) -> None:
    """By the reader of tables, numbers to the last bit. In CSV, an empty category is a gap."""
    rows = rows_of(samples(TABLE.width), TABLE)
    write_rows(rows, tmp_path / name)
    if name == "rows.csv":
        kinds = [kind or None for kind in rows["kind"].to_pylist()]
        rows = rows.set_column(1, "kind", pa.array(kinds, pa.string()))
    assert read_table(tmp_path / name).equals(rows)


def test_sequences_are_lists(tmp_path: Path) -> None:
    drawn = samples(2, 7)
    rows = rows_of(drawn, SEQUENCES)
    assert [str(kind) for kind in rows.schema.types] == ["list<item: double>", "list<item: int64>"]
    np.testing.assert_allclose(rows["x"].to_pylist(), 1 + 2 * drawn[:, 0].double())
    np.testing.assert_array_equal(rows["y"].to_pylist(), (50 * drawn[:, 1].double() - 3).round())
    assert rows_of(SEQUENCES.as_stored(drawn), SEQUENCES).equals(rows)
    write_rows(rows, tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").equals(rows)
    with pytest.raises(UserError, match=r"CSV has no lists.*'x'.*give --out rows.parquet"):
        write_rows(rows, tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_no_rows(value: float) -> None:
    drawn = samples(TABLE.width)
    drawn[3, 0] = value
    with pytest.raises(UserError, match=r"finite.*take another checkpoint"):
        rows_of(drawn, TABLE)


@pytest.mark.parametrize("name", ["rows.png", "rows", ""])
def test_a_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in .parquet or .csv.*give --out rows.parquet"):
        write_rows(pa.table({"a": [1]}), Path(name))


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("rows.parquet", "rows.csv"):
        with pytest.raises(UserError, match=r"--out must be a file that can be written.*nowhere"):
            write_rows(pa.table({"a": [1]}), tmp_path / "nowhere" / name)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_link_is_replaced_and_not_followed(name: str, tmp_path: Path) -> None:
    """The default output lies in the current folder, where somebody else may have put a link."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "precious")
    write_rows(pa.table({"a": [1]}), tmp_path / name)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / name).is_symlink()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(UserError, match="something else than a file is there"):
        write_rows(pa.table({"a": [1]}), tmp_path / "rows.csv")


def test_text_of_numbers_is_quoted(tmp_path: Path) -> None:
    """So that a reader that heeds quotes keeps it as text."""
    write_rows(pa.table({"code": ["01", "02"], "n": [1, 2]}), tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines() == ['"code","n"', '"01",1', '"02",2']
    assert csv.read_csv(tmp_path / "rows.csv").num_rows == 2


def test_the_memory_of_rows_counts_the_longest_value_of_a_category() -> None:
    """A checkpoint of some kB can name a category in millions of characters, and ask for many rows."""
    short, long = (kind_of((2,), Coding((Column("a", values=("x", text)),))) for text in ("y", "y" * 10**6))
    assert long.row_bytes(4) - short.row_bytes(4) >= 10**6 - 1


# Columns as numbers

PEOPLE = Coding(
    (
        Column("age", 40.0, 10.0, whole=True),
        Column("kind", values=("a", "b", "c")),
        Column("height", 1.7, 0.1),
        Column("ill", values=(False, True)),
    ),
    label="ill",
)
CODED = torch.tensor([[0.04, 0.2, 0.5, 0.3, -1.0, 0.6, 0.4], [-1.16, 0.9, 0.0, 0.1, 0.5, 0.1, 0.9]])


def test_as_stored_is_what_rows_are_after_the_way_there_and_back() -> None:
    stored = PEOPLE.as_stored(CODED)
    assert stored[:, 1:4].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert stored[:, 5:].tolist() == [[1, 0], [0, 1]]
    assert stored[:, 0].tolist() == pytest.approx([0.0, -1.2])
    assert torch.equal(stored[:, 4], CODED[:, 4])
    assert torch.allclose(PEOPLE.as_stored(stored), stored)
    assert PEOPLE.decode(stored) == PEOPLE.decode(CODED)
    assert CODED[0, 1] == 0.2  # the argument is left as it was


def test_a_coding_is_kept_with_the_structure_and_must_fit_it() -> None:
    structure = Structure("mlp", (7,), coding=PEOPLE)
    assert Structure.from_json(structure.as_json()) == structure
    Coding((Column("x"), Column("n", 10.0, 1.0, whole=True))).check((2, 3))
    with pytest.raises(UserError, match=r"coding of 4 columns is of samples of shape \(7,\).*given the sample_shape"):
        Structure("mlp", (8,), coding=PEOPLE)
    with pytest.raises(UserError, match="with as many channels"):
        Structure("mlp", (4, 10), coding=PEOPLE)


def test_a_generator_gives_shares_of_each_categorical_column_and_is_a_module_of_lanes() -> None:
    """Shares sum to one, other entries have no bounds and are as the network gives them."""
    inner = nn.Linear(5, 7)
    with torch.no_grad():
        inner.bias += 3
    wrapped, z = Categorical(inner, PEOPLE), torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    samples = wrapped(z)
    assert torch.allclose(samples[:, 1:4].sum(1), torch.ones(9))
    assert torch.allclose(samples[:, 5:].sum(1), torch.ones(9))
    assert torch.equal(samples[:, [0, 4]], inner(z)[:, [0, 4]])
    assert torch.equal(samples[:, 1:4], inner(z)[:, 1:4].softmax(1))


def test_structures_with_categorical_columns_build_such_generators() -> None:
    structure = Structure("ffpred", (7,), latent_dim=4, coding=PEOPLE)
    assert isinstance(build(structure)[1], Categorical)
    numeric = Structure("ffpred", (2,), latent_dim=4, coding=Coding((Column("x"), Column("y"))))
    assert not isinstance(build(numeric)[1], Categorical)
    _, generator = initialise(structure, 0)
    samples = generator(torch.zeros(3, 4))
    assert samples.shape == (3, 7)
    assert torch.allclose(samples[:, 5:].sum(1), torch.ones(3))


def test_gumbel_noise_makes_a_category_as_frequent_as_the_softmax_without_noise_says() -> None:
    """At a low temperature the entries are nearly one-hot. Other entries get no noise."""
    bias = torch.tensor([5.0, 0, 1, 2, -3, 0.5, 0])
    inner = nn.Linear(2, 7)
    with torch.no_grad():
        inner.weight.zero_()
        inner.bias.copy_(bias)
    structure = Structure("mlp", (7,), latent_dim=2, coding=PEOPLE, gumbel=0.1)
    assert structure.z_length == 2 + 5
    z = torch.randn(20_000, structure.z_length, generator=torch.Generator().manual_seed(0))
    samples = Categorical(inner, PEOPLE, 2, 0.1)(z)
    assert torch.equal(samples[:, [0, 4]], bias[[0, 4]].expand(20_000, 2))
    for columns in (slice(1, 4), slice(5, 7)):
        found = torch.nn.functional.one_hot(samples[:, columns].argmax(1)).double().mean(0)
        assert torch.allclose(found, bias[columns].double().softmax(0), atol=0.02)
        assert samples[:, columns].max(1).values.median() > 0.99


@pytest.mark.filterwarnings("error")
def test_gumbel_noise_has_its_quantiles_also_under_vmap_and_is_finite_for_every_number() -> None:
    normal = torch.tensor([-30.0, -6.7, -1.0, 0.0, 0.5, 3.0, 6.7, 30.0])
    noise = torch.func.vmap(gumbel)(normal[None])[0]
    assert torch.equal(noise, gumbel(normal))
    assert noise.isfinite().all()
    assert torch.allclose(noise[1:-1], (-(-torch.special.log_ndtr(normal[1:-1].double())).log()).float(), rtol=1e-5)
    assert (noise.diff() > 0).all()


def test_a_trial_with_gumbel_noise_equals_an_interrupted_one_and_its_export() -> None:
    structure = Structure("mlp", (7,), latent_dim=2, batch_size=8, coding=PEOPLE, gumbel=0.2)
    data = TrainingData(torch.from_numpy(np.eye(7, dtype=np.float32)[np.arange(20) % 7]))
    trial = Trial(0, 1, Hyper(10.0, 1e-3, 1e-3, 2, 0.0, 0.9))
    whole, parts = Cohort(structure, data, (6,)), Cohort(structure, data, (3, 6))
    for cohort in (whole, parts):
        cohort.add(trial)
    whole.advance()
    parts.advance()
    rest = Cohort(structure, data, (3, 6))
    rest.add(trial, parts.state_of(0), 3)
    rest.advance()
    z = evaluation_z(structure, 9)
    assert torch.equal(whole.samples(0, z), rest.samples(0, z))
    state = whole.state_of(0)
    module = loaded_generator(structure, {name: tensor[0] for name, tensor in state.average.items()}).eval()
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(module, (z[:2],), dynamic_shapes=({0: batch},)).module()
    assert torch.allclose(exported(z), whole.samples(0, z), atol=1e-5)
