"""Conditions that are numbers: the options of the script, `sweeps sample --where`, and a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

import sweeps.conditional
from sweeps import run_script
from sweeps.cli import main
from sweeps.engine.plan.arguments import BadArguments
from sweeps.engine.plan.options import Options
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.results import open_results
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.config import Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.data.dataset import Dataset
from wgan_core.data.folder import Folder
from wgan_core.data.splits import read_table
from wgan_core.sampling.generator import read_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

SCRIPT = ROOT / "sweeps" / "conditional.py"
Asked = list[tuple[Options, Dataset, Structure]]
CONDITIONS = Coding((Column("a", 10.0, 2.0), Column("b", 3.0, 1.0, whole=True)))
CODING = Coding((Column("x", 100.0, 5.0), Column("y", 7.0)))


# The script


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the script asks for, without a sweep being run."""
    calls: Asked = []
    monkeypatch.setattr(
        sweeps.conditional,
        "run_sweep",
        lambda options, data, structure, space: calls.append((options, data, structure)),
    )
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["conditional.py", *options])
    return run_script(sweeps.conditional.main)


def test_a_table_has_the_small_networks_of_tables_told_its_conditions(
    monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    assert run(monkeypatch, "--data", "diabetes", "--condition", "bmi, bp", "--drop", "age", "--smoke") == 0
    ((options, dataset, structure),) = asked
    assert (options.name, options.arguments[-2:]) == ("conditional-diabetes-smoke", ("--data", "diabetes"))
    assert structure.conditions == dataset.conditions
    assert [column.name for column in dataset.conditions.columns] == ["bmi", "bp"]  # type: ignore[union-attr]
    assert structure.sample_shape == dataset.sample_shape == (15,)
    assert structure.coding == dataset.coding
    assert (structure.classes, structure.batch_size, structure.networks) == (0, 64, "mlp")
    assert structure.network_options["generator"]["widths"] == [256, 256]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--condition", "a"), "--condition needs data with columns of numbers, and MNIST has none; given a: name a"),
        (("--drop", "a"), "options of tables need a table, whose conditions --condition names; given --drop:"),
        (("--data", "wine", "--condition", "hue", "--preset", "embedded"), "--preset embedded learns codes of labels"),
        (("--data", "wine", "--condition", "hue", "--preset", "projection"), "take square images whose side is"),
        (
            ("--data", "wine", "--condition", "cultivar"),
            "--condition must name columns of numbers; 'cultivar' is read as text",
        ),
        (("--data", "nothing", "--condition", "hue"), "nothing does not exist"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    asked: Asked,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    if "projection" in options:  # refused when the sweep builds the networks, before it starts
        monkeypatch.setattr(sweeps.conditional, "run_sweep", sweeps.run_sweep)
    assert run(monkeypatch, *options, "--smoke") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert not asked


# Samples


@pytest.fixture
def checkpoint(tmp_path: Path, make_plan: Callable[..., Plan]) -> Callable[..., Path]:
    """Make a checkpoint of a generator that is told conditions, or of a structure."""

    def made(folder: str = "kept", **change: Any) -> Path:
        usual = {"networks": "mlp", "sample_shape": (2,), "latent_dim": 3, "coding": CODING, "conditions": CONDITIONS}
        structure = Structure(**{**usual, **change})
        state = TrainingState.initial(structure, 0, torch.device("cpu"))
        plan = make_plan(structure=structure)
        trial = Trial(0, 0, plan.space.hyper(plan.space.presets[0]))
        saved = Checkpoint(trial, structure, 1, state, {"eval/a": 2.0})
        return Path(str(checkpoints.write(Folder.at(tmp_path / folder), saved)))

    return made


def test_rows_have_the_conditions_that_they_were_drawn_for(
    checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = checkpoint(), tmp_path / "rows.parquet"

    def drawn(*options: str) -> Any:
        assert main(["sample", str(folder), "--n", "6", *options, "--out", str(out)]) == 0
        said = capsys.readouterr()
        assert said.out == f"6 rows in {out}\n"
        return parquet.read_table(out).to_pandas(), said.err

    rows, said = drawn("--where", "a=11.5,b=3")
    assert said == ""
    assert list(rows) == ["x", "y", "a", "b"]
    assert rows["a"].tolist() == [11.5] * 6
    assert rows["b"].dtype == np.int64
    again, _ = drawn("--where", "b=3", "--where", " a = 11.5 ")
    assert again.equals(rows)
    other, said = drawn("--where", "a=1.5,b=2.5")
    assert not np.allclose(other["x"], rows["x"])
    assert said == (
        "warning: a=1.5 is 4.25 standard deviations from the mean of the training data, 10: samples for it are "
        "extrapolated\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "a value for each condition of this generator, a, b; given none for a, b: give --where 'a=10,b=3', for"),
        (("--where", "a=1"), "given none for b: give --where 'a=10,b=3', for example"),
        (("--where", "a=1,c=2"), "given 'c', which is none: give --where"),
        (("--where", "a=1,a=2"), "--where must give each name one finite number; given a=2 beside a=1: give"),
        (("--where", "a=nan"), "--where must give each name one finite number; given a=nan: give --where a=0"),
        (("--where", "a=x"), "argument --where: must be a number such as 0.5; given 'x'"),
        (("--where", "a"), "argument --where: must be NAME=VALUE, several with commas between; given 'a'"),
        (("--where", "a=1,"), "argument --where: must be NAME=VALUE, several with commas between; given 'a=1,'"),
        (("--where", "a=1,b=2", "--label", "3"), "--label needs a generator that is told classes; this one is not"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line(
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    try:
        status = main(["sample", str(checkpoint()), *options, "--out", str(tmp_path / "rows.csv")])
    except BadArguments as refused:
        status = refused.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_class_may_be_named_by_where(
    checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = checkpoint(classes=3, conditions=None), tmp_path / "rows.parquet"
    found = []
    for options in (("--where", "label=2"), ("--label", "2")):
        assert main(["sample", str(folder), "--n", "4", *options, "--out", str(out)]) == 0
        found.append(parquet.read_table(out))
    assert found[0] == found[1]
    capsys.readouterr()
    for given, said in (
        (("--where", "label=3"), "--label must be a class that the generator knows, 0 to 2; given 3"),
        (("--where", "label=1.5"), "--where must name the class of a generator that is told classes, as label=3"),
        (("--where", "a=1"), "--where must name the class"),
        (("--where", "label=1", "--label", "1"), "given label=1 and --label 1: give --where label=0, for example"),
    ):
        assert main(["sample", str(folder), *given, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    plain = checkpoint("plain", conditions=None, coding=Coding(CODING.columns), sample_shape=(2, 4))
    assert main(["sample", str(plain), "--where", "a=1", "--out", str(out)]) == 2
    assert "--where needs a generator of a table, or one that is told conditions or" in capsys.readouterr().err


# A sweep


@pytest.mark.slow
def test_a_sweep_of_a_table_with_conditions_its_samples_and_its_export(joined: Surroundings, tmp_path: Path) -> None:
    """It is continued with the same conditions only, and its export takes them in the data's units."""
    options = ("--data", "diabetes", "--condition", "bmi,bp", "--smoke", "--lanes", 2, "--name", "told")
    joined.run(SCRIPT, tmp_path, *options, "--trials", 2).succeeded()
    results = open_results(str(tmp_path), "told")
    assert results.plan.objective == "eval/intra_energy"
    assert results.plan.structure.conditions is not None
    assert [column.name for column in results.plan.structure.conditions.columns] == ["bmi", "bp"]
    joined.run(SCRIPT, tmp_path, *options, "--trials", 3).succeeded()
    results = open_results(str(tmp_path), "told")
    assert len(results.rows) == 3
    assert all(np.isfinite(row.value) for row in results.rows)
    pictures = [*tmp_path.glob("told/trials/*/samples/*.png")]
    assert pictures
    assert all(picture.stat().st_size > 0 for picture in pictures)
    other = ("--data", "diabetes", "--condition", "bmi", "--smoke", "--lanes", 2, "--name", "told")
    joined.run(SCRIPT, tmp_path, *other).refused("a sweep continues only as it began")
    out = tmp_path / "rows.csv"
    asked = ("--storage", tmp_path, "--where", "bmi=30,bp=100", "--n", 9, "--out", out)
    assert joined.command("sample", "told", *asked).succeeded().out == f"9 rows in {out}\n"
    rows = read_table(out)
    assert rows.column_names[-2:] == ["bmi", "bp"]
    assert rows["bmi"].to_pylist() == [30] * 9
    model, length = tmp_path / "model", results.plan.structure.z_length
    assert length > 100  # the noise of categories is part of z
    said = joined.command("export", "told", "--storage", tmp_path, "--out", model).succeeded().out
    assert (
        f"generator(torch.randn(64, {length}), torch.tensor([[26.34, 94.4]] * 64, dtype=torch.float64))  # (64, 16)"
        in said
    )
    inputs = torch.zeros(2, length), torch.tensor([[30.0, 100]] * 2, dtype=torch.float64)
    samples = torch.export.load(model / "generator.pt2").module()(*inputs)
    expected = read_generator(Folder.at(model))(*inputs)
    torch.testing.assert_close(samples, expected)
