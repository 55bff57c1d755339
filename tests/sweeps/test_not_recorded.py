"""A sweep that is not recorded in MLflow: everything but MLflow works, and its records can be brought there later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.cli import main
from sweeps.engine.doctor.tracking import check_tracking
from sweeps.engine.plan.plan import Plan, SweepStart, read_started, write_plan
from sweeps.engine.results.results import open_results, tracking_uri_of
from tests.sweeps.made import Made, studied
from tests.sweeps.processes import MNIST, Surroundings
from wgan_core.data.folder import Folder

NAME = "unrecorded"
SAID = f"error: a sweep must be recorded in MLflow for this; the tracking URI of '{NAME}' is none: run its script again"


@pytest.mark.slow
@pytest.mark.needs_server
def test_a_sweep_without_mlflow_and_its_records_brought_there_later(
    joined: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    options = ("--name", NAME, "--data", small_data, "--smoke", "--budget", 9)
    first = joined.script(storage, *options, "--trials", 2, "--tracking-uri", "none").succeeded()
    assert "MLflow" not in first.out
    assert "look at the runs" not in first.out
    assert not list(storage.glob("ml*"))
    folder = open_results(str(storage), NAME).folder
    assert read_started(folder).tracking_uri == "none"
    assert b"is not recorded in MLflow" in (folder / "report").read("sweep.html")

    place = ("--storage", storage)
    best = joined.command("best", NAME, *place).succeeded()
    assert "checkpoints" in best.out
    joined.command("ls", *place).succeeded()
    joined.command("status", NAME, *place).succeeded()
    for command, out in (("report", "page.html"), ("sample", "grid.png"), ("export", "best")):
        joined.command(command, NAME, *place, "--out", tmp_path / out).succeeded()
    for refused in (("serve-ui",), ("promote", "--as", "champion")):
        (line,) = joined.command(refused[0], NAME, *place, *refused[1:]).err.splitlines()
        assert line.startswith(SAID)
    assert not list(storage.glob("ml*"))

    joined.run(MNIST, storage, *options, "--trials", 3).succeeded()
    client = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags.get("trial.number", "sweep") for run in runs) == ["0", "1", "2", "sweep"]
    assert [run.data.tags["mlflow.sync"] for run in runs if "mlflow.sync" in run.data.tags] == ["complete"]


def test_commands_say_that_it_is_not_recorded(
    tmp_path: Path, make_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """And `confirm`, which hands the place of the record on, keeps it so."""
    plan = make_plan(name=NAME, trials=1)
    folder = studied(Folder.at(tmp_path), plan, [Made({10: 2.0})])
    write_plan(folder, plan, SweepStart(tracking_uri="none"))
    assert main(["serve-ui", NAME, "--storage", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(SAID)
    assert tracking_uri_of(folder, None) == "none"
    (check,) = check_tracking("none", Folder.at(tmp_path))
    assert (check.state, check.found) == ("ok", "none: sweeps are not recorded in MLflow")
