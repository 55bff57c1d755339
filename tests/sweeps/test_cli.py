"""The command `sweeps` where there is nothing to take away, or not to where it was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweeps.cli import main
from sweeps.engine.options import parse
from sweeps.engine.plan import Plan, write_plan
from sweeps.engine.study import Study
from wgan_core import checkpoint as checkpoints
from wgan_core.checkpoint import Checkpoint
from wgan_core.folder import Folder
from wgan_core.state import State


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


@pytest.fixture
def sweep(tmp_path: Path, make_plan: Callable[..., Plan]) -> tuple[Path, Study]:
    """A sweep in a storage, with one trial that has not reported yet."""
    folder = Folder.at(tmp_path) / "sweep"
    plan = make_plan()
    write_plan(folder, plan)
    study = Study(plan.as_json(), f"sqlite:///{folder.path}/study.db", "s")
    study.claim("a", 1)
    return tmp_path, study


def checkpoint_in(sweep: tuple[Path, Study], step: int, plan: Plan) -> Folder:
    storage, study = sweep
    (claim,) = study.held("a")
    state = State.initial(plan.structure, claim.trial.seed, torch.device("cpu"))
    saved = Checkpoint(claim.trial, plan.structure, step, state, {"eval/a": 2.0})
    return checkpoints.write(Folder.at(storage) / "sweep" / "trials" / "0" / "checkpoints", saved)


def test_a_sweep_that_is_not_there(refused: Callable[..., str], sweep: tuple[Path, Study], tmp_path: Path) -> None:
    """The line names those that are."""
    for arguments in (("best", "other"), ("best", "other", "--json"), ("export", "other", "--out", tmp_path / "out")):
        line = refused(*arguments, "--storage", sweep[0])
        assert "no sweep named 'other'" in line
        assert "there are: sweep: check --storage" in line
    assert "there are: none" in refused("best", "other", "--storage", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_before_the_first_score(refused: Callable[..., str], sweep: tuple[Path, Study], tmp_path: Path) -> None:
    line = refused("best", "sweep", "--json", "--storage", sweep[0])
    assert "no trial of 'sweep' has a score yet" in line
    assert "score yet" in refused("export", "sweep", "--out", tmp_path / "out", "--storage", sweep[0])
    assert not (tmp_path / "out").exists()


def test_best_while_the_sweep_runs(
    sweep: tuple[Path, Study], make_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of a trial that is not over yet, which MLflow need not know."""
    storage, study = sweep
    study.report("a", {0: (10, 2.0)}, {})
    kept = checkpoint_in(sweep, 10, make_plan())
    assert main(["best", "sweep", "--json", "--storage", str(storage)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trial"], said["value"], said["floor"]) == (0, 2.0, 0.5)
    assert said["checkpoint"] == str(kept)
    assert said["run_id"] is None
    assert said["model_uri"] is None
    assert main(["best", "sweep", "--storage", str(storage)]) == 0
    assert "RUNNING" in capsys.readouterr().out


def test_samples_of_what_is_no_checkpoint(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "manifest.json" in refused("sample", tmp_path / "nothing", "--out", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_samples_of_a_damaged_checkpoint(
    refused: Callable[..., str], sweep: tuple[Path, Study], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """Refused by its checksum, not drawn."""
    folder = checkpoint_in(sweep, 10, make_plan())
    file = Path(folder.path) / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert "SHA-256" in refused("sample", folder, "--out", tmp_path / "x.png")


@pytest.mark.parametrize("count", ["0", "-3"])
def test_fewer_samples_than_one(refused: Callable[..., str], tmp_path: Path, count: str) -> None:
    assert f"--n must be a whole number >= 1; given {count}" in refused("sample", tmp_path, "--n", count)


def test_a_seed_out_of_range(
    refused: Callable[..., str], sweep: tuple[Path, Study], make_plan: Callable[..., Plan]
) -> None:
    assert "--seed" in refused("sample", checkpoint_in(sweep, 10, make_plan()), "--seed", str(2**70))


def test_an_output_that_cannot_be_written(
    refused: Callable[..., str], sweep: tuple[Path, Study], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """Below a file, where root cannot write either; and a folder that is there is left as it is."""
    storage, study = sweep
    study.report("a", {0: (10, 2.0)}, {})
    folder = checkpoint_in(sweep, 10, make_plan())
    (tmp_path / "file").write_text("mine")
    assert "--out" in refused("sample", folder, "--out", tmp_path / "file" / "x.png")
    assert "--out" in refused("export", "sweep", "--out", tmp_path / "file" / "out", "--storage", storage)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "precious").write_text("mine")
    assert "--out must name a folder that is not there yet" in refused(
        "export", "sweep", "--out", taken, "--storage", storage
    )
    assert (taken / "precious").read_text() == "mine"


@pytest.mark.parametrize("arguments", [[], ["worst"], ["best"], ["export", "sweep"], ["sample", "x", "--n", "many"]])
def test_arguments_that_are_missing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_the_storage_is_the_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both take the same default, which the environment may name."""
    monkeypatch.setenv("WGAN_STORAGE", "/somewhere/else")
    assert parse("mnist", "", 12, 4500, []).storage == "/somewhere/else"
    assert main(["best", "mnist"]) == 2
    assert "/somewhere/else" in capsys.readouterr().err
    monkeypatch.delenv("WGAN_STORAGE")
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("mnist", "", 12, 4500, []).storage == "/home/me/wgan-sweeps"


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
    assert text.count("(default: MNIST)") == 1


def test_a_smoke_is_no_longer_than_it_must_be() -> None:
    """Its own name, so that the sweep in earnest does not find it; fewer trials and updates may be asked for."""
    smoke = parse("mnist", "", 12, 4500, ["--smoke"])
    assert (smoke.name, smoke.trials, smoke.budget, smoke.smoke) == ("mnist-smoke", 4, 45, True)
    assert parse("mnist", "", 12, 4500, ["--smoke", "--trials", "2", "--name", "mine"]).trials == 2
    whole = parse("mnist", "", 12, 4500, [])
    assert (whole.name, whole.trials, whole.budget, whole.lanes) == ("mnist", 12, 4500, 1)
    assert whole.gpus_per_trial is None
    assert math.isclose(whole.cpus_per_trial, 1.0)
