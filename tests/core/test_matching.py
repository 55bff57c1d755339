"""Rows with asked-for values: which rows match, which requests are refused, and which rows a seed gives."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from sweeps.cli import main
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.data.folder import Folder
from wgan_core.data.forms import Form
from wgan_core.data.rows import rows_of
from wgan_core.errors import UserError
from wgan_core.sampling import matching
from wgan_core.sampling.matching import RowFilter, matching_samples
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

CODING = Coding(
    (
        Column("cut", values=("Fair", "Ideal", "a, b = c")),
        Column("is new", values=(False, True)),
        Column("age", 40.0, 10.0, whole=True, masses=(0.0, None)),
        Column("grade", values=(1.0, 2.5, 4.0, None)),
        Column("day", 18_262.0, 300.0, places=0, form=Form("%m/%d/%Y")),
        Column("price", 1_000.0, 200.0, places=2, form=Form("text", "$", "", True)),
        Column("a,b=c", 0.0, 1.0, places=1),
        Column("unit", values=("mm",)),
    ),
    label="ill",
    positive="yes",
)


@pytest.fixture(scope="module")
def made() -> Checkpoint:
    structure = Structure("mlp", (CODING.width,), latent_dim=3, coding=CODING, gumbel=0.2)
    state = TrainingState.initial(structure, 0, torch.device("cpu"))
    # A generator that is not trained gives almost equal rows.
    for tensor in state.average.values():
        tensor.mul_(4)
    return Checkpoint(Trial(0, 0, Hyper(10.0, 1e-4, 1e-4, 5, 0.0, 0.9)), structure, 1, state, {"eval/a": 2.0})


@pytest.fixture(scope="module")
def samples(made: Checkpoint) -> torch.Tensor:
    return torch.randn(2_000, CODING.width, generator=torch.Generator().manual_seed(0))


DAY = datetime.date(2020, 1, 1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("cut", "Ideal", lambda cut: cut == "Ideal"),
        ("cut", "a, b = c", lambda cut: cut == "a, b = c"),
        ("is new", "TRUE", lambda new: new is True),
        ("is new", False, lambda new: new is False),
        ("age", "", lambda age: age is None),
        ("age", None, lambda age: age is None),
        ("age", "0", lambda age: age == 0),
        ("age", "30..40", lambda age: age is not None and 30 <= age <= 40),
        ("age", (None, 40), lambda age: age is not None and age <= 40),
        ("age", "40..", lambda age: age is not None and age >= 40),
        ("grade", "2.5", lambda grade: grade == 2.5),
        ("grade", 4, lambda grade: grade == 4),
        ("grade", "2..4", lambda grade: grade in (2.5, 4)),
        ("grade", "", lambda grade: grade is None),
        ("day", "1/5/2020..", lambda day: _date(day) >= datetime.date(2020, 1, 5)),
        ("day", "2019-06-01..2020-01-01", lambda day: datetime.date(2019, 6, 1) <= _date(day) <= DAY),
        ("day", (DAY, datetime.date(2020, 3, 1)), lambda day: DAY <= _date(day) <= datetime.date(2020, 3, 1)),
        ("price", "$1,100.00..", lambda price: float(price.translate({36: None, 44: None})) >= 1_100),
        ("price", (900, 1_000), lambda price: 900 <= float(price.translate({36: None, 44: None})) <= 1_000),
        ("a,b=c", "0.3", lambda number: number == 0.3),
        ("unit", "mm", lambda unit: unit == "mm"),
        ("ill", "yes", lambda ill: ill == "yes"),
    ],
)
def test_the_rows_that_match_are_those_that_a_file_shows(
    samples: torch.Tensor, name: str, value: Any, expected: Any
) -> None:
    kept = RowFilter.of(CODING, {name: value})(samples)
    written = rows_of(samples, CODING)[name].to_pylist()
    assert kept.tolist() == [bool(expected(each)) for each in written]
    assert kept.any()


def _date(text: str) -> datetime.date:
    return datetime.datetime.strptime(text, "%m/%d/%Y").date()


def test_all_values_must_match(samples: torch.Tensor) -> None:
    both = RowFilter.of(CODING, {"cut": "Fair", "age": "..40"})(samples)
    one, other = (RowFilter.of(CODING, each)(samples) for each in ({"cut": "Fair"}, {"age": "..40"}))
    assert torch.equal(both, one & other)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"cot": "Fair"}, "must name columns that the generator learnt; given 'cot'; the nearest known ones are cut"),
        (
            {"id\x1b[0m": "1"},
            r"given 'id\x1b[0m'; known ones are cut, is new, age, grade, day, price, a,b=c, unit, ill:",
        ),
        ({"cut": "ideal"}, "given 'ideal' for 'cut'; the nearest known ones are Ideal"),
        ({"cut": ""}, "given a missing value for 'cut'; known ones are Fair, Ideal, a, b = c"),
        ({"unit": "cm"}, "values that columns had in training; given 'cm' for 'unit'; the nearest known ones are mm"),
        ({"price": ""}, "--where asks for missing values of columns that have some; 'price' had none in training"),
        (
            {"age": "old"},
            "must give 'age' a number, or a range with the lower end first; given 'old': write 40, or 40..",
        ),
        ({"age": "nan"}, "given 'nan'"),
        ({"age": "40..30"}, "given '40..30'"),
        (
            {"day": "31/12/2020"},
            "must give 'day' a date, or a range with the lower end first; given '31/12/2020': write",
        ),
        ({"grade": "9"}, "given '9' for 'grade'"),
    ],
)
def test_what_cannot_match_is_refused_in_one_line(where: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        RowFilter.of(CODING, where)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_seed_gives_the_same_rows_and_a_larger_count_gives_more(made: Checkpoint) -> None:
    """Also across batches, and each as often as the generator draws it."""
    rows = RowFilter.of(CODING, {"a,b=c": "0.."})
    told: list[tuple[int, int]] = []
    few, many = (matching_samples(made, rows, count, 3, lambda *each: told.append(each)) for count in (10, 6_000))
    assert torch.equal(many[:10], few)
    assert bool(rows(many).all())
    assert len(many) == told[-1][1] == 6_000
    assert not torch.equal(matching_samples(made, rows, 10, 4), few)


def test_rows_that_are_too_rare_are_refused_early(made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    never = RowFilter.of(CODING, {"age": "1e9.."})
    monkeypatch.setattr(matching, "MOST_DRAWS", 20_000)
    with pytest.raises(UserError, match=r"; 0 of 20,000 that were drawn match age=1e9.., too few for 1 among 20,000 "):
        matching_samples(made, never, 1, 0)
    with pytest.raises(UserError, match=r"; 0 of 15,000 that were drawn match .* too few for 20 among 20,000 draws: w"):
        matching_samples(made, never, 20, 0)


def test_the_command_writes_rows_with_the_values(
    made: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and values may have commas, spaces and the sign =."""
    folder = str(checkpoints.write(Folder.at(tmp_path / "kept"), made))
    out = tmp_path / "rows.parquet"

    def sampled(*where: str) -> int:
        given = [each for value in where for each in ("--where", value)]
        return main(["sample", folder, *given, "--n", "7", "--out", str(out)])

    assert sampled('"a,b=c=-9..9", ill=yes', '"unit=mm"') == 0
    assert capsys.readouterr().out == f"7 rows in {out}\n"
    rows = parquet.read_table(out)
    assert np.abs(rows["a,b=c"].to_numpy()).max() <= 9
    expected = matching_samples(made, RowFilter.of(CODING, {"a,b=c": (-9, 9)}), 7, 0)
    assert rows.equals(pa.table(rows_of(expected, CODING)))
    assert sampled("unit=mm", "unit=mm") == 2
    assert "--where must give each column one value; given 'mm' and 'mm' for 'unit'" in capsys.readouterr().err
    assert sampled("Unit=mm") == 2
    assert "given 'Unit'; the nearest known ones are unit" in capsys.readouterr().err
