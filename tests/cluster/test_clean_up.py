"""What `clean_up.py` of `cluster/mlflow` removes, in a SQLite database: it needs no server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from tests.sweeps.processes import ROOT, copy_tables

SCRIPT = ROOT / "cluster" / "mlflow" / "clean_up.py"


class Cleaned:
    """A store, and the folder of its artifacts."""

    def __init__(self, folder: Path) -> None:
        copy_tables(folder)
        self.uri, self.artifacts = f"sqlite:///{folder}/mlflow.db", folder / "artifacts"
        self.store = SqlAlchemyStore(self.uri, "mlflow-artifacts:/")

    def deleted_run(self, name: str, place: str | None = None) -> tuple[str, Path]:
        """A run that is marked as deleted, in an experiment of its own, and the folder of its artifacts."""
        experiment = self.store.create_experiment(name, artifact_location=place)
        run = self.store.create_run(experiment, "me", 0, [], name).info
        folder = self.artifacts / run.artifact_uri.partition(":")[2].strip("/")
        folder.mkdir(parents=True)
        (folder / "file").touch()
        self.store.delete_run(run.run_id)
        return run.run_id, folder

    def runs(self) -> set[str]:
        experiments = [each.experiment_id for each in self.store.search_experiments(ViewType.ALL)]
        return {run.info.run_id for run in self.store.search_runs(experiments, "", ViewType.ALL)}

    def clean_up(self, *arguments: str, wrapper: str = "pass") -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "MLFLOW_BACKEND_STORE_URI": self.uri, "MLFLOW_ARTIFACTS_DESTINATION": str(self.artifacts)}
        code = f"import runpy, sys; {wrapper}; sys.argv[:1] = []; runpy.run_path(sys.argv[0], run_name='__main__')"
        return subprocess.run(
            [sys.executable, "-c", code, SCRIPT, *arguments],
            env={**env, "PYTHONWARNINGS": "ignore", "MLFLOW_LOGGING_LEVEL": "WARNING"},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def cleaned(tmp_path: Path) -> Cleaned:
    return Cleaned(tmp_path)


def test_artifacts_elsewhere_stay_and_their_runs_go(cleaned: Cleaned) -> None:
    """Nor can an account name the artifacts of another, or a folder above them."""
    own, folder = cleaned.deleted_run("own")
    places = ("dbfs:/x", "mlflow-artifacts:/../x", "mlflow-artifacts:/%2e%2e/x", "mlflow-artifacts://host/x")
    elsewhere = [cleaned.deleted_run(f"experiment {number}", place) for number, place in enumerate(places)]
    done = cleaned.clean_up()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert own not in done.stderr
    assert not folder.exists()
    for (run, left), place in zip(elsewhere, places, strict=True):
        assert f"run {run} has artifacts at '{place}" in done.stderr
        assert (left / "file").exists()
    assert cleaned.runs() == set()
    done = cleaned.clean_up()
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_deleted_stays_for_the_next_time(cleaned: Cleaned) -> None:
    """With its experiment; the others go."""
    stays, kept = cleaned.deleted_run("stays")
    goes, gone = cleaned.deleted_run("goes")
    for name in ("stays", "goes"):
        experiment = cleaned.store.get_experiment_by_name(name)
        assert experiment is not None
        cleaned.store.delete_experiment(experiment.experiment_id)
    fails = f"import shutil; whole = shutil.rmtree; shutil.rmtree = lambda at: 1 / ({stays!r} not in at) and whole(at)"
    done = cleaned.clean_up(wrapper=fails)
    assert done.returncode == 1
    assert f"run {stays} gives 'division by zero'" in done.stderr
    assert goes not in done.stderr
    assert (kept.exists(), gone.exists(), cleaned.runs()) == (True, False, {stays})
    assert cleaned.clean_up().returncode == 0
    assert (kept.exists(), cleaned.runs()) == (False, set())


@pytest.mark.parametrize("age", ["a month", "30", "1.2.3d", "9" * 20 + "d"])
def test_what_is_no_age(age: str, cleaned: Cleaned) -> None:
    done = cleaned.clean_up(age)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "an age such as 30d or 12h" in done.stderr


def test_what_was_deleted_later_stays(cleaned: Cleaned) -> None:
    run, _ = cleaned.deleted_run("recent")
    assert cleaned.clean_up("1.5h").returncode == 0
    assert cleaned.runs() == {run}
