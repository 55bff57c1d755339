"""The tracking server of `cluster/mlflow` on a real PostgreSQL, by its own scripts, and a sweep that uses both."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tests.cluster.postgres import Postgres, free_port, missing, postgres
from tests.cluster.trap import trap
from tests.sweeps.processes import MNIST, ROOT, Running, Surroundings, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]

SCRIPTS = ROOT / "cluster" / "mlflow"
PACKAGES = ("flask_wtf", "httptools", "psycopg", "uvloop")
WORKERS = 2
NAME = "disturbed"
# Three presets and two random ones.
TRIALS, BUDGET = 5, 45


class Server:
    """A tracking server in a folder, with databases of its own."""

    def __init__(self, around: Surroundings, database: Postgres, folder: Path) -> None:
        self.around, self.database, self.folder, self.port = around, database, folder, free_port()
        self.running: Running | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def studies(self) -> str:
        """The address of Optuna's database, with the password to be found in ~/.pgpass."""
        return f"postgresql+psycopg://sweeps@127.0.0.1:{self.database.port}/sweeps"

    def script(self, name: str, *arguments: str | Path, **env: str) -> Running:
        """One of the scripts, on this folder."""
        own = {"PYTHON": sys.executable, "MLFLOW_PORT": str(self.port), "MLFLOW_WORKERS": str(WORKERS)}
        return self.around.start(SCRIPTS / name, self.folder, *arguments, **own, **self.database.env, **env)

    def start(self) -> None:
        """It answers when this returns."""
        running = self.running = self.script("serve")
        wait_for(lambda: running.process.poll() is not None or self._answers(), "the server")
        assert running.process.poll() is None, running.err

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        """As systemd does."""
        assert self.running is not None
        self.running.process.terminate()
        self.running.wait(60)

    def get(self, account: tuple[str, str] | None = None, host: str | None = None) -> int:
        """The status of a request that anyone with an account may make."""
        headers = {} if host is None else {"Host": host}
        address = f"{self.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
        return requests.get(address, auth=account, headers=headers, timeout=30).status_code

    def secrets(self) -> set[str]:
        """Every password that was made."""
        files = [self.folder / "pgpass", self.folder / "server.env", *self.folder.glob("accounts/*/*")]
        return set(re.findall(r"\b[0-9a-f]{48}\b", "\n".join(file.read_text() for file in files)))


def account(server: Server, name: str) -> tuple[str, str]:
    said = (server.folder / "accounts" / name / "credentials").read_text()
    return name, said.split("tracking_password = ")[1].strip()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server, str], MlflowClient]:
    """MLflow's client, as a person with an account."""

    def made(server: Server, name: str) -> MlflowClient:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", account(server, name)[1])
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        return MlflowClient(server.uri, server.uri)

    return made


@pytest.fixture(scope="module")
def server(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It runs, and alice and bob have accounts; the surroundings are alice's home."""
    wanting = missing() + [name for name in PACKAGES if find_spec(name) is None]
    if wanting:
        pytest.skip(f"needs_server: PostgreSQL and cluster/mlflow/requirements.txt; not here: {', '.join(wanting)}")
    with postgres() as database:
        made = Server(surroundings, database, tmp_path_factory.mktemp("server") / "folder")
        made.script("setup").succeeded()
        for name in ("alice", "bob"):
            made.script("account", name).succeeded()
        own = made.folder / "accounts" / "alice"
        (surroundings.home / ".mlflow").mkdir()
        shutil.copy(own / "credentials", surroundings.home / ".mlflow" / "credentials")
        shutil.copy(own / "pgpass", surroundings.home / ".pgpass")
        made.start()
        yield made
        surroundings.close()


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file."""
    found = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): (file.stat().st_mode & 0o777, file.read_bytes()) for file in found}


def test_setup_again_changes_nothing(server: Server) -> None:
    before = files(server.folder)
    again = server.script("setup").succeeded()
    assert files(server.folder) == before
    assert {mode for mode, _ in before.values()} == {0o600}
    assert server.folder.stat().st_mode & 0o777 == 0o700
    assert not [secret for secret in server.secrets() if secret in again.out + again.err]


def test_roles_have_a_database_each(server: Server) -> None:
    """The one that people know the password of is let into no other."""
    passwords = (server.folder / "pgpass").read_text()
    assert {line.split(":")[2] for line in passwords.splitlines()} == {"mlflow", "mlflow_auth", "sweeps"}
    allowed = "SELECT has_database_privilege('sweeps', datname, 'CONNECT') FROM pg_database WHERE datname "
    assert server.database.query(f"{allowed} IN ('mlflow', 'mlflow_auth')") == ["f", "f"]
    assert server.database.query("SELECT rolname FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'") == []


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("serve", {"MLFLOW_HOST": "0.0.0.0"}, "the names that clients use"),
        ("serve", {"MLFLOW_HOST": "10.0.0.1", "MLFLOW_SERVER_ALLOWED_HOSTS": "a.example,*"}, "it has '*'"),
        ("serve", {"MLFLOW_HOST": "10.0.0.1", "MLFLOW_SERVER_ALLOWED_HOSTS": "?*:5000"}, "it has '?*:5000'"),
        ("serve", {"MLFLOW_WORKERS": "8"}, "its max_connections is 100"),
        ("account", {"ACCOUNT_PASSWORD": "short"}, "at least 12"),
    ],
)
def test_what_is_refused(server: Server, name: str, given: Mapping[str, str], said: str) -> None:
    env = {"PYTHON": sys.executable, "MLFLOW_WORKERS": str(WORKERS), **server.database.env, **given}
    server.around.start(SCRIPTS / name, server.folder, *(["carol"] if name == "account" else []), **env).refused(said)


def test_the_admin_is_the_servers_own(server: Server) -> None:
    server.script("account", "admin", "--new-password").refused("must not be admin")


def test_who_is_let_in(server: Server) -> None:
    name, password = account(server, "bob")
    assert server.get((name, password)) == 200
    assert server.get() == 401
    assert server.get((name, password + "0")) == 401
    assert server.get(("alice", password)) == 401
    assert server.get((name, password), host="evil.example") == 403
    assert server.get((name, password), host="localhost:8080") == 200


def test_an_account_is_made_once_and_has_a_new_password_when_told(server: Server) -> None:
    old = account(server, "bob")
    server.script("account", "bob").refused("--new-password")
    assert account(server, "bob") == old
    server.script("account", "bob", "--new-password").succeeded()
    assert server.get(account(server, "bob")) == 200


def test_no_secret_is_on_a_command_line_and_no_job_runner_runs(server: Server) -> None:
    """Nor in what the server said, nor in what PostgreSQL wrote down of each statement."""
    assert server.running is not None
    processes = [psutil.Process(server.running.process.pid), *server.running.descendants()]
    lines = [" ".join(each.cmdline()) for each in processes]
    # `mlflow server`, uvicorn, what multiprocessing tracks its resources with, and the workers.
    assert len(lines) == 3 + WORKERS, lines
    said = "\n".join([*lines, server.running.out, server.running.err, server.database.log])
    assert len(server.secrets()) >= 7
    assert not [secret for secret in server.secrets() if secret in said]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)) * 8192)
    return path


def test_others_read_and_do_not_write(
    server: Server, client: Callable[[Server, str], MlflowClient], artifact: Path, tmp_path: Path
) -> None:
    """Runs, artifacts and models; artifacts of any size go through the server."""
    alice = client(server, "alice")
    experiment = alice.create_experiment("alice's")
    run = alice.create_run(experiment).info
    assert run.artifact_uri.startswith("mlflow-artifacts:/")
    alice.log_metric(run.run_id, "score", 1.5, step=3)
    alice.log_artifact(run.run_id, str(artifact))
    model = alice.create_logged_model(experiment, name="best", source_run_id=run.run_id)
    alice.log_model_artifacts(model.model_id, str(artifact.parent))
    alice.finalize_logged_model(model.model_id, "READY")

    bob = client(server, "bob")
    assert bob.get_run(run.run_id).data.metrics == {"score": 1.5}
    assert Path(bob.download_artifacts(run.run_id, artifact.name, str(tmp_path))).read_bytes() == artifact.read_bytes()
    other = tmp_path / "other" / artifact.name
    other.parent.mkdir()
    other.write_bytes(b"another's")
    acts: list[Callable[[], object]] = [
        lambda: bob.log_metric(run.run_id, "score", 0.0, step=4),
        lambda: bob.log_artifact(run.run_id, str(other)),
        lambda: bob.create_run(experiment),
        lambda: bob.delete_run(run.run_id),
        lambda: bob.log_model_artifacts(model.model_id, str(other.parent)),
    ]
    for act in acts:
        with pytest.raises(Exception, match="403"):
            act()
    assert Path(bob.download_artifacts(run.run_id, artifact.name, str(tmp_path))).read_bytes() == artifact.read_bytes()
    assert bob.create_run(bob.create_experiment("bob's")).info.status == "RUNNING"


def test_clean_up_takes_what_hangs_on_a_deleted_run(
    server: Server, client: Callable[[Server, str], MlflowClient], artifact: Path
) -> None:
    """`mlflow gc` alone would leave the trial below it, and its model."""
    alice = client(server, "alice")
    experiment = alice.create_experiment("to be cleaned up")
    gone, stays = (alice.create_run(experiment).info.run_id for _ in range(2))
    trials = [alice.create_run(experiment, tags={"mlflow.parentRunId": above}) for above in (gone, stays)]
    models = [alice.create_logged_model(experiment, source_run_id=trial.info.run_id) for trial in trials]
    for model in models:
        alice.log_model_artifacts(model.model_id, str(artifact.parent))
    alice.delete_run(gone)
    server.script("clean-up", "1h").succeeded()
    assert len(alice.search_runs([experiment], run_view_type=ViewType.ALL)) == 4
    server.script("clean-up").succeeded()
    left = alice.search_runs([experiment], run_view_type=ViewType.ALL)
    assert {run.info.run_id for run in left} == {stays, trials[1].info.run_id}
    assert [model.model_id for model in alice.search_logged_models([experiment])] == [models[1].model_id]
    below = server.folder / "artifacts" / experiment / "models"
    assert [file.parts[-3] for file in below.rglob(artifact.name)] == [models[1].model_id]


def test_clean_up_asks_no_server_and_leaves_files_elsewhere(
    server: Server, client: Callable[[Server, str], MlflowClient], artifact: Path, tmp_path: Path
) -> None:
    """Any account chooses where artifacts are, and any user listens at the port of a server that is down.

    MLflow's own `gc` sends that listener the admin's password, and ends at the first place that it cannot reach.
    """
    alice = client(server, "alice")
    places = ("dbfs:/x", tmp_path.as_uri())
    elsewhere = [alice.create_experiment(f"at {place}", artifact_location=place) for place in places]
    removed, beside = (alice.create_experiment(name) for name in ("to be removed", "beside them"))
    runs = [alice.create_run(experiment).info.run_id for experiment in (*elsewhere, removed, beside)]
    own = dict(zip((removed, beside), runs[2:], strict=True))
    stored = [server.folder / "artifacts" / key / run / "artifacts" for key, run in own.items()]
    for run, folder in zip(own.values(), stored, strict=True):
        alice.log_artifact(run, str(artifact))
        assert (folder / artifact.name).exists()
    kept = tmp_path / runs[1] / "artifacts" / "kept"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    for run in runs:
        alice.delete_run(run)
    for experiment in (elsewhere[0], removed):
        alice.delete_experiment(experiment)
    with trap("http") as listener:
        env = {"PYTHON": sys.executable, "MLFLOW_PORT": str(listener.port), **server.database.env}
        done = server.around.start(SCRIPTS / "clean-up", server.folder, **env).wait()
        assert (done.returncode, listener.received) == (1, [])
    assert len(done.err.splitlines()) == 1
    for run, place in zip(runs[:2], places, strict=True):
        assert f"run {run} has artifacts at '{place}" in done.err
    assert kept.exists()
    assert not any(folder.exists() for folder in stored)
    assert alice.search_runs([*elsewhere[1:], beside], run_view_type=ViewType.ALL) == []
    gone = {experiment.name for experiment in alice.search_experiments(ViewType.DELETED_ONLY)}
    assert not gone & {"at dbfs:/x", "to be removed"}
    server.script("clean-up").succeeded()


@dataclass
class Swept:
    """What a disturbed sweep came to, and what its processes said."""

    search: list[Any]
    undisturbed: list[Any]
    said: str
    storage: Path


def searched(url: str, name: str) -> list[Any]:
    """State, parameters and reported values of each trial of a sweep."""
    (study,) = [each for each in optuna.get_all_study_names(url) if each.startswith(f"{name}-")]
    trials = optuna.load_study(study_name=study, storage=url).get_trials()
    return [(trial.state.name, trial.params, trial.intermediate_values) for trial in trials]


@pytest.fixture(scope="module")
def swept(server: Server, joined: Surroundings, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep whose database is restarted, tracking server away and driver killed, beside an undisturbed one."""
    storage, calm = tmp_path_factory.mktemp("storage"), tmp_path_factory.mktemp("calm")
    options = ["--name", NAME, "--data", small_data, "--budget", BUDGET, "--max-concurrent", 1, "--trials", TRIALS]
    at_server = [*options, "--study-storage", server.studies, "--tracking-uri", server.uri]
    superuser = f"postgresql+psycopg://postgres@/sweeps?host={server.database.folder}&port={server.database.port}"

    def until(running: Running, trial: int, reports: int) -> None:
        spool = storage / NAME / "trials" / str(trial) / "spool"
        there = f"{reports} reports of trial {trial}"
        wait_for(lambda: len([*spool.glob("*[0-9].json")]) >= reports or running.process.poll() is not None, there)
        assert running.process.poll() is None, running.out + running.err

    # The first two trials are trained to their end.
    first = server.around.script(storage, *at_server)
    until(first, 0, 3)
    server.database.restart()
    until(first, 1, 3)
    first.kill()
    second = server.around.script(storage, *at_server)
    until(second, 1, 6)
    server.stop()
    server.database.restart()
    until(second, 2, 1)
    server.start()
    second.succeeded()
    joined.run(MNIST, calm, *options).succeeded()
    undisturbed = searched(f"sqlite:///{calm}/{NAME}/study.db", NAME)
    said = first.out + first.err + second.out + second.err
    return Swept(searched(superuser, NAME), undisturbed, said, storage)


def test_a_disturbed_sweep_is_the_sweep_that_it_would_have_been(swept: Swept) -> None:
    assert len(swept.undisturbed) == TRIALS
    assert {state for state, _, _ in swept.undisturbed} <= {"COMPLETE", "PRUNED"}
    assert swept.search == swept.undisturbed
    assert "trained again" not in swept.said


def test_the_server_has_all_of_it(server: Server, swept: Swept, client: Callable[[Server, str], MlflowClient]) -> None:
    """Each trial once, with every point of its curve."""
    runs = runs_of(client(server, "bob"), NAME)
    own = [run for run in runs if "trial.number" not in run.data.tags]
    assert [run.data.tags["mlflow.sync"] for run in own] == ["complete"]
    trials = sorted((run for run in runs if run not in own), key=lambda run: int(run.data.tags["trial.number"]))
    assert len(trials) == TRIALS
    for run, (_, _, values) in zip(trials, swept.search, strict=True):
        points = client(server, "bob").get_metric_history(run.info.run_id, "eval/sliced_wasserstein")
        assert {point.step: point.value for point in points} == pytest.approx(values, rel=1e-12)
        assert len(points) == len(values)


def test_no_password_is_told_or_kept(server: Server, swept: Swept) -> None:
    kept = b"".join(file.read_bytes() for file in swept.storage.rglob("*") if file.is_file())
    assert kept
    for secret in server.secrets():
        assert secret not in swept.said
        assert secret.encode() not in kept


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def everything(client: MlflowClient, scratch: Path) -> dict[str, Any]:
    """What MLflow's client reads: runs with every point, artifacts by SHA-256, models; by experiment."""
    found: dict[str, Any] = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        runs = {}
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            points = {
                key: sorted((point.step, point.timestamp, point.value) for point in history)
                for key in run.data.metrics
                for history in [client.get_metric_history(run.info.run_id, key)]
            }
            local = scratch / run.info.run_id
            local.mkdir(parents=True)
            client.download_artifacts(run.info.run_id, "", str(local))
            runs[run.info.run_id] = (run.to_dictionary(), points, digests(local))
        models = [model.to_dictionary() for model in client.search_logged_models([experiment.experiment_id])]
        found[experiment.name] = (experiment.experiment_id, runs, json.dumps(models, default=str, sort_keys=True))
    return found


def digests(folder: Path) -> dict[str, str]:
    found = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def test_what_was_backed_up_is_what_is_restored(
    server: Server, swept: Swept, client: Callable[[Server, str], MlflowClient], artifact: Path, tmp_path: Path
) -> None:
    """On another machine, whose databases are new; what was written after the backup is not in it."""
    alice = client(server, "alice")
    run = runs_of(alice, "alice's")[0].info.run_id
    before = everything(alice, tmp_path / "before")
    models = digests(server.folder / "artifacts")
    backup = tmp_path / "backup"
    server.script("backup", backup).succeeded()
    server.script("backup", backup).refused("not there yet")
    alice.log_metric(run, "score", 9.0, step=9)
    alice.log_artifact(run, str(artifact), "later")
    server.script("restore", backup, "--replace").refused("nobody else may use the database")
    password = account(server, "bob")[1]
    server.stop()
    server.script("restore", backup).refused("holds something")

    with postgres() as database:
        other = Server(server.around, database, tmp_path / "other")
        other.script("setup", MLFLOW_AUTH_ADMIN_PASSWORD="short").refused("at least 12")
        other.script("setup").succeeded()
        damaged = Path(shutil.copytree(backup, tmp_path / "damaged"))
        with (damaged / "mlflow.dump").open("r+b") as dump:
            dump.seek(-1, os.SEEK_END)
            dump.write(b"?")
        other.script("restore", damaged).refused("must be whole")
        shutil.copy(backup / "mlflow.dump", damaged)
        (damaged / "artifacts" / "stray").touch()
        other.script("restore", damaged).refused("its MANIFEST names")
        (damaged / "artifacts" / "stray").unlink()
        (damaged / "artifacts" / "link").symlink_to("/etc/passwd")
        other.script("restore", damaged).refused("files and folders alone")
        (damaged / "artifacts" / "link").unlink()
        (damaged / "MANIFEST").unlink()
        other.script("restore", damaged).refused("must have a MANIFEST")
        # An older pg_restore does not keep psql from commands in a dump.
        (tmp_path / "old").mkdir()
        old, restrict = tmp_path / "old" / "pg_restore", r"^\\\(un\)\?restrict"
        old.write_text(f"#!/bin/sh\n{shutil.which('pg_restore')} \"$@\" | grep -v '{restrict}'\n")
        old.chmod(0o755)
        other.script("restore", backup, PATH=f"{old.parent}:{os.environ['PATH']}").refused("of August 2025 or later")
        other.script("restore", backup).succeeded()
        other.script("restore", backup).refused("holds something")
        # A dump that pg_restore cannot read, though it is what the MANIFEST says: nothing is lost by it.
        unreadable = Path(shutil.copytree(backup, tmp_path / "unreadable"))
        (unreadable / "mlflow.dump").write_bytes(b"PGDMP of another time")
        lines = (unreadable / "MANIFEST").read_text().splitlines()
        digest = hashlib.sha256((unreadable / "mlflow.dump").read_bytes()).hexdigest()
        lines = [f"{digest}  ./mlflow.dump" if line.endswith("  ./mlflow.dump") else line for line in lines]
        (unreadable / "MANIFEST").write_text("\n".join(lines) + "\n")
        other.script("restore", unreadable, "--replace").refused("could not be restored and is as it was")
        other.script("restore", backup).refused("the database 'mlflow_auth' holds something")
        other.script("restore", backup, "--replace").succeeded()
        shutil.copytree(server.folder / "accounts", other.folder / "accounts")
        other.start()
        assert everything(client(other, "alice"), tmp_path / "after") == before
        assert digests(other.folder / "artifacts") == models
        superuser = f"postgresql+psycopg://postgres@/sweeps?host={database.folder}&port={database.port}"
        assert searched(superuser, NAME) == swept.search
        # Accounts as they were; the admin's password is the new server's.
        assert other.get(("bob", password)) == 200
        settings = (other.folder / "server.env").read_text()
        assert other.get(("admin", settings.split("ADMIN_PASSWORD=")[1].splitlines()[0])) == 200
        other.stop()


def test_every_script_is_sound_bash() -> None:
    for name in ("setup", "account", "serve", "backup", "restore", "clean-up"):
        subprocess.run(["bash", "-n", SCRIPTS / name], check=True)
        assert os.access(SCRIPTS / name, os.X_OK)
