"""Limits on columns that somebody else wrote: each test is an attack by a table or by the coding of one."""

from __future__ import annotations

import decimal
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from tests.core.refusal import refused
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data import csv_file, tables
from wgan_core.data.coding import MOST_RUNS, Coding, Column
from wgan_core.data.columns import ColumnReading, read_column
from wgan_core.data.csv_file import read_csv
from wgan_core.data.folder import Folder, parse_json
from wgan_core.data.forms import Form
from wgan_core.data.limits import Memory
from wgan_core.data.rows import rows_of
from wgan_core.data.tables import Asked, Table, load_table
from wgan_core.networks.layers import Categorical
from wgan_core.sampling.generator import averaged_generator
from wgan_core.training import checkpoint
from wgan_core.training.checkpoint import Checkpoint, DamagedCheckpoint
from wgan_core.training.state import TrainingState

ROWS = 300_000
ROWS_OF_DATES = 40


@pytest.mark.parametrize("how", [{"label": "a"}, {"categorical": ["a"]}])
@pytest.mark.parametrize("dictionary", [False, True])
def test_too_many_categories_are_refused_before_they_are_python_objects(
    tmp_path: Path, how: dict[str, str], dictionary: bool
) -> None:
    """Objects take ten times the memory of Arrow's numbers: a file of 56 kB took 4 GiB."""
    path, values = tmp_path / "ids.parquet", pa.array(np.arange(ROWS))
    pq.write_table(pa.table({"a": values.dictionary_encode() if dictionary else values, "b": values}), path)
    tracemalloc.start()
    try:
        refused(lambda: load_table(path, **how), "at most 4,096 values", "'a' has")
        assert tracemalloc.get_traced_memory()[1] < 80 * ROWS
    finally:
        tracemalloc.stop()


def column_by_column(samples: Tensor, coding: Coding) -> Tensor:
    """What a softmax for each categorical column gives, one after another."""
    parts = [samples[:, at].softmax(dim=1) if column.values else samples[:, at] for column, at in coding.placed()]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("lanes", [0, 3])
def test_columns_of_equal_width_share_a_softmax_with_the_same_bits(lanes: int) -> None:
    """A softmax for each column made the export of 5,000 columns take minutes."""
    widths = (3, 3, 0, 2, 2, 2, 17, 3, 0, 0, 5, 5)
    coding = Coding(tuple(Column(f"c{at}", values=tuple(range(width))) for at, width in enumerate(widths)))
    assert [(run.start, run.stop, width) for run, width in coding.runs] == [
        (0, 6, 3),
        (7, 13, 2),
        (13, 30, 17),
        (30, 33, 3),
        (35, 45, 5),
    ]
    wrapped = Categorical(nn.Identity(), coding)
    draws = torch.Generator().manual_seed(0)
    z = 5 * torch.randn(*((lanes,) if lanes else ()), 64, coding.width, generator=draws)
    weights = torch.randn(z.shape, generator=draws)

    def grown(function: Any) -> tuple[Tensor, Tensor]:
        given = z.clone().requires_grad_()
        samples = (torch.func.vmap(function) if lanes else function)(given)
        (gradient,) = torch.autograd.grad((samples * weights).sum(), given)
        return samples, gradient

    for ours, theirs in zip(grown(wrapped), grown(lambda each: column_by_column(each, coding)), strict=True):
        assert torch.equal(ours, theirs)


def test_columns_form_few_runs() -> None:
    widths = [2 + at % 2 for at in range(MOST_RUNS + 1)]
    coding = Coding(tuple(Column(f"c{at}", values=tuple(range(width))) for at, width in enumerate(widths)))
    refused(lambda: Structure("mlp", (coding.width,), coding=coding), "at most 1,000 runs", "order the columns")
    ordered = Coding(tuple(sorted(coding.columns, key=lambda column: column.width)))
    assert Structure("mlp", (ordered.width,), coding=ordered).coding == ordered


@pytest.mark.parametrize(
    "column",
    [
        Column("x", mean=math.inf),
        Column("x", sd=math.nan),
        Column("x", sd=0.0),
        Column("x", sd=5e-324),
        Column("x", values=("a", "b", "a")),
        Column("x", values=("a", 1)),
        Column("x", values=(["a"],)),  # type: ignore[arg-type]
    ],
)
def test_a_coding_is_as_of_a_table(column: Column) -> None:
    refused(lambda: Coding((column,)).check((column.width,)), "a column must have a finite mean and spread", "'x'")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Column("x", knots=tuple(map(float, range(10**5))), scores=tuple(map(float, range(10**5)))), "two to 512"),
        (Column("x", knots=(0.0, 1.0), scores=(0.0, 1e308)), "two to 512"),
        (Column("x", knots=(-1.7e308, 1.7e308), scores=(0.0, 1.0)), "two to 512"),
        (Column("x", masses=tuple(map(float, range(10)))), "at most 9 masses"),
        (Column("x", masses=(None, None)), "masses that differ"),
        (Column("x", values=("a", "b"), form=Form("date")), "must be numbers"),
        (Column("x", values=(True, False), form=Form("date")), "must be numbers"),
        (Column("x", form=Form("text", decimal="")), "a form that this package writes"),
    ],
)
def test_ranks_and_forms_are_as_of_a_table(column: Column, said: str) -> None:
    refused(lambda: Coding((column,)).check((column.width,)), said)


def test_columns_of_a_checkpoint_have_names_of_their_own() -> None:
    """`sample --where a=1,b=2` ended in a traceback of torch."""
    a, b = Column("a"), Column("b")
    refused(lambda: Structure("mlp", (2,), coding=Coding((a, a))), "a name of its own; 'a' is there twice")
    refused(lambda: Structure("mlp", (1,), conditions=Coding((a, a))), "a name of its own; 'a'")
    both = {"coding": Coding((a, b)), "conditions": Coding((b,))}
    refused(lambda: Structure("mlp", (2,), **both), "a name of its own; 'b'")  # type: ignore[arg-type]
    refused(lambda: Structure("mlp", (1,), coding=Coding((a,), "a", 1)), "a name of its own; 'a'")


@pytest.mark.parametrize("kind", ["date", "stamp", "instant", "time", "duration", "%d.%m.%Y", "%H:%M", "text"])
def test_a_number_without_end_is_written_in_each_form(kind: str) -> None:
    coding = Coding((Column("x", 0.0, 1e308, places=2, form=Form(kind)),))
    assert len(rows_of(torch.tensor([[-10.0], [10.0]]), coding)) == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([2**31 - 1 - at for at in range(ROWS_OF_DATES)], pa.int32()).cast(pa.date32()), "1 to 9999"),
        (pa.array([2**61 + at for at in range(ROWS_OF_DATES)]).cast(pa.timestamp("s")), "1 to 9999"),
        (pa.array([2**61 + at for at in range(ROWS_OF_DATES)]).cast(pa.duration("s")), "durations above"),
    ],
)
def test_times_out_of_range_are_refused(values: pa.Array, said: str) -> None:
    """A cast to microseconds made other times of them."""
    found = read_column("x", pa.chunked_array([values]))
    assert found.role == "refused"
    assert said in found.said


def test_the_index_of_a_frame_is_left_out() -> None:
    names = [f"name {at}" for at in range(40)]
    assert read_column("__index_level_0__", pa.chunked_array([names])).role == "left out"
    assert read_column("__index_level_0__", pa.chunked_array([names]), "categories").role == "categories"


def test_a_decimal_of_many_places_is_kept_as_its_coding_says(tmp_path: Path) -> None:
    path = tmp_path / "decimal.parquet"
    values = [decimal.Decimal(at * 7919 % 1009).scaleb(-2) for at in range(400)]
    pq.write_table(pa.table({"x": pa.array(values, pa.decimal256(76, 38))}), path)
    coding = load_table(path).coding
    assert coding is not None
    assert coding.columns[0].knots
    assert Coding.from_json(json.loads(json.dumps(coding.as_json()))) == coding


def test_very_many_conditions_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search through lists took over 100 s for 65,536 columns: it compares each name with half of the others."""

    class Name(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Name.compared += 1
            return str.__eq__(self, other)

    names = [Name(f"c{at}") for at in range(1_000)]
    table = Table("t", "t", {"all": pa.table({name: pa.array([], pa.float64()) for name in names})})
    asked = Asked(condition=names[1:], numeric=names[1:], drop=[])
    monkeypatch.setattr(
        tables, "read_column", lambda name, column, kind, *_: ColumnReading(name, "number", kind, column)
    )
    found = tables.read_columns(table, asked)
    assert Name.compared < 20 * len(names)
    assert [each.said for each in found[:2]] == ["", "numbers"]


def test_whole_numbers_stay_in_their_range() -> None:
    coding = Coding((Column("x", 0.0, 1e300, whole=True),))
    assert rows_of(torch.tensor([[-1e10], [0.0], [1e10]]), coding)["x"].to_pylist() == [-(2**53), 0, 2**53]


def test_rows_that_arrow_refuses_are_refused_in_one_line() -> None:
    coding = Coding((Column("x", values=(0, 2**70)),))
    refused(lambda: rows_of(torch.tensor([[0.0, 1.0]]), coding), "the columns of rows must be as a table has them")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1' + "0" * 400 + "}", "401 digits"),
        (r'{"a": "\ud800"}', "surrogates"),
        (r'{"\uD800": 1}', "surrogates"),
    ],
)
def test_json_that_no_sweep_writes_is_refused_where_it_is_read(content: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(content.encode())


def test_json_that_a_sweep_writes_is_read() -> None:
    given = {"a": [1, -(2**63), 1.5, None, True, "\U0001f600\\ud800"], "b": {"c": [[{}]]}, "d": math.inf}
    assert parse_json(json.dumps(given).encode()) == given


@pytest.fixture
def kept(tmp_path: Path) -> Folder:
    """A checkpoint."""
    structure = Structure("mlp", (1, 4, 4), latent_dim=3, network_options={"generator": {"widths": [4]}})
    state = TrainingState.initial(structure, 0, torch.device("cpu"))
    trial = Trial(0, 0, Hyper(10.0, 1e-4, 1e-4, 5, 0.0, 0.9))
    return checkpoint.write(Folder.at(tmp_path), Checkpoint(trial, structure, 10, state, {}))


def test_a_manifest_of_endless_files_is_damaged(kept: Folder) -> None:
    manifest = kept.json("manifest.json")
    manifest["trial.json"]["bytes"] = math.inf
    kept.write("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(DamagedCheckpoint):
        checkpoint.read(kept)


def test_weights_have_the_dtype_of_the_structure(kept: Folder) -> None:
    found = checkpoint.read(kept)
    averaged_generator(found)
    found.state.average = {name: tensor.half() for name, tensor in found.state.average.items()}
    refused(lambda: averaged_generator(found), "must be of the dtype of its structure, float32")
    double = Structure("mlp", (1, 4, 4), latent_dim=3, dtype="float64")
    state = TrainingState.initial(double, 0, torch.device("cpu"))
    averaged_generator(Checkpoint(found.trial, double, 10, state, {}))
    state.average = {name: tensor.float() for name, tensor in state.average.items()}
    refused(lambda: averaged_generator(Checkpoint(found.trial, double, 10, state, {})), "its structure, float64")


def test_a_folder_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(Path, "rglob", endless)
    refused(lambda: load_table(tmp_path), "--data must be a path that can be read")


def test_csv_of_many_columns_is_read_in_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array for each column of each MiB took 3 GiB for a file of 40 MB."""
    path, row = tmp_path / "wide.csv", ",".join(["12345"] * 1000)
    path.write_text("\n".join([",".join(f"c{at}" for at in range(1000)), *[row] * 500]))
    assert read_csv(path, Memory([path], path)).table["c0"].num_chunks > 1
    monkeypatch.setattr(csv_file, "CSV_ARRAYS", 1000)
    table = read_csv(path, Memory([path], path)).table
    assert (table.shape, table["c0"].num_chunks) == ((500, 1000), 1)
