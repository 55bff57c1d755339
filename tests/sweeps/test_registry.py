"""`sweeps promote` against a real MLflow store, and what it made loaded where this package is not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_model_alias_name, _validate_model_alias_name_reserved
from pyarrow import fs
from scipy import stats

from sweeps.cli import main
from sweeps.engine.plan.plan import FILE, Plan
from sweeps.engine.results.results import tracking_uri_of
from sweeps.engine.tracking.client import Client
from sweeps.engine.tracking.registry import check_names
from tests.sweeps.made import SCORES, Finished, confirm, finish
from tests.sweeps.processes import copy_tables
from wgan_core.config import Structure
from wgan_core.data.coding import Coding, Column
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.sampling.generator import averaged_generator, read_generator
from wgan_core.training import checkpoint as checkpoints

PLAIN = Structure("mlp", (1, 4, 4), latent_dim=3)
TOLD = Structure("mlp", (1, 4, 4), latent_dim=5, classes=3)
NUMBERS = Structure("mlp", (1, 4, 4), latent_dim=5, conditions=Coding((Column("a", 5.0, 2.0), Column("b"))))
CODING = Coding((Column("a", 100.0, 2.0), Column("b", 7.0)))
TABLE = Structure("mlp", (2,), latent_dim=4, dtype="float64", coding=CODING)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One for sweeps, which is not the current folder; that stays empty."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    copy_tables(tmp_path)
    return tmp_path


@pytest.fixture
def sweep(storage: Path, make_plan: Callable[..., Plan]) -> Finished:
    return finish(storage, make_plan(trials=3, structure=PLAIN))


@pytest.fixture
def promoted(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The first line that `sweeps promote` prints."""

    def ran(sweep: Finished, *options: str | int) -> str:
        capsys.readouterr()
        arguments = ["promote", sweep.plan.name, "--storage", str(sweep.storage), *map(str, options)]
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out.splitlines()[0]

    return ran


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which `sweeps promote` refuses."""

    def ran(sweep: Finished, *options: str | int) -> str:
        capsys.readouterr()
        assert main(["promote", sweep.plan.name, "--storage", str(sweep.storage), *map(str, options)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line

    return ran


def versions(sweep: Finished, model: str = "sweep") -> list[Any]:
    return sorted(sweep.client().search_model_versions(f"name = '{model}'"), key=lambda each: int(each.version))


def models(sweep: Finished) -> list[Any]:
    """What was made of the sweep's runs to be promoted."""
    experiment = sweep.client().get_experiment_by_name(sweep.plan.name)
    assert experiment is not None
    found = sweep.client().search_logged_models([experiment.experiment_id])
    return [model for model in found if model.name.startswith("promoted")]


def runs(sweep: Finished) -> dict[str, Any]:
    """All that there is of the sweep's runs but what they put out, for comparison."""
    client = sweep.client()
    experiment = client.get_experiment_by_name(sweep.plan.name)
    assert experiment is not None
    return {
        run.info.run_id: (
            vars(run.info),
            run.data.tags,
            run.data.params,
            {key: [vars(m) for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics},
        )
        for run in client.search_runs([experiment.experiment_id])
    }


def trial_run(sweep: Finished, label: str) -> Any:
    client = sweep.client()
    experiment = client.get_experiment_by_name(sweep.plan.name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`trial.number` = '{label}'")
    return run


def package(sweep: Finished, alias: str, target: Path) -> Path:
    """The files of the version of that alias."""
    source = sweep.client().get_model_version_by_alias(sweep.plan.name, alias).source
    target.mkdir()
    return Path(mlflow.artifacts.download_artifacts(source, dst_path=str(target)))


def test_the_best_becomes_a_version_that_says_what_it_is(
    sweep: Finished, promoted: Callable[..., str], tmp_path: Path
) -> None:
    before = runs(sweep)
    assert promoted(sweep, "--as", "champion") == "champion of sweep is version 1, a new version"
    assert list(Path.cwd().iterdir()) == []
    version = sweep.client().get_model_version_by_alias("sweep", "champion")
    run = trial_run(sweep, "1")
    assert (version.run_id, version.current_stage, version.status) == (run.info.run_id, "None", "READY")
    checkpoint = sweep.folder / "trials" / "1" / "checkpoints" / "000000020"
    tags = version.tags
    said = {key: tags[key] for key in ("sweep.name", "sweep.id", "trial.number", "best.critic_updates", "objective")}
    assert said == dict(zip(said, ("sweep", "1d", "1", "20", "eval/a"), strict=True))
    assert (float(tags["score"]), float(tags["floor"])) == (SCORES[1].scores[20], 0.5)
    assert (tags["data"], tags["data.digest"], tags["best.checkpoint"]) == ("data", "digest", str(checkpoint))
    assert json.loads(tags["protocol"]) == sweep.plan.protocol
    assert json.loads(tags["versions"]) == json.loads(sweep.folder.read(FILE))["versions"]
    assert version.description.startswith("**eval/a 1** on held-out data of data (real against real: 0.5)\n")
    assert "lambda_gp 10, lr_critic" in version.description
    assert 'load_model("models:/sweep/1")' in version.description

    # The model belongs to the trial's run, with the very point of its curve; of that run nothing else is changed.
    (model,) = models(sweep)
    assert (model.source_run_id, str(model.status), model.model_uri) == (run.info.run_id, "READY", tags["model.uri"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "sweep", "version": "1"}]
    assert [(point.key, point.value, point.step) for point in model.metrics] == [("eval/a", 1.0, 20)]
    assert (model.model_id, 20) in [(output.model_id, output.step) for output in run.outputs.model_outputs]
    assert runs(sweep) == before

    # The files that `sweeps export` writes.
    files = package(sweep, "champion", tmp_path / "files")
    generator = averaged_generator(checkpoints.read(checkpoint))
    z = torch.randn(4, 3)
    assert torch.equal(read_generator(Folder.at(files))(z), generator(z))
    best = json.loads((files / "best.json").read_text())
    assert (best["trial"], best["value"], best["run_id"]) == ("1", 1.0, run.info.run_id)
    assert json.loads((files / "protocol.json").read_text()) == sweep.plan.protocol
    requirements = (files / "requirements.txt").read_text().split()
    assert [re.split("[<>=]", line)[0] for line in requirements] == ["torch", "mlflow"]


def test_an_alias_moves_and_nothing_is_made_twice_or_deleted(sweep: Finished, promoted: Callable[..., str]) -> None:
    assert promoted(sweep, "--as", "champion") == "champion of sweep is version 1, a new version"
    assert promoted(sweep, "--as", "champion") == "champion of sweep is version 1 already"
    assert promoted(sweep, "--as", "stable") == "stable of sweep is version 1, which was there before"
    assert promoted(sweep, "--as", "stable", "--trial", 1) == "stable of sweep is version 1 already"
    assert len(versions(sweep)) == len(models(sweep)) == 1
    moved = promoted(sweep, "--as", "champion", "--trial", 0)
    assert moved == "champion of sweep moved from version 1 to version 2, a new version"
    assert [each.tags["best.critic_updates"] for each in versions(sweep)] == ["20", "10"]
    back = promoted(sweep, "--as", "champion")
    assert back == "champion of sweep moved from version 2 to version 1, which was there before"
    aliases = sweep.client().get_registered_model("sweep").aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {"champion": 1, "stable": 1}
    # Another model has versions of its own, of the same files.
    assert (
        promoted(sweep, "--as", "champion", "--model", "team.best")
        == "champion of team.best is version 1, a new version"
    )
    assert [each.tags["model.uri"] for each in versions(sweep, "team.best")] == [versions(sweep)[0].tags["model.uri"]]
    assert len(versions(sweep)) == len(models(sweep)) == 2
    known = {model.source_run_id: json.loads(model.tags["mlflow.modelVersions"]) for model in models(sweep)}
    assert known[trial_run(sweep, "1").info.run_id] == [
        {"name": "sweep", "version": "1"},
        {"name": "team.best", "version": "1"},
    ]


def test_of_a_confirmed_sweep_it_is_the_best_run_of_the_winner(sweep: Finished, promoted: Callable[..., str]) -> None:
    """With what its setting scores on the test split; the search's own trials can be named still."""
    confirm(sweep)
    promoted(sweep, "--as", "champion")
    (version,) = versions(sweep)
    assert (version.tags["trial.number"], version.tags["score"]) == ("1b", "1.25")
    assert version.run_id == trial_run(sweep, "1b").info.run_id
    assert models(sweep)[0].name == "promoted-t001b"
    low, high = stats.t.interval(0.95, 1, loc=1.875, scale=stats.sem([1.75, 2.0]))
    said = f"Trial 1 again with fresh seeds: 1.875 on the test split (95 % interval {low:.4g} to {high:.4g})\n"
    assert said in version.description
    assert promoted(sweep, "--as", "champion", "--trial", 1).startswith("champion of sweep moved from version 1 to")
    assert "fresh seeds" not in versions(sweep)[1].description


@pytest.mark.parametrize("step", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_what_broke_off_is_taken_up_again(
    sweep: Finished,
    promoted: Callable[..., str],
    refused: Callable[..., str],
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("the connection was cut\nin two")

    with monkeypatch.context() as patched:
        patched.setattr(Client, step, breaks)
        line = refused(sweep, "--as", "champion")
        assert line.endswith("it says: the connection was cut in two: check --tracking-uri")
    assert promoted(sweep, "--as", "champion").startswith("champion of sweep is version 1, ")
    (version,) = versions(sweep)
    (model,) = models(sweep)
    assert version.description
    assert str(model.status) == "READY"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "sweep", "version": "1"}]
    loaded = mlflow.pytorch.load_model(
        str(Path(sweep.storage, "mlartifacts/sweep/models", model.model_id, "artifacts"))
    )
    assert loaded(torch.zeros(2, 3)).shape == (2, 1, 4, 4)


ELSEWHERE = """
import json, os, sys, threading, time

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sweeps", "wgan_core"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
for name in ("sweeps", "wgan_core"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} is here")

import mlflow, numpy as np, requests, uvicorn
from mlflow.pyfunc import scoring_server

folder = sys.argv[1]
for name in ("plain", "told", "table", "numbers"):
    given = dict(np.load(f"{folder}/{name}.npz"))
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    direct = model.predict(given if len(given) > 1 else given["z"])
    server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    inputs = {key: value.tolist() for key, value in given.items()}
    body = {"inputs": inputs if len(given) > 1 else inputs["z"]}
    answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    answer.raise_for_status()
    files = mlflow.artifacts.download_artifacts(f"models:/{name}@champion")
    body = json.load(open(os.path.join(files, "serving_input_example.json")))
    example = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
    example.raise_for_status()
    assert len(example.json()["predictions"]) == 2
    server.should_exit = True
    np.savez(f"{folder}/{name}-samples.npz", direct=direct, scored=np.asarray(answer.json()["predictions"]))
"""


@pytest.mark.slow
def test_a_version_is_loaded_and_served_without_this_package_and_without_pickles(
    storage: Path, make_plan: Callable[..., Plan], promoted: Callable[..., str]
) -> None:
    """Some that are told classes or numbers, and one of a table, too: what `averaged_generator` gives, as arrays."""
    structures = {"plain": PLAIN, "told": TOLD, "numbers": NUMBERS, "table": TABLE}
    wanted = {}
    for number, (name, structure) in enumerate(structures.items()):
        plan = make_plan(name=name, id=str(number), trials=3, structure=structure, protocol={"long": "x" * 5000})
        sweep = finish(storage, plan)
        promoted(sweep, "--as", "champion")
        z = np.random.default_rng(number).standard_normal((7, structure.latent_dim)).astype(structure.dtype)
        inputs = {"z": z, **({"labels": np.arange(7) % structure.classes} if structure.classes else {})}
        if structure.conditions is not None:
            inputs["conditions"] = np.linspace(0, 9, 14).reshape(7, 2)
        np.savez(storage / f"{name}.npz", **inputs)
        checkpoint = checkpoints.read(sweep.folder / "trials" / "1" / "checkpoints" / "000000020")
        wanted[name] = averaged_generator(checkpoint)(*map(torch.from_numpy, inputs.values())).numpy()
        (version,) = versions(sweep, name)
        assert re.fullmatch("sha256 [0-9a-f]{64}", version.tags["protocol"])
    (storage / "elsewhere.py").write_text(ELSEWHERE)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"MLFLOW_TRACKING_URI": sweep.uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    # -I: neither the current folder nor PYTHONPATH is looked into.
    command = [sys.executable, "-I", str(storage / "elsewhere.py"), str(storage)]
    ran = subprocess.run(
        command, cwd=storage / "here", env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for name, samples in wanted.items():
        got = np.load(storage / f"{name}-samples.npz")
        assert samples.shape == (7, *structures[name].sample_shape)
        assert got["direct"].dtype == samples.dtype
        np.testing.assert_allclose(got["direct"], samples, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got["scored"], samples, rtol=0, atol=1e-6)
    # The way back to the table's own columns comes with it.
    described = json.loads((package(sweep, "champion", storage / "files") / "generator.json").read_text())
    assert Coding.from_json(described["structure"]["coding"]) == CODING


def test_a_program_with_a_pickle_in_it_is_not_loaded(
    sweep: Finished, promoted: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one who can write to the store could put there; where pickles are refused it is not read."""
    promoted(sweep, "--as", "champion")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    files = package(sweep, "champion", tmp_path / "files")
    assert mlflow.pyfunc.load_model(str(files)).predict(np.zeros((1, 3), np.float32)).shape == (1, 1, 4, 4)
    program, marker = files / "data" / "program" / "model.pt2", tmp_path / "was-run"
    with zipfile.ZipFile(program) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (inputs,) = [name for name in contents if "sample_inputs" in name]
    contents[inputs] = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    with zipfile.ZipFile(program, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with pytest.raises(MlflowException, match="not a pickle-free payload"):
        mlflow.pyfunc.load_model(str(files))
    assert not marker.exists()


@pytest.mark.parametrize(
    "alias",
    ["champion", "a-b_c", "1", "é", "", "a b", "a.b", "a/b", "a@b", "latest", "LATEST", "v1", "V12", "v1a", "x" * 256],
)
def test_an_alias_is_refused_as_mlflow_refuses_it(alias: str) -> None:
    try:
        _validate_model_alias_name(alias)
        _validate_model_alias_name_reserved(alias)
    except MlflowException:
        with pytest.raises(UserError, match="--as must be 1 to 255 letters"):
            check_names("mnist", alias)
    else:
        check_names("mnist", alias)


def test_what_cannot_be_promoted_is_refused_and_nothing_is_written(
    sweep: Finished, refused: Callable[..., str], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = (storage / "mlflow.db").read_bytes()
    files = sorted(storage.rglob("*"))
    assert "given 'a b': give --as champion" in refused(sweep, "--as", "a b")
    assert "--model must be 1 to 100 letters" in refused(sweep, "--as", "a", "--model", "team/best")
    line = refused(sweep, "--as", "a", "--trial", 7)
    assert "--trial must be a trial of 'sweep' that has a score; given '7', and these have one: 0, 1, 2: name" in line
    missing = f"sqlite:///{storage}/none.db"
    line = refused(sweep, "--as", "a", "--tracking-uri", missing)
    assert f"a sweep's MLflow store must be there; {storage}/none.db is not: give --tracking-uri" in line
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}")
        line = refused(sweep, "--as", "a")
    assert "the MLflow server must answer within 5 s; http://me:***@127.0.0.1" in line
    (storage / "notes.db").write_text("this is not a database" * 100)
    line = refused(sweep, "--as", "a", "--tracking-uri", f"sqlite:///{storage}/notes.db")
    assert "must do what it is asked; it says: " in line
    assert line.endswith(": check --tracking-uri")
    (storage / "notes.db").unlink()
    assert sorted(storage.rglob("*")) == files
    assert (storage / "mlflow.db").read_bytes() == database


def test_a_trial_that_is_not_in_the_store(
    sweep: Finished, refused: Callable[..., str], storage: Path, make_plan: Callable[..., Plan]
) -> None:
    """Another store, one with a sweep of the same name in it, and one into which the trial was not brought yet."""
    other = f"sqlite:///{storage}/other.db"
    copy_tables(storage, "other.db")
    line = refused(sweep, "--as", "a", "--tracking-uri", other)
    assert (
        f"{other} has none named 'sweep', or a deleted one: give the --tracking-uri that the sweep was run with" in line
    )
    finish(storage / "b", make_plan(id="other", trials=3, structure=PLAIN), other)
    line = refused(sweep, "--as", "a", "--tracking-uri", other)
    assert f"trial 1 of 'sweep' must have a run in MLflow; {other} has none: give the --tracking-uri" in line
    sweep.client().delete_run(trial_run(sweep, "1").info.run_id)
    assert "or continue the sweep, which uploads what waits in its folder" in refused(sweep, "--as", "a")
    assert versions(sweep) == models(sweep) == []
    assert sweep.client().search_registered_models() == []


def test_where_a_sweep_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given goes before the environment, that before the default. What the sweep noted is not followed."""
    folder = Folder.at(tmp_path) / "sweep"
    folder.write(FILE, b"{}")
    assert tracking_uri_of(folder, None) == f"sqlite:///{tmp_path}/mlflow.db"
    folder.write(FILE, json.dumps({"tracking_uri": "http://noted"}).encode())
    with pytest.raises(UserError, match="give --tracking-uri http://noted"):
        tracking_uri_of(folder, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri_of(folder, None) == "http://environment"
    assert tracking_uri_of(folder, "http://given") == "http://given"
    folder.write(FILE, json.dumps({"tracking_uri": "sqlite:////moved/mlflow.db"}).encode())
    # As for a script: as if the environment named none. A database of the usual name is the storage's own.
    assert tracking_uri_of(folder, "") == f"sqlite:///{tmp_path}/mlflow.db"


def test_where_a_sweep_in_an_object_store_is_recorded(tmp_path: Path) -> None:
    """Where it is told: there is no file beside it."""
    folder = Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket/sweep")
    folder.write(FILE, b"{}")
    with pytest.raises(UserError, match=r"in an object store needs an MLflow server; .*bucket is one"):
        tracking_uri_of(folder, None)
    assert tracking_uri_of(folder, "http://given") == "http://given"
