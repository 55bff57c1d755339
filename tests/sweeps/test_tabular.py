"""The script for tables: its presets, what it reads of which table, a sweep, its rows and what they are worth."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient

import sweeps.tabular
from sweeps import Sweep, run_script
from sweeps.cli import main
from sweeps.commands.downstream import _asked
from sweeps.engine.plan.options import SMOKE_BUDGET, Options
from sweeps.engine.plan.presets import Preset
from sweeps.engine.plan.presets_tabular import TABLE_BUDGET, TABULAR
from sweeps.engine.results.results import open_results
from tests.core.test_columns import table_of
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.config import Hyper, Structure
from wgan_core.data.coding import Coding
from wgan_core.data.dataset import Dataset
from wgan_core.data.fitting import CodingName
from wgan_core.data.folder import Folder
from wgan_core.data.rows import rows_of, write_rows
from wgan_core.data.splits import read_table
from wgan_core.data.tables import load_table, read
from wgan_core.errors import UserError
from wgan_core.metrics.two_sample import C2ST_NAME
from wgan_core.networks.network import build
from wgan_core.sampling.generator import DESCRIPTION, read_generator

SCRIPT = ROOT / "sweeps" / "tabular.py"
Asked = list[tuple[Options, Dataset, Structure]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the script asks for, without a sweep being run."""
    calls: Asked = []
    monkeypatch.setattr(
        sweeps.tabular, "run_sweep", lambda options, data, structure, space: calls.append((options, data, structure))
    )
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tabular.py", *options])
    return run_script(sweeps.tabular.main)


@pytest.mark.parametrize("preset", TABULAR.values(), ids=TABULAR)
def test_each_preset_builds_and_has_its_published_point(preset: Preset) -> None:
    build(preset.structure_for((7,), None, latent_dim=7))
    for point in preset.space.presets:
        preset.space.hyper(point)


def test_the_published_system() -> None:
    preset = TABULAR["ffpred"]
    assert preset.space.hyper(preset.space.presets[0]) == Hyper(0.1, 1e-4, 1e-4, 5, 0.5, 0.9)
    assert (preset.published_updates, preset.objective) == (500_000, "c2st")
    structure = preset.structure_for((7,), None)
    assert (structure.networks, structure.full_batch, structure.loss) == ("ffpred", True, "wgan-gp")


@pytest.mark.parametrize(
    ("options", "name", "label", "positive", "rows"),
    [
        ([], "tabular", "diagnosis", "malignant", 170),
        (["--data", "breast-cancer", "--full-batch"], "tabular", "diagnosis", "malignant", 170),
        (["--positive-class", "benign"], "tabular", "diagnosis", "benign", 287),
        (["--label", "diagnosis"], "tabular", "diagnosis", None, 457),
        (["--preset", "ffpred", "--smoke"], "tabular-ffpred-smoke", "diagnosis", "malignant", 170),
        (["--data", "wine"], "tabular-wine", "", None, 144),
        (
            ["--data", "wine", "--positive-class", "class_1", "--drop", "ash, hue"],
            "tabular-wine",
            "cultivar",
            "class_1",
            57,
        ),
    ],
    ids=str,
)
def test_what_is_read(
    options: list[str],
    name: str,
    label: str,
    positive: str | None,
    rows: int,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, *options) == 0
    ((found, dataset, structure),) = asked
    assert found.name == name
    assert dataset.coding is not None
    assert (dataset.coding.label, dataset.coding.positive, len(dataset.train)) == (label, positive, rows)
    full = "--full-batch" in options or found.preset == "ffpred"
    assert (structure.full_batch, structure.batch_size) == (full, rows if full else min(64, rows))
    assert structure.coding == dataset.coding
    assert structure.latent_dim == dataset.coding.width
    assert not {"ash", "hue"} & {column.name for column in dataset.coding.columns} or "--drop" not in options


def test_small_tables_have_small_batches(asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(30.0), "town": ["Ulm", "Aachen"] * 15}), tmp_path / "t.parquet")
    data = ("--data", str(tmp_path / "t.parquet"))
    assert run(monkeypatch, *data) == 0
    ((options, _, structure),) = asked
    assert (structure.batch_size, structure.sample_shape) == (24, (3,))
    assert options.name == "tabular"


def test_the_budget_follows_the_rows(asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(3_000.0)}), tmp_path / "t.parquet")
    data = ("--data", str(tmp_path / "t.parquet"))
    wanted = {(): 3_750, ("--smoke",): SMOKE_BUDGET, ("--budget", "77"): 77}
    for options in wanted:
        assert run(monkeypatch, *data, *options) == 0
    assert [options.budget for options, _, _ in asked] == list(wanted.values())
    assert TABLE_BUDGET.updates(170) == TABLE_BUDGET.least
    assert TABLE_BUDGET.updates(10**6) == TABLE_BUDGET.most


def test_a_frame_is_the_table_of_its_file(asked: Asked, tmp_path: Path) -> None:
    """Also its structure and budget, as the script has them."""
    frame = pd.DataFrame(
        {"n": np.arange(100) % 40, "town": ["Ulm", "Köln"] * 50, "day": pd.date_range("2026-1-1", periods=100)}
    )
    frame.loc[3, "n"] = np.nan
    frame.to_parquet(tmp_path / "t.parquet")
    sweep, wanted = Sweep.of_table(frame, name="of-frame"), load_table(tmp_path / "t.parquet")
    assert (sweep._dataset.digest, sweep._dataset.coding) == (wanted.digest, wanted.coding)
    assert sweep._options.budget == TABLE_BUDGET.least
    assert sweep._structure.coding == wanted.coding
    with pytest.raises(UserError, match="a name of its own"):
        Sweep.of_table(frame.set_axis(["a", "a", "b"], axis=1), name="twice")


def test_what_data_says_of_a_table(said: Callable[..., str], tmp_path: Path) -> None:
    lines = [f"{row},{row / 7:.2f},{['Ulm', 'Köln', ''][row % 3]},x" for row in range(90)]
    (tmp_path / "t.csv").write_text("\n".join(["id;size;town;one", *(line.replace(",", ";") for line in lines)]))
    text = said("data", tmp_path / "t.csv")
    assert "90 rows, 4 columns; separated by ';'" in text
    assert "72 train, 9 validation, 9 test" in text
    found = json.loads(said("data", tmp_path / "t.csv", "--json", "--numeric", "id"))
    assert [(each["name"], each["role"], each["missing"]) for each in found["columns"]] == [
        ("id", "number", 0),
        ("size", "number", 0),
        ("town", "categories", 30),
        ("one", "constant", 0),
    ]
    assert found["inputs"] == 5
    (tmp_path / "t.csv").write_text(
        "\n".join(["a,note", *(f"{row},a note of many words on {row}" for row in range(90))])
    )
    assert "'note' is free text" in said("data", tmp_path / "t.csv")
    assert "left out: free text" in said("data", tmp_path / "t.csv", "--drop-text")


@pytest.mark.parametrize("coding", ["ranks", "standard"])
def test_downstream_reads_the_sweep_s_table_as_the_sweep_did(coding: CodingName, tmp_path: Path) -> None:
    """From the coding alone: numbers, dates, amounts and categories of few and of many values, from either format."""
    path, _ = table_of(tmp_path / "t.parquet")
    dataset = load_table(path, coding=coding)
    assert dataset.coding is not None
    write_rows(rows_of(torch.from_numpy(dataset.train.values), dataset.coding), tmp_path / "t.csv")
    for file in (path, tmp_path / "t.csv"):
        known = load_table(file, coding=coding)
        assert known.coding is not None
        asked = _asked(read(file), known.coding)
        assert asked is not None
        again = load_table(file, None, None, asked.categorical, asked.drop, (), asked.numeric, False, asked.coding)
        assert (again.digest, again.coding) == (known.digest, known.coding)


def test_networks_named_for_a_table_are_linear(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--preset", "ffpred", "--networks", "mlp") == 0
    ((_, _, structure),) = asked
    _, generator = build(structure)
    assert not [module for module in generator.modules() if isinstance(module, torch.nn.Tanh)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "nowhere.csv"], "one of breast-cancer, wine, iris, diabetes; nowhere.csv does not exist"),
        (["--label", "stage"], "--label must name columns of breast-cancer"),
        (["--positive-class", "ill"], "'diagnosis' has in the training split: benign, malignant; given 'ill'"),
        (["--drop", "mean radius,x"], "--drop must name columns"),
        (
            ["--drop", "diagnosis"],
            "must leave 'diagnosis': without --label it tells the classes of breast-cancer apart, and the rows of",
        ),
        (
            ["--data", "wine", "--positive-class", "class_1", "--drop", "hue,cultivar"],
            "the rows of class_1 are learnt without it; given hue,cultivar: take it out of --drop",
        ),
        (["--label", "diagnosis", "--drop", "diagnosis"], "--drop has 'diagnosis' too: name it in one of the two"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 rows of a number that tells ill from well, a whole number, a town, and an id to leave out."""
    rng, rows = np.random.Generator(np.random.PCG64(5)), 200
    ill = rng.random(rows) < 0.3
    columns = {
        "id": np.arange(rows) << 40,
        "pressure": rng.normal(120, 10, rows) + 30 * ill,
        "age": rng.integers(20, 90, rows),
        "town": rng.choice(["Ulm", "Aachen"], rows),
        "ill": np.where(ill, "yes", "no"),
    }
    path = tmp_path_factory.mktemp("table") / "patients.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `sweeps` prints for these arguments, or, if it refuses them, its one line."""

    def ran(*arguments: object) -> str:
        capsys.readouterr()
        status = main([str(part) for part in arguments])
        printed = capsys.readouterr()
        assert (status, bool(printed.err)) in ((0, False), (2, True))
        return printed.err or printed.out

    return ran


@pytest.mark.slow
def test_a_sweep_its_rows_and_what_they_are_worth(
    joined: Surroundings, table: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    """Of the published preset: chosen by the two-sample test, in full batches; rows in another process."""
    options = ("--label", "ill", "--positive-class", "yes", "--smoke")
    store = ("--storage", tmp_path)
    ran = joined.run(
        SCRIPT, tmp_path, "--data", table, "--preset", "ffpred", "--trials", 2, "--budget", 2, *options
    ).succeeded()
    name = "tabular-ffpred-smoke"
    dataset = load_table(table, "ill", "yes", coding="standard")
    assert f"{len(dataset.train)} to train" in ran.out
    results = open_results(str(tmp_path), name, None)
    assert results.plan.objective == C2ST_NAME
    assert results.plan.structure.coding == dataset.coding
    assert results.plan.structure.batch_size == len(dataset.train)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    run_id = results.best_as_json()["run_id"]
    assert {"eval/sliced_wasserstein", C2ST_NAME, "eval/nn_accuracy_real"} <= set(client.get_run(run_id).data.metrics)
    assert client.list_artifacts(run_id, "images")

    asked = ("sample", name, *store, "--n", 40, "--seed", 3, "--out")
    drawn = tmp_path / "rows.csv"
    assert joined.sweeps(*asked, drawn).succeeded().out == f"40 rows in {drawn}\n"
    assert said(*asked, tmp_path / "rows.parquet") == f"40 rows in {tmp_path / 'rows.parquet'}\n"
    rows = read_table(drawn)
    assert rows.equals(read_table(tmp_path / "rows.parquet"))
    assert rows.column_names == ["pressure", "age", "town", "ill"]
    assert [str(kind) for kind in rows.schema.types] == ["double", "int64", "string", "string"]
    assert set(rows["town"].to_pylist()) <= {"Ulm", "Aachen"}
    assert set(rows["ill"].to_pylist()) == {"yes"}
    drawn_frame = Sweep.open(name, str(tmp_path)).best().sample(40, seed=3)
    assert isinstance(drawn_frame, pd.DataFrame)
    assert drawn_frame.equals(rows.to_pandas())
    assert "must end in .parquet or .csv" in said(*asked, tmp_path / "x.png")
    assert "told classes" in said("sample", name, *store, "--label", 1)

    exported = tmp_path / "exported"
    assert "coding.decode(samples)" in said("export", name, *store, "--out", exported)
    described = json.loads((exported / DESCRIPTION).read_text())["structure"]
    coding = Coding.from_json(described["coding"])
    assert coding == dataset.coding
    z = torch.randn(40, described["latent_dim"], generator=torch.Generator().manual_seed(3))
    assert rows_of(read_generator(Folder.at(exported))(z), coding).equals(rows)

    asked = ("downstream", name, *store, "--draws", 2, "--data")
    found = json.loads(said(*asked, table, "--json"))
    assert {(each["training"], each["generated"]) for each in found} >= {("real", 0), ("replaced", len(dataset.train))}
    assert len(found) == 6
    assert all(0 <= value <= 1 for each in found for value in each["means"].values())
    assert all(math.isfinite(value) for each in found for value in each["sds"].values())
    text = said(*asked, table, "--n", 7)
    assert "ill yes: " in text
    assert "topped up" in text
    assert "the table of the sweep, table:patients ill=yes, with the same rows" in said(*asked, "wine")
    other, whole = tmp_path / "patients.parquet", read_table(table)
    pq.write_table(whole.set_column(1, "pressure", [np.asarray(whole["pressure"]) + 1]), other)
    assert said(*asked, other).endswith(f"{other} is another: name its file\n")
