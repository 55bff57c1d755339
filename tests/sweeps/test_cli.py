"""The command `sweeps` where there is nothing to take away, or not to where it was asked for."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from pyarrow import parquet

from sweeps.cli import main
from sweeps.commands.memory import half_of_memory
from sweeps.engine.plan.arguments import add_storage
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import FILE, Plan, write_plan
from sweeps.engine.results.results import STUDY_FILE, open_results
from sweeps.engine.study.study import Study
from wgan_core.config import Structure
from wgan_core.data.coding import Coding, Column
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which `sweeps` refuses these arguments."""

    def ran(*arguments: str | Path) -> str:
        assert main([str(part) for part in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("error: ")
        return line

    return ran


@dataclass(frozen=True)
class Sweep:
    """A sweep in a storage, with one trial that has not reported yet."""

    storage: Path
    study: Study
    make_plan: Callable[..., Plan]

    def checkpoint(self, step: int = 10, **plan: Any) -> Folder:
        """A checkpoint of its trial, of which any field of the plan may be another."""
        (claim,) = self.study.held("a")
        structure = self.make_plan(**plan).structure
        state = TrainingState.initial(structure, claim.trial.seed + step, torch.device("cpu"))
        saved = Checkpoint(claim.trial, structure, step, state, {"eval/a": 2.0})
        return checkpoints.write(Folder.at(self.storage) / "sweep" / "trials" / "0" / "checkpoints", saved)


@pytest.fixture
def sweep(tmp_path: Path, make_plan: Callable[..., Plan]) -> Sweep:
    folder, plan = Folder.at(tmp_path) / "sweep", make_plan()
    write_plan(folder, plan)
    study = Study(plan, f"sqlite:///{folder.path}/study.db", "s")
    study.claim("a", 1)
    return Sweep(tmp_path, study, make_plan)


def test_a_sweep_that_is_not_there(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    """The line names those that are."""
    for arguments in (("best", "other"), ("best", "other", "--json"), ("export", "other", "--out", tmp_path / "out")):
        line = refused(*arguments, "--storage", sweep.storage)
        assert "no sweep named 'other'" in line
        assert "there are: sweep: check --storage" in line
    assert "there are: none" in refused("best", "other", "--storage", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


COMMANDS = [
    ("best", "sweep"),
    ("best", "sweep", "--json"),
    ("status", "sweep"),
    ("export", "sweep", "--out", "out"),
    ("sample", "sweep"),
    ("downstream", "sweep"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_storage_that_cannot_be_read(
    refused: Callable[..., str], sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """A folder stands for a file that cannot be read, which root can."""
    monkeypatch.chdir(tmp_path)
    plan = sweep.storage / "sweep" / FILE
    plan.unlink()
    plan.mkdir()
    line = refused(*command, "--storage", sweep.storage)
    assert f"{plan} must be a file that can be read" in line
    assert line.endswith(": check --storage")
    (tmp_path / "file").write_text("not a folder")
    line = refused(*command, "--storage", tmp_path / "file")
    assert "the storage must be a folder that can be read" in line
    assert line.endswith(": check --storage")
    line = refused(*command, "--storage", "")
    assert "--storage must name a folder; it is empty: leave it out for ~/wgan-sweeps, or give a path" in line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_study_that_is_not_there(
    refused: Callable[..., str], sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Reading makes none: not in the sweep's folder, nor where --study-storage or the environment says."""
    monkeypatch.chdir(tmp_path)
    (sweep.storage / "sweep" / STUDY_FILE).unlink()
    elsewhere = tmp_path / "elsewhere.db"
    url = f"sqlite:///{elsewhere}"
    before = sorted(sweep.storage.rglob("*"))
    for file, *options in (
        (sweep.storage / "sweep" / STUDY_FILE, "--storage", sweep.storage),
        (elsewhere, "--storage", sweep.storage, "--study-storage", url),
    ):
        line = refused(*command, *options)
        assert f"a sweep's Optuna study must be there; {file} is not: check --storage, or give" in line
    monkeypatch.setenv("WGAN_STUDY_STORAGE", url)
    assert str(elsewhere) in refused(*command, "--storage", sweep.storage)
    assert sorted(sweep.storage.rglob("*")) == before


def test_a_note_or_checkpoint_that_cannot_be_read(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    sweep.study.report("a", {0: (10, 2.0)}, {})
    kept = Path(sweep.checkpoint().path)
    (sweep.storage / "sweep" / "trials" / "0" / "mlflow.json").mkdir()
    line = refused("best", "sweep", "--json", "--storage", sweep.storage)
    assert line.endswith(": check --storage")
    (kept / "state.safetensors").unlink()
    (kept / "state.safetensors").mkdir()
    for command in (("sample", kept), ("sample", "sweep"), ("export", "sweep", "--out", tmp_path / "out")):
        line = refused(*command, "--storage", sweep.storage)
        assert f"a checkpoint must be files that can be read; {kept}: " in line
        assert line.endswith(": check --storage, or the path")


def test_before_the_first_score(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    line = refused("best", "sweep", "--json", "--storage", sweep.storage)
    assert "no trial of 'sweep' has a score yet" in line
    assert "score yet" in refused("export", "sweep", "--out", tmp_path / "out", "--storage", sweep.storage)
    assert not (tmp_path / "out").exists()


def test_best_while_the_sweep_runs(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    """The best of a trial that is not over yet, which MLflow need not know."""
    sweep.study.report("a", {0: (10, 2.0)}, {})
    kept = sweep.checkpoint()
    assert main(["best", "sweep", "--json", "--storage", str(sweep.storage)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trial"], said["value"], said["floor"]) == ("0", 2.0, 0.5)
    assert said["checkpoint"] == str(kept)
    assert said["run_id"] is None
    assert said["model_uri"] is None
    assert main(["best", "sweep", "--storage", str(sweep.storage)]) == 0
    assert "RUNNING" in capsys.readouterr().out


def test_samples_of_what_is_no_checkpoint(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "manifest.json" in refused("sample", tmp_path / "nothing", "--out", tmp_path / "x.png")
    line = refused("sample", "nothing", "--out", tmp_path / "x.png", "--storage", tmp_path)
    assert "no sweep named 'nothing'" in line
    assert not (tmp_path / "x.png").exists()


def test_samples_of_a_sweep_are_those_of_its_best_checkpoint(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name in --storage or $WGAN_STORAGE, where a folder of that name stands too, or by path or URI."""
    sweep.study.report("a", {0: (10, 2.0)}, {})
    sweep.study.report("a", {0: (20, 3.0)}, {})
    best, later = sweep.checkpoint(), sweep.checkpoint(20)
    here = tmp_path / "here"
    (here / "sweep").mkdir(parents=True)
    monkeypatch.chdir(here)

    def drawn(*arguments: str | Path) -> bytes:
        assert main(["sample", *map(str, arguments), "--n", "4", "--out", "x.png"]) == 0
        picture = Path("x.png").read_bytes()
        Path("x.png").unlink()
        return picture

    wanted = drawn(best)
    assert drawn("sweep", "--storage", sweep.storage) == wanted
    assert drawn(f"file://{best}") == wanted
    monkeypatch.setenv("WGAN_STORAGE", str(sweep.storage))
    assert drawn("sweep") == wanted
    assert drawn(later) != wanted
    # A checkpoint in the current folder goes before a sweep of its name.
    shutil.copytree(str(later), "sweep", dirs_exist_ok=True)
    assert drawn("sweep") == drawn(later)


def test_samples_of_a_damaged_checkpoint(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    """Refused by its checksum, not drawn."""
    folder = sweep.checkpoint()
    file = Path(folder.path) / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert "SHA-256" in refused("sample", folder, "--out", tmp_path / "x.png")


def test_a_seed_out_of_range(refused: Callable[..., str], sweep: Sweep) -> None:
    line = refused("sample", sweep.checkpoint(), "--seed", str(2**70))
    assert f"--seed must be a whole number in [0, 2^63); given {2**70}: give --seed 0, for example" in line


def test_images_are_no_rows(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    folder = sweep.checkpoint()
    for name in ("rows.csv", "rows.parquet"):
        line = refused("sample", folder, "--out", tmp_path / name)
        assert "--out must be a PNG file, as these samples are images" in line
        assert line.endswith(": give --out samples.png")
        assert not (tmp_path / name).exists()
    line = refused("downstream", "sweep", "--storage", sweep.storage)
    assert "sweeps downstream is for rows of a table; 'sweep' is a sweep on data: name one of sweeps/tabular.py" in line


@pytest.mark.parametrize(("shape", "kind"), [((2,), "double"), ((2, 5), "list<")], ids=["table", "sequences"])
def test_coded_samples_are_rows(
    refused: Callable[..., str],
    sweep: Sweep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, ...],
    kind: str,
) -> None:
    """Two columns of numbers, or of lists, which CSV has not."""
    monkeypatch.chdir(tmp_path)
    coding = Coding((Column("a", 100.0, 2.0), Column("b", 7.0)))
    folder = sweep.checkpoint(structure=Structure("mlp", shape, coding=coding))
    assert main(["sample", str(folder), "--n", "9"]) == 0
    assert capsys.readouterr().out == "9 rows in rows.parquet\n"
    rows = parquet.read_table("rows.parquet")
    assert (rows.num_rows, rows.column_names) == (9, ["a", "b"])
    assert all(str(field.type).startswith(kind) for field in rows.schema)
    assert np.abs(np.asarray(rows["a"].to_pylist()) - 100).max() < 50
    assert "must end in .parquet or .csv" in refused("sample", folder, "--out", "samples.png")
    if len(shape) > 1:
        assert "'a' is a column of sequences" in refused("sample", folder, "--out", "rows.csv")


def told(shape: tuple[int, ...], classes: int, coding: Coding | None = None) -> Structure:
    return Structure("mlp", shape, latent_dim=3, classes=classes, coding=coding)


@pytest.mark.parametrize(
    ("options", "classes", "count"),
    [((), 3, 63), ((), 70, 70), (("--n", "11"), 3, 9), (("--n", "3"), 3, 3), (("--n", "2", "--label", "1"), 3, 2)],
    ids=str,
)
def test_as_many_of_each_class(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], classes: int, count: int
) -> None:
    folder = sweep.checkpoint(structure=told((1, 4, 4), classes))
    out = tmp_path / "x.png"
    assert main(["sample", str(folder), *options, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{count} samples in {out}\n"


def test_fewer_samples_than_classes(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    folder = sweep.checkpoint(structure=told((1, 4, 4), 10))
    line = refused("sample", folder, "--n", "5", "--out", tmp_path / "x.png")
    assert "--n must be at least the number of classes, 10, without --label; given 5: give --n 10, or one" in line


def test_rows_of_a_generator_that_is_told_classes(
    refused: Callable[..., str], sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of the class that is asked for, else class by class, from the same noise."""
    coding = Coding((Column("a", 100.0, 2.0), Column("b", 7.0)))
    folder = sweep.checkpoint(structure=told((2,), 3, coding))
    out = tmp_path / "rows.parquet"

    def drawn(*options: str) -> np.ndarray:
        assert main(["sample", str(folder), *options, "--out", str(out)]) == 0
        return parquet.read_table(out).to_pandas().to_numpy()

    each = [drawn("--n", "6", "--label", str(label)) for label in range(3)]
    assert not np.allclose(each[0], each[1])
    np.testing.assert_allclose(drawn("--n", "8"), np.concatenate([each[k][2 * k : 2 * k + 2] for k in range(3)]))
    capsys.readouterr()
    assert "0 to 2; given 3" in refused("sample", folder, "--label", "3", "--out", out)


@pytest.mark.parametrize(
    ("command", "option", "given", "said"),
    [
        ("sample", "--n", "0", "a whole number >= 1; given 0: give --n 64, for example"),
        ("sample", "--n", "-3", "a whole number >= 1; given -3: give --n 64, for example"),
        ("sample", "--n", "9" * 24, "a whole number below 10^12; given 999"),
        ("downstream", "--n", "9" * 24, "a whole number below 10^12; given 999"),
        ("downstream", "--n", "0", "a whole number >= 1; given 0"),
        ("downstream", "--draws", "0", "a whole number >= 1; given 0: give --draws 5"),
        ("downstream", "--seed", "-1", "a whole number in [0, 2^63); given -1"),
    ],
)
def test_numbers_out_of_range(refused: Callable[..., str], command: str, option: str, given: str, said: str) -> None:
    assert f"{option} must be {said}" in refused(command, "sweep", option, given)


def test_an_output_that_cannot_be_written(refused: Callable[..., str], sweep: Sweep, tmp_path: Path) -> None:
    """Below a file, where root cannot write either; and a folder that is there is left as it is."""
    sweep.study.report("a", {0: (10, 2.0)}, {})
    folder = sweep.checkpoint()
    (tmp_path / "file").write_text("mine")
    line = refused("sample", folder, "--out", tmp_path / "file" / "x.png")
    assert "--out must be a file that can be written" in line
    assert ": name one in a folder that is there and yours" in line
    line = refused("export", "sweep", "--out", tmp_path / "file" / "out", "--storage", sweep.storage)
    assert "--out must be a folder that can be written" in line
    assert ": name one in a folder that is yours" in line
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "precious").write_text("mine")
    assert "--out must name a folder that is not there yet" in refused(
        "export", "sweep", "--out", taken, "--storage", sweep.storage
    )
    assert (taken / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said", "see"),
    [
        ([], "the following arguments are required: COMMAND", "sweeps"),
        (["worst"], "argument COMMAND: invalid choice: 'worst' (choose from ", "sweeps"),
        (["best"], "the following arguments are required: name", "sweeps best"),
        (["export", "sweep"], "the following arguments are required: --out", "sweeps export"),
        (
            ["sample", "x", "--n", "many"],
            "argument --n: must be a whole number in digits; given 'many'",
            "sweeps sample",
        ),
        (["sample", "x", "--seed", "1e3"], "argument --seed: must be a whole number in digits", "sweeps sample"),
        (["best", "sweep", "--yaml"], "unrecognized arguments: --yaml", "sweeps"),
    ],
)
def test_arguments_that_are_missing(
    arguments: list[str], said: str, see: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, as every error, and the help that says more."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert line.endswith(f": see {see} --help")


def test_the_storage_is_the_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both take the same default, which the environment may name."""
    monkeypatch.setenv("WGAN_STORAGE", "/somewhere/else")
    assert parse("mnist", "", 12, 4500, []).storage == "/somewhere/else"
    assert main(["best", "mnist"]) == 2
    assert "/somewhere/else" in capsys.readouterr().err
    monkeypatch.delenv("WGAN_STORAGE")
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("mnist", "", 12, 4500, []).storage == "/home/me/wgan-sweeps"


def test_places_are_those_of_the_environment_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch, sweep: Sweep
) -> None:
    """An empty one says that it is to be where it is when the environment names none."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    monkeypatch.setenv("WGAN_STUDY_STORAGE", "postgresql://study")
    options = parse("mnist", "", 12, 4500, [])
    assert (options.tracking_uri, options.study_storage) == ("http://tracking", "postgresql://study")
    options = parse("mnist", "", 12, 4500, ["--tracking-uri", "http://mine", "--study-storage", "sqlite:///mine.db"])
    assert (options.tracking_uri, options.study_storage) == ("http://mine", "sqlite:///mine.db")
    options = parse("mnist", "", 12, 4500, ["--tracking-uri", "", "--study-storage", ""])
    assert (options.tracking_uri, options.study_storage) == ("", "")
    # Another parser with these options hands on what was given, None included.
    monkeypatch.setenv("WGAN_STUDY_STORAGE", f"sqlite:///{sweep.storage}/sweep/{STUDY_FILE}")
    monkeypatch.setenv("WGAN_STORAGE", str(sweep.storage))
    parser = argparse.ArgumentParser()
    add_storage(parser)
    given = parser.parse_args([])
    assert [row.number for row in open_results(given.storage, "sweep", given.study_storage).rows] == [0]


SECRETS = {
    "WGAN_STORAGE": "s3://key:secret@bucket/sweeps",
    "WGAN_STUDY_STORAGE": "postgresql://me:secret@host/studies",
    "MLFLOW_TRACKING_URI": "https://me:secret@tracking",
    "WGAN_DATA": "/secret",
}


@pytest.mark.parametrize("command", ["script", "best", "sample", "export", "downstream"])
def test_the_help_names_the_environment_and_not_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        parse("mnist", "", 12, 4500, ["--help"]) if command == "script" else main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "secret" not in text
    assert "(default: $WGAN_STORAGE, else ~/wgan-sweeps)" in text
    assert "(default: $WGAN_STUDY_STORAGE, else study.db in the sweep's folder)" in text
    if command == "script":
        assert "(default: $MLFLOW_TRACKING_URI, else mlflow.db in the storage folder)" in text
        assert "(default: MNIST, fetched once into $WGAN_DATA, else wgan-sweeps in $XDG_CACHE_HOME or ~/.cache)" in text
    if command == "sample":
        assert "a sweep in --storage, for its best checkpoint; or a checkpoint's folder" in text
        for default in (
            "(default: 64, or one of each class if",
            "(default: samples.png, or rows.parquet)",
            "(default: 0)",
        ):
            assert text.count(default) == 1
    for named in ("$WGAN_STORAGE", "$WGAN_STUDY_STORAGE"):
        assert text.count(named) == 1


def test_defaults_and_units_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option, each default once and none that says nothing."""
    with pytest.raises(SystemExit):
        parse("mnist", "What it does.", 12, 4500, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    options = "name trials budget seed objective networks data smoke cpus-per-trial gpus-per-trial max-concurrent lanes"
    for option in (*options.split(), "storage", "study-storage", "tracking-uri"):
        assert f"--{option} " in text
    for said in ("(default: mnist)", "(default: 12)", "(default: 4500)", "critic updates", "CPU cores"):
        assert said in text
    assert "None" not in text
    assert text.count("(default: MNIST") == 1
    assert text.count("(default: 1; on GPUs an even share") == 1


NAMED = ("breast-cancer", "wine", "iris")


def test_other_data_at_hand_has_a_sweep_of_its_own() -> None:
    """Else one would find the other's; a file is told apart by --name."""
    for data, name in (("wine", "mine-wine-smoke"), ("iris.csv", "mine-smoke")):
        assert parse("mine", "", 12, 4500, ["--data", data, "--smoke"], named=NAMED).name == name
    assert parse("mine", "", 12, 4500, [], named=NAMED).name == "mine"
    assert parse("mine", "", 12, 4500, ["--data", "wine", "--name", "other"], named=NAMED).name == "other"


def test_a_smoke_is_no_longer_than_it_must_be() -> None:
    """Its own name, so that the sweep in earnest does not find it; fewer trials and updates may be asked for."""
    smoke = parse("mnist", "", 12, 4500, ["--smoke"])
    assert (smoke.name, smoke.trials, smoke.budget, smoke.smoke) == ("mnist-smoke", 4, 45, True)
    assert parse("mnist", "", 12, 4500, ["--smoke", "--trials", "2", "--name", "mine"]).trials == 2
    whole = parse("mnist", "", 12, 4500, [])
    assert (whole.name, whole.trials, whole.budget, whole.lanes) == ("mnist", 12, 4500, None)
    assert whole.gpus_per_trial is None
    assert whole.cpus_per_trial is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds the limit")
def test_a_command_takes_at_most_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 200 << 20

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    for fill in (lambda: bytearray(300 << 20), lambda: torch.zeros(300 << 18)):
        with pytest.raises(UserError, match="may take half of the memory that is available, 100 MiB"), half_of_memory():
            fill()
    with half_of_memory():
        bytearray(10 << 20)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
