"""Which files below a data folder are data, and of which split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wgan_core.data.images import has_images
from wgan_core.data.splits import SPLITS, find_files
from wgan_core.data.tables import load_table
from wgan_core.errors import UserError

BOTH = (".parquet", ".csv")


def found(folder: Path, *files: str) -> dict[str, str]:
    """Return the split of each data file, by its path, in a folder that holds these files."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return {str(path.relative_to(folder)): split for split, path in find_files(folder, BOTH)[1]}


@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints/table-checkpoint.csv",
        "__MACOSX/table.csv",
        "__MACOSX/._table.csv",
        "._table.csv",
        ".table.csv",
        "_temporary/0/part-0.parquet",
        "_delta_log/00000000000000000010.checkpoint.parquet",
        "sub/.cache/x.parquet",
        "~$table.csv",
        "$RECYCLE.BIN/table.csv",
        "_SUCCESS",
        ".DS_Store",
        "Thumbs.db",
    ],
)
def test_hidden_files_are_no_data(hidden: str, tmp_path: Path) -> None:
    assert found(tmp_path, "table.csv", hidden) == {"table.csv": "all"}


def test_a_copy_of_jupyters_leaks_no_row_into_training(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    text = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows)
    hidden = tmp_path / ".ipynb_checkpoints"
    hidden.mkdir()
    for file in (tmp_path / "table.csv", hidden / "table-checkpoint.csv"):
        file.write_text(text)
    dataset = load_table(tmp_path)
    assert sum(len(getattr(dataset, name)) for name in SPLITS) == 200
    assert dataset.notice == ""


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    assert found(tmp_path / ".data", "table.csv") == {"table.csv": "all"}


def test_partitions_of_hive_are_data(tmp_path: Path) -> None:
    files = ("_year=2025/a.parquet", "_year=2026/a.parquet")
    assert found(tmp_path, *files) == dict.fromkeys(files, "all")


def test_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    assert found(tmp_path, "A.CSV", "b.Parquet") == {"A.CSV": "all", "b.Parquet": "all"}


def test_a_folder_of_hidden_files_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds none but hidden ones, whose names begin with one of \. _ ~ \$"):
        found(tmp_path, "_table.csv")


@pytest.mark.parametrize(
    "splits",
    [
        {"train/0000.parquet": "train", "validation/0000.parquet": "validation", "test/0000.parquet": "test"},
        {"default/train/0000.parquet": "train", "default/test/0000.parquet": "test"},
        {"default/partial-train/0000.parquet": "train", "default/partial-test/0000.parquet": "test"},
        {"train/a.csv": "train", "train/more/b.csv": "train", "test/a.csv": "test"},
        {"split=train/a.parquet": "train", "split=test/a.parquet": "test"},
        {"Train/a.csv": "train", "VAL/a.csv": "validation", "testing/a.csv": "test"},
        {"data/train-00000-of-00001.parquet": "train", "data/test-00000-of-00001.parquet": "test"},
        {"train.csv": "train", "dev/x.csv": "validation", "evaluation/x.csv": "test"},
        {"dev/x.csv": "all", "val/x.csv": "all"},
        {"train.csv": "train", "test/0.csv": "test"},
        {"val_1.csv": "all", "val_2.csv": "all"},
        {"trains/a.csv": "all", "tests/a.csv": "all"},
    ],
    ids=lambda splits: next(iter(splits)),
)
def test_folders_and_names_say_splits(splits: dict[str, str], tmp_path: Path) -> None:
    assert found(tmp_path, *splits) == splits


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("train/a.csv", "b.csv"), r"b\.csv does not and others do"),
        (("validation/a.csv", "test/a.csv"), "must include a train split; there is test, validation"),
        (("train/test_1.csv", "validation/a.csv"), r"train/test_1\.csv says test and train: rename or move it"),
        (("de/train/0.csv", "fr/train/0.csv"), "lie in de, fr: give --data one of these"),
        (("de/train/0.csv", "test/0.csv"), r"lie in \., de: give --data one of these"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_names_that_fit_no_splits_are_refused(files: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        found(tmp_path, *files)


def test_the_first_file_that_tells_images_is_no_hidden_one(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"", "path": None}], kind)}), tmp_path / "a.parquet")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a.csv").write_text("a\n1\n")
    assert has_images(tmp_path)
