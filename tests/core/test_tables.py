"""Tables become standardised and one-hot samples as pandas and scikit-learn make them, and come back as they were."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import csv
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler

from tests.core.refusal import refused
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.rows import rows_of
from wgan_core.data.splits import read_table
from wgan_core.data.tables import BUNDLED, Asked, interpreted, load_table, read, split_rows
from wgan_core.networks.network import build
from wgan_core.sampling.generator import averaged_generator, program
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

ROWS = 60
SPLITS = ("train", "validation", "test")


def columns(rows: int = ROWS) -> dict[str, Any]:
    """A number, a whole number far from zero, true and false, two kinds of categories, and a class."""
    rng = np.random.Generator(np.random.PCG64(7))
    return {
        "height": rng.normal(170, 9, rows),
        "year": pa.array(rng.integers(1_900_000_000, 1_900_000_050, rows)),
        "smoker": [bool(each) for each in np.arange(rows) % 2],
        "colour": pa.array([["red", "green", "blue"][row % 5 % 3] for row in range(rows)]).dictionary_encode(),
        "town": [["Ulm", "Aachen"][row % 2] for row in range(rows)],
        "ill": ["no", "no", "yes"] * (rows // 3),
    }


def write(path: Path, found: dict[str, Any] | pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = found if isinstance(found, pa.Table) else pa.table(found)
    if path.suffix == ".csv":
        decoded = {field.name: table[field.name] for field in table.schema}
        decoded |= {name: each.cast(pa.string()) for name, each in decoded.items() if pa.types.is_dictionary(each.type)}
        csv.write_csv(pa.table(decoded), path)
    else:
        pq.write_table(table, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "people.parquet", columns())


def splits(dataset: Dataset) -> list[Split]:
    return [dataset.train, dataset.validation, dataset.test]


def coding_of(dataset: Dataset) -> Coding:
    assert dataset.coding is not None
    return dataset.coding


def rows_in(path: Path | str, label: str | None = None, **asked: Any) -> dict[str, pa.Table]:
    """The rows of each split as they are read."""
    return split_rows(interpreted(read(path), Asked(label, **asked)), label)


def test_samples_are_those_of_pandas_and_scikit_learn(file: Path) -> None:
    """StandardScaler fitted to the training rows, and get_dummies."""
    dataset = load_table(file, coding="standard")
    tables = {name: rows.to_pandas() for name, rows in rows_in(file).items()}
    assert {name: len(rows) for name, rows in tables.items()} == {"train": 48, "validation": 6, "test": 6}
    scaler = StandardScaler().fit(tables["train"][["height", "year"]].astype(float))
    for name, split in zip(SPLITS, splits(dataset), strict=True):
        rows = tables[name]
        wanted = [
            scaler.transform(rows[["height", "year"]].astype(float)),
            pd.get_dummies(rows["smoker"]).to_numpy(),
            *(pd.get_dummies(rows[each].astype(str)).to_numpy() for each in ("colour", "town", "ill")),
        ]
        np.testing.assert_allclose(split.values, np.concatenate(wanted, axis=1), rtol=1e-6, atol=1e-7)
        assert split.values.dtype == np.float32
    kinds = {column.name: column.values for column in coding_of(dataset).columns}
    assert kinds["smoker"] == (False, True)
    assert kinds["colour"] == ("blue", "green", "red")
    assert [column.whole for column in coding_of(dataset).columns[:2]] == [False, True]
    assert dataset.name == "table:people"


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_rows_come_back_from_samples(name: str, tmp_path: Path) -> None:
    """In order, with their types; whole numbers and categories exactly, though float32 cannot hold such a year."""
    file = write(tmp_path / name, columns())
    dataset = load_table(file, coding="standard")
    for split, rows in zip(splits(dataset), rows_in(file).values(), strict=True):
        found = rows_of(torch.from_numpy(split.values), coding_of(dataset))
        assert found.column_names == list(columns())
        assert [str(kind) for kind in found.schema.types] == ["double", "int64", "bool", "string", "string", "string"]
        for column in found.column_names[1:]:
            assert found[column].to_pylist() == rows[column].to_pylist()
        np.testing.assert_allclose(found["height"], rows["height"], rtol=1e-6)


def test_a_csv_file_is_the_same_data_as_a_parquet_file(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "people.csv", columns())
    assert load_table(other).digest == load_table(file).digest


def test_whole_numbers_of_samples_are_rounded_as_stored(file: Path) -> None:
    """What a metric sees of generated rows is what is read again from their file."""
    coding = coding_of(load_table(file, drop=["ill"], coding="standard"))
    samples = torch.randn(40, coding.width, generator=torch.Generator().manual_seed(0))
    stored, rows = coding.as_stored(samples), rows_of(samples, coding)
    assert rows.equals(rows_of(stored, coding))
    year = coding.columns[1]
    wanted = (np.asarray(rows["year"]) - year.mean) / year.sd
    np.testing.assert_array_equal(stored[:, 1].numpy(), wanted.astype(np.float32))


def test_rows_of_one_class_are_those_of_the_split_of_all(file: Path) -> None:
    """A tenth of each class is held out before the others are left out, and so is the label."""
    dataset = load_table(file, "ill", "yes", coding="standard")
    rows = rows_in(file, "ill")
    assert [each["ill"].to_pylist().count("yes") for each in rows.values()] == [16, 2, 2]
    assert [each["ill"].to_pylist().count("no") for each in rows.values()] == [32, 4, 4]
    for split, table in zip(splits(dataset), rows.values(), strict=True):
        found = rows_of(torch.from_numpy(split.values), coding_of(dataset))
        assert found["ill"].to_pylist() == ["yes"] * len(split)
        kept = table.filter(pa.array([each == "yes" for each in table["ill"].to_pylist()]))
        assert found["year"].to_pylist() == kept["year"].to_pylist()
    coding = coding_of(dataset)
    assert (coding.label, coding.positive) == ("ill", "yes")
    assert "ill" not in [column.name for column in coding.columns]
    np.testing.assert_allclose(dataset.train.values[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.values[:, 0].std(), 1, rtol=1e-5)


def test_a_label_alone_is_a_column_and_holds_out_a_tenth_of_each_class(file: Path) -> None:
    coding = coding_of(load_table(file, "ill"))
    assert coding.label == "ill"
    assert coding.positive is None
    assert coding.columns[-1].values == ("no", "yes")
    whole, one = rows_in(file, "ill"), rows_in(file, "ill", drop=["town"])
    assert whole["test"]["year"].equals(one["test"]["year"])


@pytest.mark.parametrize(
    ("values", "text", "value"), [([False, True], "true", True), ([0, 1], "1", 1), (["a", "b"], "b", "b")], ids=str
)
def test_a_class_is_named_as_files_have_it(values: list[Any], text: str, value: object, tmp_path: Path) -> None:
    found = {**columns(), "ill": [values[row % 2] for row in range(ROWS)]}
    dataset = load_table(write(tmp_path / "t.parquet", found), "ill", text, drop=["town", "smoker"])
    assert coding_of(dataset).positive == value


def test_splits_of_files_are_kept(tmp_path: Path) -> None:
    """A column is one type over all files: whole in one CSV file and not in another is not whole."""
    found = pa.table(columns()).select(["height", "year", "smoker"])
    write(tmp_path / "train-0.csv", found.slice(0, 20))
    write(tmp_path / "train-1.csv", found.slice(20, 20).set_column(1, "year", pa.array(np.arange(20) + 0.5)))
    write(tmp_path / "validation.csv", found.slice(40, 8).select(["smoker", "height", "year"]))
    write(tmp_path / "test.csv", found.slice(48, 12))
    dataset = load_table(tmp_path)
    assert [len(split) for split in splits(dataset)] == [40, 8, 12]
    rows = rows_of(torch.from_numpy(dataset.test.values), coding_of(dataset))
    assert rows["smoker"].equals(found.slice(48, 12)["smoker"])
    assert not coding_of(dataset).columns[1].whole


@pytest.mark.parametrize("name", BUNDLED)
def test_tables_of_scikit_learn(name: str) -> None:
    dataset = load_table(name)
    assert dataset.name == f"table:{name}"
    assert coding_of(dataset).columns[-1].name == BUNDLED[name]
    assert sum(len(split) for split in splits(dataset)) == {"breast-cancer": 569, "wine": 178, "iris": 150}.get(
        name, 442
    )


def test_breast_cancer_and_wine_are_what_scikit_learn_has() -> None:
    cancer = load_breast_cancer()
    rows = pa.concat_tables([each.drop_columns("diagnosis") for each in rows_in("breast-cancer").values()])
    assert rows.column_names == list(cancer.feature_names)
    np.testing.assert_array_equal(np.sort(rows.to_pandas().to_numpy(), axis=0), np.sort(cancer.data, axis=0))
    malignant = load_table("breast-cancer", "diagnosis", "malignant")
    assert [len(split) for split in splits(malignant)] == [170, 21, 21]
    whole = [column.name for column in coding_of(load_table("wine")).columns if column.whole]
    wine = load_wine()
    assert whole == [name for name, each in zip(wine.feature_names, wine.data.T, strict=True) if (each % 1 == 0).all()]


def test_a_generator_for_a_table_has_no_bounds(file: Path) -> None:
    """The MLP's output is linear, where columns are standardised, and shares of one, where they are categories."""
    dataset = load_table(file, categorical=["town", "ill"])
    coding = coding_of(dataset)
    _, generator = build(Structure("mlp", dataset.sample_shape, latent_dim=3, coding=coding))
    samples = generator.eval()(1e4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    assert samples[:, :2].abs().max() > 2
    for block in coding.blocks:
        torch.testing.assert_close(samples[:, block].sum(1), torch.ones(50))
    options = {"generator": {"output": "tanh"}}
    structure = Structure("mlp", dataset.sample_shape, latent_dim=3, coding=coding, network_options=options)
    assert build(structure)[1].eval()(1e4 * torch.randn(50, 3))[:, :2].abs().max() <= 1


def test_a_generator_of_categories_is_exported(file: Path) -> None:
    dataset = load_table(file, categorical=["town", "ill"])
    structure = Structure("mlp", dataset.sample_shape, latent_dim=3, coding=dataset.coding)
    state = TrainingState.initial(structure, 0, torch.device("cpu"))
    checkpoint = Checkpoint(Trial(0, 0, Hyper(10.0, 1e-4, 1e-4, 1, 0.0, 0.9)), structure, 9, state, {})
    again = torch.export.load(io.BytesIO(program(checkpoint))).module()
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(z), averaged_generator(checkpoint)(z))


# What is refused


def with_gap(name: str, value: object, row: int = 17) -> dict[str, Any]:
    found = {key: list(pa.array(each).to_pylist()) for key, each in columns().items()}
    found[name][row] = value
    return found


COLUMNS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (with_gap("height", float("-inf")), ("'height' is numbers, but -inf in row 17", "fill or drop", "--drop height")),
    ({"path": [[1.0, 2.0]] * ROWS, **columns()}, ("'path' is of type list<", "--drop path")),
    (
        {"tags": pa.array([["a"]] * ROWS, pa.list_(pa.string_view())), **columns()},
        ("'tags' is of type list<", "--drop tags"),
    ),
    (
        {"raw": pa.array([b"a"] * ROWS, pa.binary_view()), **columns()},
        ("'raw' is text that is not UTF-8", "--drop raw"),
    ),
    ({"big": [10.0**300 * row for row in range(ROWS)]}, ("that of 'big'", "change its unit")),
    ({"one": [1.5] * ROWS}, ("a column whose values differ", "all 1 columns are constant")),
]


@pytest.mark.parametrize(("found", "parts"), COLUMNS, ids=[" ".join(parts)[:40] for _, parts in COLUMNS])
def test_a_column_that_cannot_be_coded_is_named(found: dict[str, Any], parts: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", found)
    refused(lambda: load_table(path), *parts)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (list(range(0, ROWS << 40, 1 << 40))[::-1], ("float32 keeps them", "of 'n', ", "--drop n")),
        ([2**62 + row for row in range(ROWS)], ("that of 'n'", "change its unit")),
        ([2**54 + 99 * row for row in range(ROWS)], ("must be below 2^53", "of 'n', ", "--drop n")),
    ],
    ids=["far apart", "no spread", "too large"],
)
def test_whole_numbers_that_a_standardised_column_would_lose_are_refused(
    values: list[int], parts: tuple[str, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "t.parquet", {"n": values})
    refused(lambda: load_table(path, coding="standard"), *parts)


def test_all_columns_at_fault_are_named_at_once(tmp_path: Path) -> None:
    text = [f"this is a comment of many words on the case {row}" for row in range(ROWS)]
    found = {**columns(), "comment, long": text, "path": [[1.0]] * ROWS, "note": text}
    path = write(tmp_path / "t.parquet", found)
    remedy = """--drop '"comment, long",path,note'"""
    refused(lambda: load_table(path), "'comment, long' is free text", "'path' is of type list", remedy)
    refused(lambda: load_table(path, drop_text=True), "'path' is of type list", "--drop path")
    dataset = load_table(path, drop=["path"], drop_text=True)
    assert "left out: 'comment, long' (free text" in dataset.notice
    assert [column.name for column in coding_of(dataset).columns] == [*columns()]


def test_whole_numbers_are_kept_up_to_what_float32_can(tmp_path: Path) -> None:
    """Half of 2^24 on both sides of the mean."""
    for top, kept in ((2**24 - 2, True), (2**27, False)):
        found = write(tmp_path / "t.parquet", {"n": [0, 1, top - 1, top] * 15})
        if kept:
            load_table(found, numeric=["n"], coding="standard")
        else:
            refused(lambda found=found: load_table(found, numeric=["n"], coding="standard"), "of 'n', ")


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ({"label": "sick"}, ("--label must name columns", "height, year", "given 'sick'")),
        ({"categorical": ["twon"]}, ("--categorical must name columns", "given 'twon'")),
        ({"drop": ["x"]}, ("--drop must name columns", "given 'x'")),
        (
            {"label": "ill", "positive": "maybe", "categorical": ["town"]},
            ("--positive-class must be a value", "'ill'", "no, yes; given 'maybe'"),
        ),
        ({"positive": "yes"}, ("--positive-class needs --label", "name the column by --label too")),
        (
            {"label": "ill", "positive": "yes", "drop": ["height", "year", "smoker", "colour", "town", "rare"]},
            ("must have columns besides 'ill'", "none left", "drop fewer"),
        ),
        ({"label": "ill", "drop": ["ill"]}, ("--drop has 'ill' too",)),
        ({"label": "height", "drop": ["town", "ill"]}, ("'height' is read as numbers", "number the classes")),
        ({"drop": [*columns(), "rare"]}, ("leaves", "none: drop fewer")),
        (
            {"label": "rare", "positive": "1", "drop": ["town", "ill"]},
            ("at least 2 rows whose rare is 1", "validation of"),
        ),
    ],
    ids=str,
)
def test_what_is_asked_of_a_table_must_be_there(asked: dict[str, Any], parts: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {**columns(), "rare": [int(row < 15) for row in range(ROWS)]})
    refused(lambda: load_table(path, **asked), *parts)


def test_a_category_that_only_held_out_rows_have_is_known(tmp_path: Path) -> None:
    """Of one class only, if only its rows are learnt. Training has no row of it, so a generator cannot learn it."""
    found = pa.table({"n": np.arange(40.0), "kind": ["a", "b"] * 20, "ill": [0, 0, 1, 1] * 10})
    odd = pa.table({"n": np.arange(8.0), "kind": ["a", "c"] * 4, "ill": [0, 0, 1, 1] * 2})
    for name, rows in (("train", found), ("validation", found), ("test", odd)):
        write(tmp_path / f"{name}.parquet", rows)
    for dataset in (load_table(tmp_path), load_table(tmp_path, "ill", "1")):
        (kind,) = (column for column in coding_of(dataset).columns if column.name == "kind")
        assert kind.values == ("a", "b", "c")
        rows_of(torch.from_numpy(dataset.test.values), coding_of(dataset))


def test_constant_columns_are_written_back_and_take_no_input(tmp_path: Path) -> None:
    """Constant in the table, or in the class that is learnt."""
    found = {
        "one": [1.5] * ROWS,
        "none": pa.array([None] * ROWS, pa.float64()),
        "yes": [True] * ROWS,
        "n": np.arange(ROWS),
        "m": np.arange(ROWS) % 2 * np.arange(ROWS),
        "ill": np.arange(ROWS) % 2,
    }
    path = write(tmp_path / "t.parquet", found)
    whole, of_class = load_table(path), load_table(path, "ill", "0")
    assert "constant, and written back: 'one', 'none', 'yes'" in whole.notice
    assert [column.name for column in coding_of(whole).columns if not column.width] == ["one", "none", "yes"]
    assert [column.name for column in coding_of(of_class).columns if not column.width] == ["one", "none", "yes", "m"]
    rows = rows_of(torch.from_numpy(of_class.train.values), coding_of(of_class))
    assert set(zip(*(rows[name].to_pylist() for name in ("one", "none", "yes", "m", "ill")), strict=True)) == {
        (1.5, None, True, 0, 0)
    }


def test_a_label_is_not_to_be_dropped(tmp_path: Path) -> None:
    """What an error proposes instead can be done."""
    remedy = "name another --label, or give --drop ill in place of --label"
    path = write(tmp_path / "t.parquet", {"n": range(ROWS), "ill": ["yes"] * ROWS})
    refused(lambda: load_table(path, "ill"), "'ill' is always yes", remedy)
    gap = write(tmp_path / "gap.parquet", {"n": range(ROWS), "ill": [None, *["yes", "no", "no"] * 19, "no", "no"]})
    refused(lambda: load_table(gap, "ill"), "row 0 of", "has none", remedy)
    for each in (path, gap):
        load_table(each, drop=["ill"])


def test_types_for_which_pyarrow_lacks_functions(tmp_path: Path) -> None:
    """As the same values in types that are more common."""
    numbers, words = columns()["height"].astype(np.float16), columns()["ill"]
    found = {"n": pa.array(numbers), "ill": pa.array(words, pa.string_view())}
    dataset = load_table(write(tmp_path / "t.parquet", found), "ill", "yes")
    common = {"n": pa.array(numbers.astype(np.float32)), "ill": pa.array(words)}
    wanted = load_table(write(tmp_path / "other.parquet", common), "ill", "yes")
    assert (dataset.digest, dataset.coding) == (wanted.digest, wanted.coding)


def test_csv_files_of_windows_are_read(tmp_path: Path) -> None:
    lines = "\n".join(f"{row},caf\xe9 {row % 2}" for row in range(ROWS))
    path = tmp_path / "t.csv"
    path.write_text(f"n,plac\xe9\n{lines}", encoding="latin-1")
    column = coding_of(load_table(path)).columns[1]
    assert (column.name, column.values) == ("placé", ("café 0", "café 1"))


def test_the_train_split_that_is_wanted_is_of_the_files_kind(tmp_path: Path) -> None:
    for name in ("test.csv", "validation.csv"):
        write(tmp_path / name, {"n": range(ROWS)})
    refused(lambda: load_table(tmp_path), "must include a train split", "there is test, validation", "add train*.csv")


def test_a_folder_of_csv_files_of_all_kinds(tmp_path: Path) -> None:
    """Not of text files: a folder often holds a README.txt, which is read only if it is named itself."""
    rng, parts = np.random.default_rng(8), {}
    for name in ("train.CSV", "train-1.csv.gz", "validation.Tsv", "test.TSV.GZ"):
        separator = "\t" if "tsv" in name.lower() else ","
        text = (
            separator.join(("a", "b"))
            + "\n"
            + "".join(f"{x:.3f}{separator}{row}\n" for row, x in enumerate(rng.normal(size=30)))
        )
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.lower().endswith("gz") else text.encode())
        parts[name] = text
    (tmp_path / "README.txt").write_text("no table\n")
    assert [len(split) for split in splits(load_table(tmp_path))] == [60, 30, 30]
    (tmp_path / "named.TXT").write_text(parts["validation.Tsv"])
    assert len(read(tmp_path / "named.TXT").parts["all"]) == 30
    for name in ("train.CSV", "train-1.csv.gz"):
        (tmp_path / name).unlink()
    refused(lambda: load_table(tmp_path), "must include a train split", "add train*.tsv")


def test_a_column_of_csv_is_numbers_if_all_cells_are(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n;x;big;zip;flag;mixed;gap\n1;6,5;1.234,5;02134;true;1;\n-2;7;12,25;10001;False;a;\n;;;;;;\n")
    found = read_table(path)
    assert {name: str(kind) for name, kind in zip(found.column_names, found.schema.types, strict=True)} == {
        "n": "int64", "x": "double", "big": "double", "zip": "string", "flag": "bool", "mixed": "string", "gap": "null",
    }  # fmt: skip
    assert found["x"].to_pylist() == [6.5, 7.0, None]
    assert found["big"].to_pylist() == [1234.5, 12.25, None]
    assert found["flag"].to_pylist() == [True, False, None]
    assert found["zip"].to_pylist() == ["02134", "10001", None]


def test_files_must_agree_on_their_columns(tmp_path: Path) -> None:
    found = pa.table(columns())
    write(tmp_path / "a.parquet", found)
    write(tmp_path / "b.parquet", found.drop_columns("town"))
    refused(lambda: load_table(tmp_path), "b.parquet and a.parquet differ by 'town'", "add or drop it")
    write(tmp_path / "b.parquet", found.set_column(4, "town", pa.array(np.arange(ROWS))))
    refused(lambda: load_table(tmp_path), "one type in all files", "town")


def test_names_must_differ(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n4,5,6\n")
    refused(lambda: load_table(tmp_path / "t.csv"), "'a' is there twice", "rename one")


def test_a_path_or_name_that_is_none(tmp_path: Path) -> None:
    refused(lambda: load_table("brest-cancer"), "Parquet or CSV file", "one of breast-cancer", "brest-cancer does not")
    refused(lambda: load_table(""), "--data must name a Parquet or CSV file", "it is empty")
    refused(lambda: load_table(tmp_path), "must hold *.parquet or *.csv files")
    (tmp_path / "t.csv").write_text("a,b\n1\n")
    refused(lambda: load_table(tmp_path / "t.csv"), "must be a whole CSV file")


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "t.parquet", pa.table(columns()).slice(0, 19))
    refused(
        lambda: load_table(few, categorical=["town", "ill"]), "at least 2 rows", "validation of", "has 1 of 19 rows"
    )
    (tmp_path / "t.csv").write_text("a,b\n")
    refused(lambda: load_table(tmp_path / "t.csv"), "must have rows below its header")


def test_na_may_be_a_country_in_csv(tmp_path: Path) -> None:
    lines = [f"{row / 3},{['NA', 'DE'][row % 2]}" for row in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["n,land", *lines]))
    for how in ({"categorical": ["land"]}, {}):
        assert coding_of(load_table(tmp_path / "t.csv", **how)).columns[1].values == ("DE", "NA")
    (tmp_path / "t.csv").write_text("\n".join(["n,land", *lines[:7], "1.5,", *lines[8:]]))
    assert coding_of(load_table(tmp_path / "t.csv")).columns[1].values == ("DE", "NA", None)
