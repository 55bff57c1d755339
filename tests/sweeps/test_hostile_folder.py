"""Nothing that a sweep's folder says is run, sent or deleted: each test is an attack by whoever wrote the folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import socketserver
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import optuna
import psutil
import pytest
import torch
from PIL import Image

from sweeps.cli import main
from sweeps.engine.plan import sqlite_file
from sweeps.engine.plan.arguments import BadArguments, without_places
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.plan import FILE, Plan
from sweeps.engine.plan.sqlite_file import check_database
from sweeps.engine.plan.uri import MisplacedFiles, answers, shown
from sweeps.engine.report.pictures import picture
from sweeps.engine.report.write import write_report
from sweeps.engine.results.results import open_results, study_url, tracking_uri_of
from sweeps.engine.storage import lease
from sweeps.engine.storage.layout import SAMPLES, sample_name, trial_folder
from sweeps.engine.storage.lease import Lease, driver_of
from sweeps.engine.storage.spool import Spool, step_name
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.study import Study
from sweeps.engine.tracking import MlflowRecorder
from sweeps.engine.tracking.client import Client
from sweeps.engine.tracking.cursor import CURSOR_FILE, read_cursor
from sweeps.engine.tracking.film import Tiles, film, tiles
from tests.core.hostile import EPS, png
from tests.sweeps.made import Finished, finish
from tests.sweeps.processes import copy_tables
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.folder import Folder, TooLarge
from wgan_core.errors import UserError, one_line, without_secrets
from wgan_core.sampling.generator import sampler
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

PLAIN = Structure("mlp", (1, 4, 4), latent_dim=3)
OWNER = "a" * 32
SECRET = b"-----BEGIN PRIVATE KEY-----"
ESCAPE = "\x1b]0;owned\x07\u202e\rtrial 0 is best"


TINY = {"critic": {"widths": [4]}, "generator": {"widths": [4]}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_plan: Callable[..., Plan]) -> Finished:
    """A finished sweep of three trials, made but once."""
    storage = tmp_path_factory.mktemp("made") / "storage"
    storage.mkdir()
    copy_tables(storage)
    shutil.copy(storage / "mlflow.db", storage.with_name("empty.db"))
    sweep = finish(storage, make_plan(trials=3, structure=PLAIN))
    shutil.copytree(storage, storage.with_name("kept"))
    return sweep


@pytest.fixture
def sweep(made: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """The sweep as it was made. MLflow notes absolute paths, so it lies where it lay. The current folder is empty."""
    kept = made.storage.with_name("kept")
    for path in made.storage.iterdir():
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    shutil.copytree(kept, made.storage, ignore=shutil.ignore_patterns("mlflow.db"), dirs_exist_ok=True)
    # MLflow has the database open, so its content is put back, and not its file.
    sweep_db = made.storage / "mlflow.db"
    with closing(sqlite3.connect(kept / "mlflow.db")) as source, closing(sqlite3.connect(sweep_db)) as to:
        source.backup(to)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("MLFLOW_TRACKING_URI", "WGAN_STORAGE", "WGAN_STUDY_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def elsewhere(made: Finished, tmp_path: Path) -> str:
    """A new MLflow database below `tmp_path / "new"`, to which all records of the sweep are brought."""
    (tmp_path / "new").mkdir()
    shutil.copy(made.storage.with_name("empty.db"), tmp_path / "new/mlflow.db")
    return f"sqlite:///{tmp_path}/new/mlflow.db"


@pytest.fixture
def secrets(made: Finished) -> Iterator[Path]:
    """A folder of secrets beside the storage, which each attack leaves as it was."""
    folder = made.storage.with_name("secrets")
    folder.mkdir(exist_ok=True)
    (folder / "id").write_bytes(SECRET)
    yield folder
    assert [path.name for path in folder.iterdir()] == ["id"]
    assert (folder / "id").read_bytes() == SECRET


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback: its address, and what it was asked, with the credentials."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.send_error(500)

        do_GET = do_POST = do_PUT = do_PATCH = answer

        def log_message(self, *_: Any) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line with which a command refuses."""
    capsys.readouterr()
    assert main([str(each) for each in arguments]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


def tracker(sweep: Finished, uri: str) -> MlflowRecorder:
    plan = sweep.plan
    return MlflowRecorder(sweep.folder, plan, uri)


def rewrite(path: Path, **change: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def replan(folder: Path, **change: object) -> None:
    """Change the plan of the sweep in a folder."""
    rewrite(folder / FILE, plan={**json.loads((folder / FILE).read_text())["plan"], **change})


def execute(path: Path, statement: str, *values: object) -> None:
    """Change a SQLite database."""
    with closing(sqlite3.connect(path)) as database, database:
        database.create_function("regexp", 2, lambda *_: 0, deterministic=True)
        database.execute(statement, values) if values else database.executescript(statement)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Paths from files


@pytest.mark.parametrize(
    "change",
    [
        {"model_dir": "../../../../secrets"},
        {"model_dir": "checkpoints"},
        {"best": {"critic_updates": 10, "value": 1.0, "checkpoint": "../../../../secrets"}},
    ],
)
def test_the_end_of_a_trial_names_no_other_folder(
    sweep: Finished, secrets: Path, tmp_path: Path, elsewhere: str, change: dict[str, Any]
) -> None:
    trial = sweep.storage / "sweep/trials/1"
    rewrite(trial / "spool/end.json", **change)
    with pytest.raises(ValueError, match="is not a spool segment"):
        Spool(Folder.at(trial)).read("end.json")
    again = tracker(sweep, elsewhere)
    assert again.stop("FINISHED", timeout_s=1) == "partial"
    assert SECRET not in contents(tmp_path / "new").values()


@pytest.mark.parametrize(
    "change",
    [{"image": "../../../../../secrets/id"}, {"metrics": {f"m{number}": 1.0 for number in range(2_000)}}],
    ids=["another picture", "endless metrics"],
)
def test_a_report_names_no_other_picture_and_few_metrics(
    sweep: Finished, secrets: Path, change: dict[str, Any]
) -> None:
    spool = sweep.storage / "sweep/trials/1/spool"
    rewrite(spool / "000000010.json", **change)
    with pytest.raises(ValueError, match="is not a spool segment"):
        Spool(Folder.at(spool.parent)).read("000000010.json")


def test_only_the_files_of_a_generator_are_uploaded(
    sweep: Finished, secrets: Path, tmp_path: Path, elsewhere: str
) -> None:
    model = sweep.storage / "sweep/trials/1/model"
    (model / "id").write_bytes(SECRET)
    (model / "linked").symlink_to(secrets, target_is_directory=True)
    tracker(sweep, elsewhere).stop("FINISHED")
    sent = contents(tmp_path / "new")
    assert SECRET not in sent.values()
    assert any(path.endswith("generator.safetensors") for path in sent)


def test_a_linked_file_of_a_generator_is_not_uploaded(
    sweep: Finished, secrets: Path, tmp_path: Path, elsewhere: str
) -> None:
    weights = sweep.storage / "sweep/trials/1/model/generator.safetensors"
    weights.unlink()
    weights.symlink_to(secrets / "id")
    assert tracker(sweep, elsewhere).stop("FINISHED", timeout_s=1) == "partial"
    assert SECRET not in contents(tmp_path / "new").values()


@pytest.mark.parametrize("where", ["checkpoints", "checkpoints/000000010"])
def test_cleaning_up_deletes_nothing_behind_a_link(sweep: Finished, secrets: Path, where: str) -> None:
    linked = sweep.storage / "sweep/trials/1" / where
    shutil.rmtree(linked)
    linked.symlink_to(secrets, target_is_directory=True)
    with pytest.raises(UserError, match="may be a link"):
        TrialStore(trial_folder(sweep.folder, "1"), sweep.plan.objective).tidy()


def test_cleaning_up_deletes_checkpoints_only(sweep: Finished, secrets: Path) -> None:
    """A link inside a checkpoint that goes is deleted, and not what it points to."""
    checkpoints = sweep.storage / "sweep/trials/1/checkpoints"
    for name in ("notes", "00000001", "000000010.old"):
        (checkpoints / name).mkdir()
    (checkpoints / "mine.txt").write_text("mine")
    (checkpoints / "000000001").mkdir()
    (checkpoints / "000000001/all").symlink_to(secrets, target_is_directory=True)
    TrialStore(trial_folder(sweep.folder, "1"), sweep.plan.objective).tidy()
    kept = {"notes", "00000001", "000000010.old", "mine.txt", "000000010", "000000020"}
    assert {path.name for path in checkpoints.iterdir()} == kept


def test_a_report_is_not_written_through_a_link(sweep: Finished, secrets: Path) -> None:
    report = sweep.storage / "sweep/report"
    report.symlink_to(secrets, target_is_directory=True)
    with pytest.raises(UserError, match="may be a link"):
        write_report(open_results(str(sweep.storage), "sweep"))


@pytest.mark.parametrize("where", ["", "sweep.json", "study.db", "trials", "trials/1", "trials/1/checkpoints"])
def test_what_is_linked_below_a_storage_is_refused(
    sweep: Finished, where: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also where the link leads to what a sweep would have: it may be another user's sweep."""
    original = sweep.storage / "sweep" / where
    moved = tmp_path / "moved"
    original.rename(moved)
    original.symlink_to(moved, target_is_directory=moved.is_dir())
    before = contents(tmp_path)
    line = refused(capsys, "export", "sweep", "--storage", sweep.storage, "--out", tmp_path / "out")
    assert "may be a link" in line
    assert str(original) in line
    assert contents(tmp_path) == before


def test_a_storage_itself_may_be_a_link(sweep: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "linked").symlink_to(sweep.storage, target_is_directory=True)
    assert main(["best", "sweep", "--storage", str(tmp_path / "linked")]) == 0
    assert "COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", "/etc"])
def test_names_below_a_folder_are_plain(tmp_path: Path, name: str) -> None:
    folder = Folder.at(tmp_path)
    for act in (folder.read, folder.exists, folder.delete, folder.__truediv__, lambda each: folder.write(each, b"")):
        with pytest.raises(UserError, match="must be plain"):
            act(name)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sweep.json")
    with pytest.raises(UserError, match="must be a regular file"):
        Folder.at(tmp_path).read("sweep.json")


def test_a_file_that_claims_terabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sweep.json").open("wb") as file:
        file.truncate(2**41)
    with pytest.raises(UserError, match="at most"):
        Folder.at(tmp_path).json("sweep.json")


def test_a_new_storage_is_for_its_user_alone(tmp_path: Path) -> None:
    """One that is there keeps its rights: it may be meant for several."""
    (Folder.at(tmp_path / "new") / "sweep").write("file", b"")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "old").mkdir(mode=0o755)
    (Folder.at(tmp_path / "old") / "sweep").write("file", b"")
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o755


# Where MLflow's files lie


def test_a_copied_storage_leaves_the_original_alone(
    sweep: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sweep.storage, tmp_path / "copy")
    before = contents(sweep.storage)
    line = refused(capsys, "promote", "sweep", "--as", "champion", "--storage", tmp_path / "copy")
    assert "files must lie in" in line
    tracker(Finished(tmp_path / "copy", sweep.plan, ""), f"sqlite:///{tmp_path}/copy/mlflow.db").drain()
    assert contents(sweep.storage) == before


@pytest.mark.parametrize("table", ["runs", "logged_models"])
def test_files_go_to_no_other_folder(sweep: Finished, secrets: Path, table: str) -> None:
    column = {"runs": "artifact_uri", "logged_models": "artifact_location"}[table]
    execute(sweep.storage / "mlflow.db", f"UPDATE {table} SET {column} = ?", secrets.as_uri())
    for number in range(3):
        (sweep.storage / f"sweep/trials/{number}/{CURSOR_FILE}").unlink()
    assert tracker(sweep, sweep.uri).stop("FINISHED", timeout_s=1) == "partial"


@pytest.mark.parametrize("scheme", ["http", "mlflow-artifacts"])
def test_files_and_credentials_go_to_no_other_server(
    sweep: Finished, listener: tuple[str, list[str]], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = listener
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    execute(sweep.storage / "mlflow.db", "UPDATE runs SET artifact_uri = ?", address.replace("http", scheme))
    (sweep.storage / f"sweep/trials/1/{CURSOR_FILE}").unlink()
    assert tracker(sweep, sweep.uri).stop("FINISHED", timeout_s=1) == "partial"
    assert asked == []


def test_files_are_not_written_through_links_among_the_artifacts(sweep: Finished, secrets: Path) -> None:
    (artifact,) = sweep.storage.glob("mlartifacts/sweep/*/artifacts/sweep.json")
    artifact.unlink()
    artifact.symlink_to(secrets / "id")
    tracker(sweep, sweep.uri).stop("FINISHED", timeout_s=1)
    assert not artifact.is_symlink()
    images = next(sweep.storage.glob("mlartifacts/sweep/*/artifacts/images"))
    shutil.rmtree(images)
    images.symlink_to(secrets, target_is_directory=True)
    for number in range(3):
        (sweep.storage / f"sweep/trials/{number}/{CURSOR_FILE}").unlink()
    assert tracker(sweep, sweep.uri).stop("FINISHED", timeout_s=1) == "partial"


@pytest.mark.parametrize(
    ("store", "location"),
    [
        ("http://127.0.0.1:1", "file:///home/victim"),
        ("http://127.0.0.1:1", "file://evil/home/victim"),
        ("http://127.0.0.1:1", "/home/victim"),
        ("http://127.0.0.1:1", "mlruns"),
        ("http://127.0.0.1:1", "http://evil/x"),
        ("http://127.0.0.1:1", "mlflow-artifacts://evil/x"),
        ("http://127.0.0.1:1", "abfss://fs@account.evil.com/x"),
        ("http://127.0.0.1:1", "runs:/1/x"),
        ("http://127.0.0.1:1", "hdfs://evil/x"),
        ("postgresql://127.0.0.1:1/db", "/etc"),
        ("postgresql://127.0.0.1:1/db", "file:///etc"),
        ("postgresql://127.0.0.1:1/db", "mlflow-artifacts:/x"),
        ("sqlite:////tmp/store/mlflow.db", f"/tmp/store/{OWNER}/artifacts"),
        ("sqlite:////tmp/store/mlflow.db", f"/tmp/store/mlartifacts/{'b' * 32}/artifacts"),
        ("sqlite:////tmp/store/mlflow.db", "/tmp/store/mlartifacts/sweep"),
        ("sqlite:////tmp/store/mlflow.db", "s3://bucket/x"),
        ("sqlite:////tmp/store/mlflow.db", "/tmp/store"),
        ("sqlite:////tmp/store/mlflow.db", "/tmp/store/../other"),
        ("sqlite:////tmp/store/mlflow.db", "file://evil/tmp/store/x"),
        ("sqlite:////tmp/store/mlflow.db", ""),
    ],
)
def test_files_go_where_the_store_was_named_alone(store: str, location: str) -> None:
    with pytest.raises(MisplacedFiles):
        place_of(store, location)


def test_places_that_files_may_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's own, a bucket that it names, and folders beside a database, also through a link to them."""
    monkeypatch.chdir(tmp_path)
    for location in ("mlflow-artifacts:/1/x", "mlflow-artifacts://127.0.0.1:1/x", "s3://bucket/x", "gs://bucket/x"):
        assert place_of("http://127.0.0.1:1", location) is None
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    for store in ("real", "linked"):
        for named in ("real", "linked"):
            location = (tmp_path / named / f"mlartifacts/a b/{OWNER}/artifacts").as_uri()
            found = place_of(f"sqlite:///{tmp_path}/{store}/mlflow.db", location)
            assert str(found) == f"{tmp_path}/real/mlartifacts/a b/{OWNER}/artifacts"
    own = str(tmp_path / f"mlruns/1/{OWNER}/artifacts")
    assert str(place_of("postgresql://127.0.0.1:1/db", own)) == own


def place_of(store: str, location: str) -> Folder | None:
    """Where a client of a store would write the files of a run that the store has at this location."""
    client = Client.__new__(Client)
    client._store_uri = store
    return client._place(location, OWNER)


# Addresses and passwords


@pytest.mark.parametrize("command", [("promote", "--as", "champion"), ("serve-ui",), ("confirm",)])
def test_no_credentials_go_to_an_address_that_a_folder_notes(
    sweep: Finished,
    listener: tuple[str, list[str]],
    command: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, asked = listener
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    script = str(Path(main.__code__.co_filename).with_name("mnist.py"))
    rewrite(sweep.storage / "sweep" / FILE, tracking_uri=address, script=script)
    line = refused(capsys, command[0], "sweep", *command[1:], "--storage", sweep.storage)
    assert f"give --tracking-uri {address}" in line
    assert asked == []


def test_a_noted_address_is_quoted_for_the_shell(sweep: Finished) -> None:
    rewrite(sweep.storage / "sweep" / FILE, tracking_uri="x; touch owned")
    with pytest.raises(UserError, match="give --tracking-uri 'x; touch owned'"):
        tracking_uri_of(sweep.folder, None)


@pytest.mark.parametrize("noted", ["postgresql://db/x", "sqlite:////etc/other.db", "http://u:secretword@h/?token=abcd"])
def test_a_noted_address_is_not_followed(sweep: Finished, noted: str) -> None:
    rewrite(sweep.storage / "sweep" / FILE, tracking_uri=noted)
    with pytest.raises(UserError, match="must be given by you to be followed") as told:
        tracking_uri_of(sweep.folder, None)
    assert "secretword" not in str(told.value)
    assert "abcd" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("u:password@host/db", "u:***@host/db"),
        ("postgresql+psycopg://u:p@ss/word@host/db", "postgresql+psycopg://u:***@host/db"),
        ("https://host/x?api_key=SECRET&a=1", "https://host/x?api_key=***&a=1"),
        ("s3://bucket/x?access_key=AKIA&secret_key=abc", "s3://bucket/x?access_key=***&secret_key=***"),
        ("https://TOKEN@host/x", "https://***@host/x"),
        ("cannot parse 'u:password@host/db'", "cannot parse 'u:***@host/db'"),
        ("(url: /api?x-amz-signature=abc (timed out))", "(url: /api?x-amz-signature=*** (timed out))"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Dhunter2", "mssql+pyodbc:///?odbc_connect=***"),
        ("host=h password=hunter2 dbname=d", "host=h password=*** dbname=d"),
        ("https://h/#access_token=abc&x", "https://h/#access_token=***&x"),
        ("sqlite:////home/u/mlflow.db", "sqlite:////home/u/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("at 10:30 by a@b: no", "at 10:30 by a@b: no"),
        ("in header value: 'Bearer sekrit-token'", "in header value: 'Bearer ***'"),
    ],
)
def test_passwords_are_hidden(text: str, hidden: str) -> None:
    assert without_secrets(text) == hidden


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_TOKEN", "PGPASSWORD"])
def test_a_secret_of_the_environment_is_hidden(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may repeat what it was sent."""
    monkeypatch.setenv(variable, "sekrit-token\n")
    assert without_secrets("no header may be sekrit-token or 'sekrit-token\\n'") == "no header may be *** or '***\\n'"


@pytest.mark.parametrize("password", ["it'sSecret", 'p"w', "a b", "x", "a/b@c", "a:b"])
def test_the_password_of_an_address_is_hidden_whatever_it_is(password: str) -> None:
    assert shown(f"postgresql://me:{password}@host/db") == "postgresql://me:***@host/db"


@pytest.mark.parametrize(
    "address", ["https:/u:{}@h", "u:{}@h", "/home/u:{}@h", "nosuch://u:{}@h/x", "nosuch://u:/{}@h"]
)
@pytest.mark.parametrize("password", ["hidden", "hidden word", "hidden'word", "hidden" * 60])
def test_the_password_of_a_place_is_hidden_however_it_is_written(address: str, password: str) -> None:
    written = address.format(password)
    assert "hidden" not in without_secrets(written, written)


def test_what_follows_the_first_at_of_a_password_is_hidden() -> None:
    """A library took it for the host."""
    uri = "postgresql://u:p@SECRET@x@127.0.0.1:1/d"
    for host in ("SECRET@x@127.0.0.1", "x@127.0.0.1"):
        said = without_secrets(f"failed to resolve host '{host}'", uri)
        assert said.endswith("***@127.0.0.1'")
        assert "SECRET" not in said


def test_a_closed_port_of_a_database_is_told_at_once() -> None:
    """MLflow retried for 40 s, with its warnings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not answers(f"postgresql://u:p@127.0.0.1:{port}/d")
    assert answers("postgresql:///d?host=/tmp")


def test_a_damaged_earlier_record_is_passed_over(sweep: Finished) -> None:
    """A restarted trial failed though its checkpoint was whole."""
    store = TrialStore(trial_folder(sweep.folder, "1"), sweep.plan.objective)
    before = [each.critic_updates for each in store.recorded_before(10**9)]
    spool = trial_folder(sweep.folder, "1") / "spool"
    spool.write(step_name(before[0]), b'{"critic_updates": "x"}')
    assert [each.critic_updates for each in store.recorded_before(10**9)] == before[1:]


@pytest.mark.parametrize("part", ["=", "(", "a", "?key", ":@", "x:", "password=", "/", ":/"])
def test_a_long_text_is_cut_and_does_not_take_long(part: str) -> None:
    """A file may hold megabytes: an error shows little of them. Quadratic expressions would take hours here."""
    text = part * (2**20 // len(part))
    assert len(one_line(ValueError(text))) < 2_100
    assert len(shown(text[:2_000])) <= 300
    without_secrets(text[:20_000])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--study-storage", "u:secretword@host/db"),
        ("--study-storage", "postgresql://u:secretword@127.0.0.1:1/db"),
        ("--study-storage", "nosuch://h/db?api_key=secretword"),
        ("--storage", "nosuch://u:secretword@h/x"),
        ("--storage", "s3://u:secretword@/x?y=1"),
    ],
)
def test_no_command_shows_a_password(
    option: str, value: str, sweep: Finished, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["best", "sweep", "--storage", str(sweep.storage), option, value])
    said = capfd.readouterr()
    assert said.err.startswith("error: ")
    assert "secretword" not in said.err + said.out


# What is run


def test_places_among_noted_arguments_are_left_out() -> None:
    noted = ["--trials", "3", "--storage", "/x", "--study-storage=sqlite:////x", "--track=http://x", "--stor", "/y"]
    assert without_places([*noted, "--seed=1", "--tracking-uri", "http://y"]) == ("--trials", "3", "--seed=1")
    with pytest.raises(BadArguments):
        without_places(["--st", "/x"])


def test_a_folder_does_not_choose_the_load_of_a_confirmation(
    sweep: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 processes would share a core, and the search would go on to 5,000 trials."""
    noted = ["--seed", "1", "--trials", "5000", "--cpus-per-trial", "0.05", "--max=99", "--gpus", "0.01", "--lanes=64"]
    script = Path(main.__code__.co_filename).with_name("mnist.py")
    rewrite(sweep.storage / "sweep" / FILE, script=str(script), arguments=noted)
    monkeypatch.setattr(subprocess, "Popen", stopped := Mock(side_effect=UserError("stopped")))
    assert main(["confirm", "sweep", "--storage", str(sweep.storage)]) == 2
    assert stopped.call_args.args[0][3:] == ["--seed", "1", "--trials", "3", "--name", "sweep", "--confirm", "3x3"]


def test_the_data_of_a_sweep_is_noted_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").touch()
    (tmp_path / "wine").touch()
    for given, noted in (("rows.csv", str(tmp_path / "rows.csv")), ("wine", "wine"), ("missing.csv", "missing.csv")):
        asked = ["--data", given, "--storage", "/x", "--seed", "1"]
        options = parse("mine", "", 12, 4500, asked, named=["breast-cancer", "wine"])
        assert options.arguments == ("--seed", "1", "--data", noted)


@pytest.mark.parametrize("script", ["{sweeps}/cli.py", "{sweeps}/notebook.py", "{here}/mnist.py", "mnist.py"])
def test_only_a_sweep_script_of_this_package_is_run_unasked(
    sweep: Finished, script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here/mnist.py").write_text("raise SystemExit('ran')")
    named = script.format(sweeps=Path(main.__code__.co_filename).parent, here=tmp_path / "here")
    rewrite(sweep.storage / "sweep" / FILE, script=named)
    line = refused(capsys, "confirm", "sweep", "--storage", sweep.storage)
    assert "if you trust that file, give it with --script" in line


def test_a_note_does_not_put_a_program_into_what_is_shown(sweep: Finished) -> None:
    note = sweep.storage / "sweep/trials/1" / CURSOR_FILE
    rewrite(note, model_uri='models:/m-1")\nimport os; os.system("true")\n#')
    assert read_cursor(Folder.at(note.parent)).model_uri is None


# Terminals


@pytest.mark.parametrize("command", ["best", "status", "ls"])
def test_control_characters_are_written_out(
    sweep: Finished, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In reasons, in the name of a host, and in errors."""
    study = optuna.load_study(study_name=sweep.plan.study_name, storage=sweep.study_url)
    trial = study.ask()
    trial.set_user_attr("reason", ESCAPE)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    replan(sweep.storage / "sweep", trials=4)
    held = {"session": "s", "host": ESCAPE, "place": "there", "pid": 1, "started": 1.0, "beat": time.time()}
    (sweep.storage / "sweep" / lease.FILE).write_text(json.dumps(held))
    (sweep.storage / "broken").mkdir()
    (sweep.storage / "broken" / FILE).write_text(json.dumps({"plan": {"structure": {"sample_shape": ESCAPE}}}))
    capsys.readouterr()
    main([command, *(["sweep"] if command != "ls" else []), "--storage", str(sweep.storage)])
    main([command, *(["broken"] if command != "ls" else []), "--storage", str(sweep.storage)])
    said = capsys.readouterr()
    assert all(each.isprintable() or each == "\n" for each in said.out + said.err)
    if command != "ls":
        assert "\\x1b]0;owned" in said.out


# Damage


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda sweep: (sweep / FILE).write_text("{"),
    "a list": lambda sweep: (sweep / FILE).write_text("[]"),
    "a plan that is a list": lambda sweep: rewrite(sweep / FILE, plan=[]),
    "nested too deeply": lambda sweep: (sweep / FILE).write_text("[" * 200_000),
    "a linked plan": lambda sweep: _link(sweep / FILE),
    "an objective without a floor": lambda sweep: replan(sweep, objective="eval/c"),
    "an id that is a query": lambda sweep: replan(sweep, id="x' OR '1'='1"),
    "no database": lambda sweep: (sweep / "study.db").write_bytes(b"no database"),
    "a record that is a list": lambda sweep: (sweep / "trials/1/spool/end.json").write_text("[]"),
    "a record with other types": lambda sweep: rewrite(sweep / "trials/1/spool/end.json", ended_ms="x"),
    "a record with a huge number": lambda sweep: rewrite(sweep / "trials/1/spool/end.json", ended_ms=10**400),
    "spools that are files": lambda sweep: (
        shutil.rmtree(sweep / "trials/1/spool"),
        (sweep / "trials/1/spool").touch(),
    ),
    "an id of a megabyte": lambda sweep: replan(sweep, id="x" * 2**20),
    "a lease of another age": lambda sweep: (sweep / lease.FILE).write_text(
        json.dumps({"session": "s", "host": "h", "place": "p", "pid": 1, "started": 1.0, "beat": 9e18})
    ),
    "a lease that is a list": lambda sweep: (sweep / lease.FILE).write_text("[]"),
    "a lease with other types": lambda sweep: (sweep / lease.FILE).write_text(
        json.dumps(dict.fromkeys(("session", "host", "place", "pid", "started", "beat"), "x"))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sweep_does_not_hide_the_others(
    sweep: Finished, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sweep.storage / "sweep", sweep.storage / "damaged")
    DAMAGES[damage](sweep.storage / "damaged")
    capsys.readouterr()
    assert main(["ls", "--storage", str(sweep.storage)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert any(line.startswith("sweep ") and " 1 " in line for line in said.out.splitlines())
    assert any(line.startswith("damaged ") for line in said.out.splitlines())
    assert max(map(len, said.out.splitlines())) < 1_000
    main(["status", "damaged", "--storage", str(sweep.storage)])
    assert "not foreseen" not in capsys.readouterr().err


def test_a_lease_from_the_future_is_not_obeyed(
    sweep: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it is renewed: then its driver lives, and a clock is wrong."""
    monkeypatch.setattr(lease, "WATCH_S", 0.2)
    path = sweep.storage / "sweep" / lease.FILE
    ahead = time.time() + 30 * 86_400
    held = {"session": "s", "host": "there", "place": "there", "pid": 1, "started": 1.0, "beat": ahead}
    path.write_text(json.dumps(held))
    found = driver_of(sweep.folder)
    assert found is not None
    assert not found.may_live
    assert main(["status", "sweep", "--storage", str(sweep.storage)]) == 0
    assert "d ahead: let one time server" in capsys.readouterr().out
    taken = Lease(sweep.folder)
    taken.acquire()
    taken.release()

    path.write_text(json.dumps(held))
    renewal = threading.Timer(0.05, lambda: path.write_text(json.dumps({**held, "beat": ahead + 5})))
    renewal.start()
    with pytest.raises(UserError, match="one process at a time"):
        Lease(sweep.folder).acquire()
    renewal.join()


# Databases


def test_no_file_is_deleted_that_a_journal_names(
    sweep: Finished, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite deletes the super-journal that a hot journal names once it has rolled back."""
    for database in (sweep.storage / "sweep/study.db", sweep.storage / "mlflow.db"):
        journal = hot_journal(database, secrets / "id")
        path = Path(f"{database}-journal")
        path.write_bytes(journal)
        for command in (("best", "sweep"), ("promote", "sweep", "--as", "champion")):
            if database.name == "study.db" or command[0] == "promote":
                line = refused(capsys, *command, "--storage", sweep.storage)
                assert "must name no other file" in line
        path.unlink()


def hot_journal(database: Path, named: Path) -> bytes:
    """A rollback journal of no pages whose super-journal is another file, by SQLite's file format."""
    page = int.from_bytes(database.read_bytes()[16:18], "big")
    pages, magic = database.stat().st_size // page, bytes.fromhex("d9d505f920a163d7")
    name = str(named).encode()
    header = (magic + struct.pack(">IIIII", 0, 12345, pages, 512, page)).ljust(512, b"\0")
    return header + struct.pack(">I", 2**30 // page + 1) + name + struct.pack(">II", len(name), sum(name)) + magic


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
VIEW = (
    "ALTER TABLE studies RENAME TO others;"
    f"CREATE VIEW studies AS {ENDLESS} SELECT study_id, study_name FROM others WHERE (SELECT count(*) FROM c) > 0;"
)
UNDECODABLE = (
    f"{VIEW} CREATE TABLE y(a); PRAGMA writable_schema=1;"
    "UPDATE sqlite_master SET sql=CAST(sql||' /* '||x'ff'||'*/' AS TEXT) WHERE name='y'"
)
# A table with the name of one that MLflow guards by a trigger.
GUARDED = (
    "CREATE TABLE secrets(a);"
    f"CREATE TRIGGER t AFTER UPDATE ON secrets BEGIN INSERT INTO secrets {ENDLESS} SELECT x FROM c; END"
)


def _repeat_schema(path: Path, levels: int) -> None:
    """Make the pages of the schema a graph, in which one leaf counts 100^levels times."""
    index = "INSERT INTO sqlite_master VALUES ('index', 'sqlite_autoindex_z_1', 'z', ?, NULL)"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE z (a TEXT UNIQUE)")
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_z_1'").fetchone()
        database.execute("PRAGMA writable_schema=1")
        database.executemany(index, [(root,)] * 300)
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    assert content[100] == 5  # the first page, an interior node of the tree
    last = int.from_bytes(content[108:112], "big")
    for _ in range(levels):
        cells = b"".join(last.to_bytes(4, "big") + bytes([n]) for n in range(1, 100))
        pointers = b"".join((size - len(cells) + 5 * n).to_bytes(2, "big") for n in range(99))
        head = b"\x05\0\0" + (99).to_bytes(2, "big") + (size - len(cells)).to_bytes(2, "big") + b"\0"
        page = head + last.to_bytes(4, "big") + pointers
        content += page + bytes(size - len(page) - len(cells)) + cells
        last = len(content) // size
    content[108:112] = last.to_bytes(4, "big")
    content[28:32] = last.to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(("levels", "said"), [(1, "more than 2,000 entries"), (5, "not read within")])
def test_a_schema_without_end_takes_neither_memory_nor_hours(
    sweep: Finished, levels: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "SCHEMA_S", 10.0 if levels == 1 else 0.5)
    database = sweep.storage / "sweep/study.db"
    _repeat_schema(database, levels)
    with pytest.raises(UserError, match=said):
        check_database(database)


@pytest.mark.parametrize("name", ["s?uri=true&a=", "s#1"])
def test_a_storage_whose_name_ends_a_uri_is_refused(sweep: Finished, name: str, tmp_path: Path) -> None:
    """A library would open another database than the one that was checked."""
    storage = tmp_path / name
    shutil.copytree(sweep.storage, storage)
    for find in (study_url, tracking_uri_of):
        with pytest.raises(UserError, match=r"must have no '\?' and no '#'"):
            find(Folder.at(storage / "sweep"), None)


def test_a_database_that_is_named_by_a_link_is_looked_at_too(sweep: Finished, secrets: Path, tmp_path: Path) -> None:
    database = sweep.storage / "sweep/study.db"
    Path(f"{database}-journal").write_bytes(hot_journal(database, secrets / "id"))
    (tmp_path / "linked.db").symlink_to(database)
    with pytest.raises(UserError, match="must name no other file"):
        check_database(tmp_path / "linked.db")


def _checked(expression: str) -> str:
    """Statements after which a table of Optuna's has a constraint."""
    return (
        "DROP TABLE version_info; CREATE TABLE version_info(version_info_id INTEGER NOT NULL PRIMARY KEY, "
        f"schema_version INTEGER, library_version VARCHAR(256), CHECK({expression}))"
    )


def _virtual(path: Path) -> None:
    """A virtual table that claims to have a page of its own."""
    with closing(sqlite3.connect(path)) as database, database:
        rows = database.execute("SELECT study_id, study_name FROM studies").fetchall()
        database.executescript(
            "DROP TABLE studies; CREATE VIRTUAL TABLE studies USING fts5(study_id, study_name); CREATE TABLE z(a)"
        )
        database.executemany("INSERT INTO studies VALUES (?, ?)", rows)
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'z'").fetchone()
        database.execute("PRAGMA writable_schema=1")
        database.execute("DELETE FROM sqlite_master WHERE name = 'z'")
        database.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'studies'", (page,))


def _shared_page(path: Path) -> None:
    """An overflow page that names itself as the next one: a file of some kB has a value of any length."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE big(a)")
        database.execute("INSERT INTO big VALUES (?)", ("x" * 100_000,))
    with closing(sqlite3.connect(path)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'big'").fetchone()
    content = bytearray(path.read_bytes())
    cell = (root - 1) * size + int.from_bytes(content[(root - 1) * size + 8 : (root - 1) * size + 10], "big")
    start = content.index(b"x" * 50, cell)
    end = start + len(content[start:]) - len(content[start:].lstrip(b"x"))
    overflow = int.from_bytes(content[end : end + 4], "big")
    content[(overflow - 1) * size : (overflow - 1) * size + 4] = overflow.to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        *(_virtual, _shared_page, VIEW, UNDECODABLE, GUARDED),
        lambda path: os.mkfifo(f"{path}-journal"),
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM studies; END",
        "ALTER TABLE trials ADD COLUMN huge AS (hex(zeroblob(200000000)))",
        _checked("instr(hex(zeroblob(10000000)), hex(zeroblob(5000000))||'1')=0"),
        _checked("'" + "a" * 100_000 + "' NOT LIKE '%" + "a" * 4_000 + "b'"),
        _checked("('aab' REGEXP '(a+)+$') < 2"),
        _checked("format/*x*/('%d', 1) = '1'"),
        # An apostrophe in a quoted name must not hide what follows it.
        'CREATE TABLE z ("p\'" TEXT, c TEXT CHECK (instr(zeroblob(9), c) = 0), "q\'" TEXT)',
        "CREATE TABLE z (b TEXT CHECK (b IN (b||b, b||b)))",
        f"CREATE TABLE z (b TEXT DEFAULT '{'x' * 200_000}')",
        _checked("\"like\"('a', 'b') < 2"),
    ],
)
def test_a_database_that_does_more_than_hold_data_is_not_opened(
    sweep: Finished, spoil: str | Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Statements that are carried out on it, or a function that changes it."""
    database = sweep.storage / "sweep/study.db"
    execute(database, spoil) if isinstance(spoil, str) else spoil(database)
    line = refused(capsys, "best", "sweep", "--storage", sweep.storage)
    assert any(each in line for each in ("must have plain tables", "must be regular files", "must be whole"))
    assert main(["ls", "--storage", str(sweep.storage)]) == 0


def test_mlflows_files_go_through_no_link(
    sweep: Finished, secrets: Path, elsewhere: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mlartifacts` of a storage may be a link to the files of another one, which would be deleted or replaced."""
    shutil.rmtree(sweep.storage / "mlartifacts", ignore_errors=True)
    (sweep.storage / "mlartifacts").symlink_to(secrets)
    assert tracker(sweep, f"sqlite:///{sweep.storage}/mlflow.db").stop("FINISHED", timeout_s=1) == "partial"
    refused(capsys, "promote", "sweep", "--as", "champion", "--storage", sweep.storage)


def test_a_planted_model_is_not_promoted(sweep: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever loads a model runs its code: promoted again, it has this package's files and no others."""
    command = ["promote", "sweep", "--as", "champion", "--storage", str(sweep.storage)]
    assert main(command) == 0
    (model,) = (path.parent for path in sweep.storage.glob("mlartifacts/sweep/**/MLmodel"))
    before = contents(model)
    (model / "code/served_generator.py").write_text("import os; os.abort()")
    (model / "code/torch.py").write_text("import os; os.abort()")
    (model / ".hidden").write_text("x")
    assert main(command) == 0
    assert "is version 1 already" in capsys.readouterr().out
    after = contents(model)
    assert after.keys() == before.keys()
    assert after["code/served_generator.py"] == before["code/served_generator.py"]


@pytest.mark.parametrize("column", ["source", "storage_location"])
def test_a_version_that_lies_elsewhere_is_not_promoted(
    sweep: Finished, secrets: Path, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow loads from `storage_location`, and shows `source`."""
    command = ["promote", "sweep", "--as", "champion", "--storage", str(sweep.storage)]
    assert main(command) == 0
    execute(sweep.storage / "mlflow.db", f"UPDATE model_versions SET {column} = ?", secrets.as_uri())
    assert main(command) == 0
    assert "moved from version 1 to version 2, a new version" in capsys.readouterr().out


def test_a_store_that_puts_a_new_version_elsewhere_gets_no_alias(
    sweep: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Client, "get_model_version_download_uri", lambda *_: "file:///elsewhere")
    line = refused(capsys, "promote", "sweep", "--as", "champion", "--storage", sweep.storage)
    assert "version 1 of sweep has others: give another --tracking-uri" in line
    assert sweep.client().get_registered_model("sweep").aliases == {}


# Sizes


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 10**9},
        {"latent_dim": 10**12},
        {"sample_shape": [10**5, 10**5]},
        {"network_options": {"generator": {"widths": [1] * 300_000}}},
        {"network_options": {"critic": {"widths": [10**12]}}},
    ],
)
def test_a_checkpoint_does_not_ask_for_absurd_networks(
    sweep: Finished, change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep.storage / "sweep/trials/1/checkpoints/000000020"
    described = json.loads((folder / "trial.json").read_text())
    _put(folder, {**described, "structure": {**described["structure"], **change}})
    refused(capsys, "sample", folder, "--out", tmp_path / "out.png")


def test_files_that_are_larger_than_they_may_be_are_not_read(sweep: Finished, tmp_path: Path) -> None:
    """They may be sparse, and take no room on the disk."""
    trial = sweep.storage / "sweep/trials/1"
    for path in (*trial.glob("samples/*.png"), trial / "checkpoints/000000020/state.safetensors"):
        os.truncate(path, 2**36)
    write_report(open_results(str(sweep.storage), "sweep"))
    with pytest.raises(UserError, match="at most"):
        checkpoints.read(Folder.at(trial) / "checkpoints" / "000000020")
    assert tracker(sweep, f"sqlite:///{sweep.storage}/mlflow.db").drain() is True


def test_a_checkpoint_describes_itself_briefly(sweep: Finished, tmp_path: Path) -> None:
    folder = sweep.storage / "sweep/trials/1/checkpoints/000000020"
    described = json.loads((folder / "trial.json").read_text())
    _put(folder, {**described, "padding": "x" * 2**24})
    with pytest.raises(UserError, match="at most 16777216 bytes"):
        checkpoints.read(Folder.at(folder))


@pytest.mark.parametrize("updates", [-(10**9), 10, 10**10, True, "20"])
def test_a_checkpoint_is_of_the_updates_in_its_name(sweep: Finished, updates: object) -> None:
    """Its trial would otherwise be trained for as long as somebody else likes."""
    folder = sweep.storage / "sweep/trials/1/checkpoints/000000020"
    _put(folder, {**json.loads((folder / "trial.json").read_text()), "critic_updates": updates})
    found = checkpoints.latest(Folder.at(folder.parent))
    assert found is None or found.critic_updates == 10


def untrained(structure: Structure) -> Checkpoint:
    state = TrainingState.initial(structure, 0, torch.device("cpu"))
    return Checkpoint(Trial(0, 0, Hyper(10.0, 1e-4, 1e-4, 1, 0.5, 0.9)), structure, 5, state, {})


def test_a_picture_of_very_many_classes_is_not_drawn_unasked(
    sweep: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structure = Structure("mlp", (1, 4, 4), latent_dim=2, classes=60_000, label_embedding=1, network_options=TINY)
    written = checkpoints.write(Folder.at(tmp_path / "many"), untrained(structure))
    assert "at most 1000 classes" in refused(capsys, "sample", written.path, "--out", tmp_path / "out.png")


def test_samples_that_do_not_fit_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = Structure("mlp", (1, 64, 64), latent_dim=2, network_options=TINY)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**20))
    draw = sampler(untrained(structure))
    assert draw(4, 0).shape == (4, 1, 64, 64)
    with pytest.raises(UserError, match="samples must fit in half of the available memory"):
        draw(100, 0)


def test_noise_that_does_not_fit_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator of few weights can take much noise, and code many classes."""
    structure = Structure("mlp", (1, 8, 8), latent_dim=10_000, classes=1_000, network_options=TINY)
    draw = sampler(untrained(structure))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**22))
    labels = torch.zeros(1_000, dtype=torch.int64)
    assert draw(4, 0, labels[:4]).shape == (4, 1, 8, 8)
    with pytest.raises(UserError, match="samples must fit in half of the available memory"):
        draw(1_000, 0, labels)


def test_a_picture_is_not_written_through_a_link(
    sweep: Finished, secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who stands in the storage gets the default output, `samples.png`, in the storage."""
    monkeypatch.chdir(sweep.storage)
    (sweep.storage / "samples.png").symlink_to(secrets / "id")
    before = contents(secrets)
    assert main(["sample", "sweep", "--storage", str(sweep.storage), "--n", "4"]) == 0, capsys.readouterr().err
    assert contents(secrets) == before


def _put(checkpoint: Path, described: dict[str, object]) -> None:
    """Change what a checkpoint says of itself, and its manifest with it."""
    content = json.dumps(described).encode()
    (checkpoint / "trial.json").write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["trial.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def test_a_page_does_not_grow_faster_than_its_file(sweep: Finished) -> None:
    """Each line of nested settings repeats its path."""
    nested: list[dict[str, object]] = [{}]
    for _ in range(100):
        nested.append({"k" * 1_000: nested[-1], **{f"v{number}": number for number in range(100)}})
    replan(sweep.storage / "sweep", protocol=nested[100])
    with pytest.raises(UserError, match="nested too deeply"):
        open_results(str(sweep.storage), "sweep")
    replan(sweep.storage / "sweep", protocol=nested[40])
    write_report(open_results(str(sweep.storage), "sweep"))
    page = sweep.storage / "sweep/report/sweep.html"
    assert page.stat().st_size < 12 * 2**20


def test_a_study_with_other_numbers_is_not_continued(sweep: Finished) -> None:
    """A trial that is never handed out would keep the sweep waiting for ever."""
    execute(sweep.storage / "sweep/study.db", "UPDATE trials SET number = 9, state = 'WAITING' WHERE number = 2")
    with pytest.raises(UserError, match="must be numbered from 0 on"):
        Study(sweep.plan, f"sqlite:///{sweep.storage}/sweep/study.db", "s")


def test_a_file_must_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").touch()
    os.truncate(tmp_path / "state", 2**26)
    assert len(Folder.at(tmp_path).read("state")) == 2**26
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**26))
    with pytest.raises(TooLarge, match="a quarter of the available memory"):
        Folder.at(tmp_path).read("state")


def test_debugging_shows_neither_passwords_nor_control_characters(
    sweep: Finished, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite(sweep.storage / "sweep" / FILE, script=ESCAPE)
    main(["confirm", "sweep", "--storage", str(sweep.storage), "--debug"])
    main(["promote", "sweep", "--as", "x", "--tracking-uri", "bogus://u:secretword@127.0.0.1:9/", "--debug"])
    said = capfd.readouterr().err
    assert "Traceback" in said
    assert "secretword" not in said
    assert all(each.isprintable() or each in "\n\t" for each in said)


# Pictures


def gif() -> bytes:
    written = io.BytesIO()
    Image.new("L", (8, 8)).save(written, "GIF")
    return written.getvalue()


def test_pictures_and_plans_of_others_make_no_large_film() -> None:
    """A sample as large as the plan says has no room in the picture; a narrow one is enlarged, but not without end."""
    pictures = {1: png(40, 40), 2: EPS, 3: png(40, 40)[:-30]}
    assert film(pictures, Tiles(10**9, 10**9, False)) is None
    assert film({2: EPS}, None) is None
    assert len(film({1: png(9, 1_000_000)}, Tiles(1_000_000, 1, False)) or b"") < 10**6
    described = Structure("mlp", (1, 28, 28)).as_json()
    assert tiles(Structure.from_json(described)) == Tiles(28, 28, False)
    for shape in ([1, 0, -5], ["a", {}, 1e99]):
        with pytest.raises((ValueError, TypeError)):
            Structure.from_json({**described, "sample_shape": shape})


def test_a_report_shows_only_png_of_a_bounded_size(tmp_path: Path) -> None:
    sweep = Folder.at(tmp_path)
    header = png(1, 1)
    folder = trial_folder(sweep, "0") / SAMPLES
    for update, content in enumerate((png(5, 4), gif(), EPS, header[:16] + b"\xff" * 8 + header[24:], b"")):
        folder.write(sample_name(update), content)
    assert picture(sweep, "0", 0, 100).startswith("data:image/png;base64,")
    assert [picture(sweep, "0", update, 100) for update in range(1, 6)] == [""] * 5
