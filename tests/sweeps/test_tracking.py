"""The tracker against real MLflow stores: a SQLite file, and a server on the loopback that gets killed."""

import base64
import io
import json
import logging
import math
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from PIL import Image
from safetensors.numpy import load_file, save

from sweeps.engine.plan.plan import Plan
from sweeps.engine.storage.layout import trial_folder, trial_labels
from sweeps.engine.storage.spool import BestCheckpoint, EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.tracking import MlflowRecorder, Summary, read_cursor
from sweeps.engine.tracking.cursor import UploadCursor
from sweeps.engine.tracking.texts import run_name
from tests.sweeps.made import made_plan
from tests.sweeps.mlflow_server import Server
from wgan_core.config import Structure
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

ROOT = Path(__file__).parents[2]
OBJECTIVE = "eval/fid_digits_ab12cd34"
BEST = "best/fid_digits_ab12cd34"
FLOOR = 0.0625
T0 = 1_700_000_000_000
# Of three trials, of which the last has no best checkpoint: the score, and what else there is room for.
NAMED = ("8 λ10 n5", "9 λ10 n5", "λ10 lr1e-4")

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Server]:
    """A server on its way up, so that others can be busy meanwhile."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database.removeprefix("sqlite:///"), folder / "server.db")  # its tables, made but once
    server = Server(f"sqlite:///{folder}/server.db", folder)
    server.launch()
    yield server
    server.kill()


@pytest.fixture
def server(launched: Server) -> Server:
    launched.wait()
    return launched


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a database with MLflow's tables in it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('database')}/mlflow.db"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    return uri


@pytest.fixture(params=["database", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    found = request.getfixturevalue(request.param)
    return found.uri if isinstance(found, Server) else str(found)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Each test has its own sweep in the stores they share."""
    return re.sub(r"\W", "-", request.node.name)


@pytest.fixture
def sweep(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path / "sweep")


def tracker(sweep: Folder, name: str, uri: str) -> MlflowRecorder:
    return MlflowRecorder(sweep, planned(name, "1d"), uri)


def planned(name: str, sweep_id: str) -> Plan:
    """A plan of three trials on points, whose pictures are no grids of images."""
    points, floors = Structure("mlp", (2,)), {OBJECTIVE: FLOOR}
    return made_plan(name, 3, points, id=sweep_id, objective=OBJECTIVE, floors=floors)


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 300), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def begin(sweep: Folder, number: int, steps: int = 3, images: bool = True) -> Spool:
    """Trial `number` with reports at 0, 100, 200, ...; its objective falls, rises, falls, ..."""
    trial = sweep / "trials" / str(number)
    spool = Spool(trial)
    params = {"lr": 1.23456789e-4, "lambda_gp": 10.0, "n_critic": 5, "critic": "mlp"}
    spool.write(StartRecord(number, params, seed=1000 + number, started_ms=T0 + number))
    for report in range(steps):
        go_on(sweep, number, report, images)
    return spool


def objective(number: int, report: int) -> float:
    return 10.0 + number - report + 3 * (report % 2)


def go_on(sweep: Folder, number: int, report: int, image: bool = True) -> None:
    trial, updates = sweep / "trials" / str(number), 100 * report
    shown = f"{updates:09d}.png" if image else None
    if shown:
        (trial / "samples").write(shown, png(updates + number))
    metrics = {"train/wasserstein_estimate": 0.1 * report, OBJECTIVE: objective(number, report)}
    Spool(trial).write(ReportRecord(updates, T0 + 1000 * (report + 1), metrics, shown))


def export(sweep: Folder, number: int) -> None:
    weights = {"generator.0.weight": np.full((2, 3), number, dtype=np.float32)}
    (sweep / "trials" / str(number) / "model").write("generator.safetensors", save(weights))
    (sweep / "trials" / str(number) / "model").write("generator.json", json.dumps({"number": number}).encode())


def three_trials(sweep: Folder) -> None:
    """One complete (best at 200 of 0, 100, 200), one pruned, one failed without a model."""
    for number, state, reason in ((0, "COMPLETE", "all updates done"), (1, "PRUNED", "halved at 200")):
        spool = begin(sweep, number)
        export(sweep, number)
        best = BestCheckpoint(200, objective(number, 2), "000000200")
        spool.write(EndRecord(state, reason, T0 + 9000, 200, best, "model"))  # type: ignore[arg-type]
    begin(sweep, 2).write(EndRecord("FAIL", "RuntimeError: no memory", T0 + 9000, 200))


def cursors(sweep: Folder) -> dict[str, UploadCursor]:
    """The upload cursors of all trials, by label."""
    return {label: read_cursor(trial_folder(sweep, label)) for label in trial_labels(sweep)}


class Reader:
    """What MLflow has of a sweep, read with a client of its own."""

    def __init__(self, uri: str, name: str) -> None:
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = self.client.get_experiment_by_name(name)
        assert experiment is not None
        self.experiment = experiment

    def runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment.experiment_id], order_by=["attributes.start_time ASC"]))

    def parent(self) -> Run:
        (parent,) = [run for run in self.runs() if run.data.tags["sweep.role"] == "sweep"]
        return parent

    def trials(self) -> dict[int, Run]:
        runs = [run for run in self.runs() if run.data.tags["sweep.role"] == "trial"]
        trials = {int(run.data.tags["trial.number"]): run for run in runs}
        assert len(trials) == len(runs), "a trial has two runs"
        return trials

    def history(self, run: Run, key: str) -> list[tuple[int, int, float]]:
        return [(m.step, m.timestamp, m.value) for m in self.client.get_metric_history(run.info.run_id, key)]

    def files(self, run: Run, folder: str = "") -> dict[str, bytes]:
        found = {}
        for info in self.client.list_artifacts(run.info.run_id, folder or None):
            if info.is_dir:
                found |= self.files(run, info.path)
            else:
                found[info.path] = Path(self.client.download_artifacts(run.info.run_id, info.path)).read_bytes()
        return found

    def models(self, condition: str | None = None) -> list[Any]:
        return list(self.client.search_logged_models([self.experiment.experiment_id], condition))

    def everything(self) -> dict[str, Any]:
        """All that there is of the trials, for comparison."""
        found: dict[str, Any] = {
            m.model_id: (m.name, str(m.status), m.tags, m.params, [(x.key, x.value, x.step) for x in m.metrics or []])
            for m in self.models()
        }
        for number, run in self.trials().items():
            histories = {key: self.history(run, key) for key in run.data.metrics}
            outputs = [(o.model_id, o.step) for o in run.outputs.model_outputs]
            files = self.files(run)
            found[str(number)] = (vars(run.info), run.data.params, run.data.tags, histories, outputs, files)
        return found


@pytest.mark.slow
def test_three_trials_arrive_and_writing_them_again_changes_nothing(sweep: Folder, name: str, uri: str) -> None:
    three_trials(sweep)
    first = tracker(sweep, name, uri)
    first.open(first_start=True)
    assert first.drain(), first.last_error
    reader = Reader(uri, name)
    check_runs(reader, sweep)
    check_images(reader)
    check_models(reader, sweep)
    before, known = reader.everything(), cursors(sweep)

    assert first.drain()
    assert reader.everything() == before
    again = tracker(sweep, name, uri)
    again.open(first_start=False)
    assert again.drain()
    assert reader.everything() == before
    for number in range(3):
        (sweep / "trials" / str(number)).delete("mlflow.json")
    forgetful = tracker(sweep, name, uri)
    forgetful.open(first_start=False)
    assert forgetful.drain(), forgetful.last_error
    assert reader.everything() == before
    assert cursors(sweep) == known

    summary = {BEST: objective(0, 2), "best.trial": "0"}
    for _ in range(2):
        assert forgetful.stop("FINISHED", Summary(summary)) == "complete"
    assert forgetful.last_error is None
    check_leaders(reader, before)
    check_parent(reader)


def check_runs(reader: Reader, sweep: Folder) -> None:
    trials, parent = reader.trials(), reader.parent()
    noted = {number: cursor.run_id for number, cursor in cursors(sweep).items()}
    assert noted == {str(number): run.info.run_id for number, run in trials.items()}
    assert [run.info.status for run in trials.values()] == ["FINISHED", "KILLED", "FAILED"]
    assert [run.data.tags["trial.state"] for run in trials.values()] == ["COMPLETE", "PRUNED", "FAIL"]
    assert trials[2].data.tags["trial.reason"] == "RuntimeError: no memory"
    assert trials[2].data.tags["mlflow.note.content"] == (
        "**FAIL** after 200 critic updates: RuntimeError: no memory\n\nNo score."
    )
    assert f"<code>{OBJECTIVE}</code> <b>9</b>, 144.0 times the 0.0625" in trials[1].data.tags["mlflow.note.content"]
    assert trials[0].data.tags["best.checkpoint"].endswith("trials/0/checkpoints/000000200")
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["sweep.trials"] == "3"
    assert json.loads(reader.files(parent)["sweep.json"])["space"]["ranges"]["lr"]["high"] == 1e-2
    for number, run in trials.items():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.run_name, run.info.start_time, run.info.end_time) == (
            f"t00{number} {NAMED[number]}",
            T0 + number,
            T0 + 9000,
        )
        assert run.data.params == {
            "lr": "0.0001235",
            "lr_log10": "-3.90849",
            "lambda_gp": "10",
            "lambda_gp_log10": "1",
            "n_critic": "5",
            "critic": "mlp",
            "seed": str(1000 + number),
        }
        times = [(0, T0 + 1000), (100, T0 + 2000), (200, T0 + 3000)]
        values = [objective(number, report) for report in range(3)]
        lowest = [values[0], values[0], values[2]]
        logarithm = f"{BEST}_log10"
        assert set(run.data.metrics) == {"train/wasserstein_estimate", OBJECTIVE, BEST, logarithm, f"{OBJECTIVE}_floor"}
        assert reader.history(run, OBJECTIVE) == [(*at, value) for at, value in zip(times, values, strict=True)]
        assert reader.history(run, BEST) == [(*at, value) for at, value in zip(times, lowest, strict=True)]
        assert [10**value for _, _, value in reader.history(run, logarithm)] == pytest.approx(lowest)
        assert reader.history(run, f"{OBJECTIVE}_floor") == [(0, T0 + 1000, FLOOR)]


def check_images(reader: Reader) -> None:
    """The very bytes, under the names that MLflow's own client would give them, and nothing else beside them."""
    for number, run in reader.trials().items():
        files = {path: content for path, content in reader.files(run).items() if path.startswith("images/")}
        steps = {
            path.split("+")[2]: content
            for path, content in files.items()
            if path.startswith("images/samples+") and path.endswith(".png")
        }
        assert steps == {str(100 * report): png(100 * report + number) for report in range(3)}
        (final,) = [content for path, content in files.items() if re.match(r"images/samples~final\+step\+0.*png", path)]
        assert final == png(200 + number)
        small = [content for path, content in files.items() if path.endswith("+compressed.webp")]
        assert sorted(Image.open(io.BytesIO(content)).size for content in small) == [(256, 34)] * 4 + [(322, 72)]
        assert len(files) == 10
        assert run.data.tags["mlflow.loggedImages"] == "True"


def check_leaders(reader: Reader, before: dict[str, Any]) -> None:
    """The trials with a score have two small pictures more, once, and are otherwise as they were."""
    after = reader.everything()
    for number in range(3):
        *rest, files = after[str(number)]
        more = files.keys() - before[str(number)][-1].keys()
        shown = sorted(path.split("+")[0] for path in more)
        assert shown == [f"images/{key}~best of 3" for key in ("film", "film", "samples", "samples")] * (number < 2)
        after[str(number)] = (*rest, {path: content for path, content in files.items() if path not in more})
    assert after == before


def check_models(reader: Reader, sweep: Folder) -> None:
    uris = {number: cursor.model_uri for number, cursor in cursors(sweep).items()}
    assert [uri is None for uri in uris.values()] == [False, False, True]
    good = reader.models(f"metrics.`{OBJECTIVE}` < {objective(0, 2) + 0.5}")
    assert [model.tags["trial.number"] for model in good] == ["0"]
    (model,) = good
    assert uris["0"] == model.model_uri == f"models:/{model.model_id}"
    assert str(model.status) == "READY"
    assert model.tags["best.checkpoint"].endswith("trials/0/checkpoints/000000200")
    assert model.params["lambda_gp"] == "10"
    assert [(m.value, m.step) for m in model.metrics] == [(objective(0, 2), 200)]
    run = reader.trials()[0]
    assert model.source_run_id == run.info.run_id
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 200)]


def check_parent(reader: Reader) -> None:
    parent = reader.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.sync"] == "complete"
    assert parent.data.tags["best.trial"] == "0"
    said = parent.data.tags["mlflow.note.content"]
    lead = f"<b>Best: trial 0</b>, <code>{OBJECTIVE}</code> <b>8</b>, 128.0 times the 0.0625 of real data"
    assert said.startswith(f"<table><tr><td>{lead}")
    assert reader.files(parent)["best.png"] == png(200)
    assert len(reader.history(parent, BEST)) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_a_model_downloads_whole(
    sweep: Folder, name: str, database: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    three_trials(sweep)
    tracked = tracker(sweep, name, database)
    assert tracked.drain()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    got = mlflow.artifacts.download_artifacts(
        str(cursors(sweep)[str(number)].model_uri), dst_path=str(tmp_path), tracking_uri=database
    )
    assert np.array_equal(load_file(Path(got, "generator.safetensors"))["generator.0.weight"], np.full((2, 3), number))
    assert json.loads(Path(got, "generator.json").read_text()) == {"number": number}


@pytest.mark.slow
def test_a_server_killed_in_the_middle_gets_everything_when_it_is_back(
    sweep: Folder, name: str, server: Server
) -> None:
    begin(sweep, 0)
    tracked = tracker(sweep, name, server.uri)
    tracked.open(first_start=True)
    assert tracked.drain(), tracked.last_error
    tracked.start()
    server.kill()
    for report in range(3, 6):  # training goes on
        go_on(sweep, 0, report)
    Spool(sweep / "trials" / "0").write(
        EndRecord("COMPLETE", "", T0 + 9000, 500, BestCheckpoint(400, objective(0, 4), "000000400"))
    )
    begin(sweep, 1).write(EndRecord("PRUNED", "", T0 + 9000, 200))
    wait_until(lambda: tracked.last_error is not None)
    server.launch()
    assert tracked.stop("FINISHED", timeout_s=60) == "complete"
    reader = Reader(server.uri, name)
    assert reader.parent().data.tags["mlflow.sync"] == "complete"
    run = reader.trials()[0]
    assert reader.history(run, OBJECTIVE) == [(100 * n, T0 + 1000 * (n + 1), objective(0, n)) for n in range(6)]
    assert len(reader.files(run, "images")) == 20
    assert [run.info.status for run in reader.trials().values()] == ["FINISHED", "KILLED"]


def wait_until(met: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_a_server_that_stays_away_makes_the_sweep_partial_and_the_next_start_complete(
    sweep: Folder, name: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        away = tracker(sweep, name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        begin(sweep, 0).write(EndRecord("COMPLETE", "", T0 + 9000, 200))
        with pytest.raises(UserError, match=r"must answer within 5 s; http://127.0.0.1:\d+ did not: start it"):
            away.open(first_start=True)
        with caplog.at_level(logging.WARNING):
            away.open(first_start=False)
        assert "the records wait" in caplog.text
        assert not away.drain()
        assert cursors(sweep)["0"].run_id is None
        assert away.stop("FINISHED", timeout_s=1) == "partial"
    back = tracker(sweep, name, database)
    back.open(first_start=False)
    assert back.stop("FINISHED") == "complete"
    assert len(Reader(database, name).history(Reader(database, name).trials()[0], OBJECTIVE)) == 3


def test_a_server_that_takes_connections_but_does_not_answer_is_away(sweep: Folder, name: str) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        began = time.monotonic()
        with pytest.raises(UserError, match="must answer within 5 s"):
            tracker(sweep, name, f"http://127.0.0.1:{deaf.getsockname()[1]}").open(first_start=True)
        assert time.monotonic() - began < 15


class Refusal(BaseHTTPRequestHandler):
    """What a server that wants a password answers."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_refuses_us_says_what_to_set(sweep: Folder, name: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        tracked = tracker(sweep, name, f"http://someone:secret@127.0.0.1:{refusing.server_port}")
        with pytest.raises(UserError, match="set MLFLOW_TRACKING_USERNAME") as caught:
            tracked.open(first_start=True)
        tracked.open(first_start=False)
        assert tracked.last_error == str(caught.value)
        assert "secret" not in str(caught.value)
        refusing.shutdown()


def test_a_store_that_does_not_open_says_so(sweep: Folder, name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("this is not a database" * 100)
    with pytest.raises(UserError, match="the MLflow store must open"):
        tracker(sweep, name, f"sqlite:///{tmp_path}/notes.db").open(first_start=True)


def test_a_deleted_experiment_is_not_written_to(sweep: Folder, name: str, database: str) -> None:
    tracker(sweep, name, database).open(first_start=True)
    reader = Reader(database, name)
    reader.client.delete_experiment(reader.experiment.experiment_id)
    for first in (True, False):
        with pytest.raises(UserError, match="mlflow experiments restore -x") as caught:
            tracker(sweep, name, database).open(first_start=first)
    (remedy,) = re.findall("`(.*)`", str(caught.value))
    subprocess.run(remedy, shell=True, check=True, env={"PATH": os.defpath}, cwd="/", capture_output=True)
    tracker(sweep, name, database).open(first_start=False)


def test_the_remedy_of_a_moved_storage_names_a_new_database_beside_the_old(tmp_path: Path, database: str) -> None:
    """Which brings all records there, and nothing to the old place."""
    old, new = tmp_path / "old", tmp_path / "new here"
    old.mkdir()
    shutil.copy(database.removeprefix("sqlite:///"), old / "mlflow.db")
    plan = made_plan("moved", 1)
    MlflowRecorder(Folder.at(old / "moved"), plan, f"sqlite:///{old}/mlflow.db").open(first_start=True)
    shutil.move(old, new)
    moved = MlflowRecorder(Folder.at(new / "moved"), plan, f"sqlite:///{new}/mlflow.db")
    moved.open(first_start=False)
    assert moved.last_error is not None
    assert not old.exists()
    (argument,) = re.findall("give --tracking-uri (.*), a new database", moved.last_error)
    (uri,) = shlex.split(argument)
    assert uri == f"sqlite:///{new}/mlflow-2.db"
    shutil.copy(database.removeprefix("sqlite:///"), new / "mlflow-2.db")
    again = MlflowRecorder(Folder.at(new / "moved"), plan, uri)
    again.open(first_start=False)
    assert again.last_error is None
    assert list((new / "mlartifacts").rglob("sweep.json"))
    assert not old.exists()


@pytest.mark.slow
def test_an_uploader_killed_in_the_middle_leaves_nothing_out_and_nothing_twice(
    sweep: Folder, name: str, database: str
) -> None:
    for number in range(20):
        begin(sweep, number, steps=4).write(EndRecord("COMPLETE", "", T0 + 9000, 300))
    code = (
        "import sys; from tests.sweeps.test_tracking import tracker; from wgan_core.data.folder import Folder; "
        "tracker(Folder.at(sys.argv[1]), *sys.argv[2:]).drain()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(sweep), name, database], cwd=ROOT) as process:
        wait_until(lambda: (sweep / "trials" / "1").exists("mlflow.json"))
        process.kill()
    assert not (sweep / "trials" / "19").exists("mlflow.json")
    tracked = tracker(sweep, name, database)
    tracked.open(first_start=False)
    assert tracked.stop("FINISHED") == "complete"
    reader = Reader(database, name)
    assert sorted(reader.trials()) == list(range(20))
    for number, run in reader.trials().items():
        expected = [(100 * n, T0 + 1000 * (n + 1), objective(number, n)) for n in range(4)]
        assert reader.history(run, OBJECTIVE) == expected
        assert len(reader.files(run, "images")) in (12, 16)  # of the four best two more pictures
        assert run.info.status == "FINISHED"


def test_the_thread_uploads_while_the_trial_goes_on(sweep: Folder, name: str, database: str) -> None:
    tracked = tracker(sweep, name, database)
    tracked.open(first_start=True)
    tracked.start()
    begin(sweep, 0, steps=1, images=False)
    wait_until(lambda: (sweep / "trials" / "0").exists("mlflow.json"))
    go_on(sweep, 0, 1)
    assert tracked.stop("KILLED") == "complete"
    reader = Reader(database, name)
    assert len(reader.history(reader.trials()[0], OBJECTIVE)) == 2
    assert reader.parent().info.status == "KILLED"
    assert reader.parent().data.tags["mlflow.note.content"].startswith("No trial has completed yet.")


def test_an_interrupted_sweep_goes_on(sweep: Folder, name: str, database: str) -> None:
    begin(sweep, 0, images=False)
    assert tracker(sweep, name, database).stop("KILLED") == "complete"
    reader = Reader(database, name)
    assert reader.trials()[0].info.status == "KILLED"
    assert reader.trials()[0].data.tags["trial.state"] == "WAITING"

    on = tracker(sweep, name, database)
    on.open(first_start=False)
    assert reader.parent().info.status == "RUNNING"
    assert reader.parent().data.tags["mlflow.sync"] == "partial"
    go_on(sweep, 0, 3, image=False)
    assert on.drain()
    assert reader.trials()[0].info.status == "RUNNING"
    assert reader.trials()[0].data.tags["trial.state"] == "RUNNING"
    Spool(sweep / "trials" / "0").write(EndRecord("COMPLETE", "", T0 + 9000, 300))
    assert on.stop("FINISHED") == "complete"
    assert reader.trials()[0].info.status == "FINISHED"
    assert [value for _, _, value in reader.history(reader.trials()[0], BEST)] == [10.0, 10.0, 8.0, 8.0]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_failed_trial_that_runs_again_ends_anew(sweep: Folder, name: str, database: str, noticed: bool) -> None:
    """Whether or not the uploader looked between the two ends."""
    spool = begin(sweep, 0)
    export(sweep, 0)
    spool.write(
        EndRecord("FAIL", "node lost", T0 + 9000, 200, BestCheckpoint(200, objective(0, 2), "000000200"), "model")
    )
    tracked = tracker(sweep, name, database)
    assert tracked.drain()
    (old,) = Reader(database, name).models()
    spool.reopen()
    if noticed:
        assert tracked.drain()
        assert Reader(database, name).trials()[0].info.status == "RUNNING"
    go_on(sweep, 0, 3)
    go_on(sweep, 0, 4)
    spool.write(EndRecord("COMPLETE", "", T0 + 20_000, 400, BestCheckpoint(400, objective(0, 4), "000000400"), "model"))
    assert tracked.stop("FINISHED") == "complete"
    reader = Reader(database, name)
    (run,) = reader.trials().values()
    assert (run.info.status, run.info.end_time) == ("FINISHED", T0 + 20_000)
    assert len(reader.history(run, OBJECTIVE)) == 5
    (model,) = reader.models()
    assert model.model_id != old.model_id
    assert [(m.value, m.step) for m in model.metrics] == [(objective(0, 4), 400)]
    for key in ("samples~final", "samples~film"):
        assert len([path for path in reader.files(run, "images") if key in path]) == 2


def test_a_trial_lost_before_it_began_is_recorded_as_failed(sweep: Folder, name: str, database: str) -> None:
    spool = Spool(sweep / "trials" / "0")
    spool.write(EndRecord("FAIL", "node lost", T0 + 9000, 0))
    tracked = tracker(sweep, name, database)
    assert tracked.stop("FINISHED") == "complete"
    reader = Reader(database, name)
    run = reader.trials()[0]
    assert (run.info.status, run.data.tags["trial.reason"], run.data.params) == ("FAILED", "node lost", {})
    spool.reopen()
    begin(sweep, 0, images=False)
    assert tracked.drain()
    run = reader.trials()[0]
    assert (run.info.status, run.data.params["seed"]) == ("RUNNING", "1000")


def test_a_run_left_running_is_ended_when_the_sweep_goes_on(sweep: Folder, name: str, database: str) -> None:
    begin(sweep, 0, images=False).write(EndRecord("PRUNED", "", T0 + 9000, 200))
    assert tracker(sweep, name, database).drain()
    reader = Reader(database, name)
    reader.client.update_run(reader.trials()[0].info.run_id, status="RUNNING")
    tracker(sweep, name, database).open(first_start=False)
    assert reader.trials()[0].info.status == "KILLED"


def test_another_store_gets_everything_anew(sweep: Folder, name: str, database: str, tmp_path: Path) -> None:
    begin(sweep, 0, images=False).write(EndRecord("COMPLETE", "", T0 + 9000, 200))
    assert tracker(sweep, name, database).stop("FINISHED") == "complete"
    shutil.copy(database.removeprefix("sqlite:///"), tmp_path / "other.db")
    other = f"sqlite:///{tmp_path}/other.db"
    client = MlflowClient(tracking_uri=other, registry_uri=other)
    client.rename_experiment(Reader(other, name).experiment.experiment_id, "taken-away")
    assert tracker(sweep, name, other).stop("FINISHED") == "complete"
    assert len(Reader(other, name).history(Reader(other, name).trials()[0], OBJECTIVE)) == 3
    assert Reader(other, name).experiment.artifact_location == (tmp_path / "mlartifacts" / name).as_uri()


def test_values_that_are_not_finite_are_left_out_and_said_so(sweep: Folder, name: str, database: str) -> None:
    spool = begin(sweep, 0, steps=1, images=False)
    spool.write(
        ReportRecord(
            100, T0 + 2000, {OBJECTIVE: math.nan, "train/gradient_norm": math.nan, "train/critic_loss": math.inf}
        )
    )
    spool.write(
        ReportRecord(200, T0 + 3000, {OBJECTIVE: math.inf, "train/gradient_norm": math.nan, "train/critic_loss": 1.0})
    )
    spool.write(EndRecord("FAIL", "diverged " * 2000, T0 + 9000, 200))  # longer than a tag may be
    assert tracker(sweep, name, database).stop("FINISHED") == "complete"
    (sweep / "trials" / "0").delete("mlflow.json")
    assert tracker(sweep, name, database).stop("FINISHED") == "complete"
    reader = Reader(database, name)
    run = reader.trials()[0]
    assert run.data.metrics[OBJECTIVE] == objective(0, 0)
    assert reader.history(run, "train/critic_loss") == [(200, T0 + 3000, 1.0)]
    norms = reader.history(run, "train/gradient_norm")
    assert [(step, math.isnan(value)) for step, _, value in norms] == [(100, True), (200, True)]
    assert run.data.tags["metrics.dropped"] == f"{OBJECTIVE}: 2 not finite, train/critic_loss: 1 not finite"


def test_more_points_than_a_request_takes_all_arrive(sweep: Folder, name: str, database: str) -> None:
    spool = begin(sweep, 0, steps=0)
    for n in range(450):
        spool.write(ReportRecord(n, T0 + n, {f"train/{key}": float(n) for key in "abcdef"}))
    tracked = tracker(sweep, name, database)
    assert tracked.stop("FINISHED") == "complete"
    reader = Reader(database, name)
    assert reader.history(reader.trials()[0], "train/f") == [(n, T0 + n, float(n)) for n in range(450)]


@pytest.mark.parametrize("content", [None, b"not an image", png(1)[:200]])
def test_an_image_that_cannot_be_had_is_partial_and_the_rest_arrives(
    sweep: Folder, name: str, database: str, content: bytes | None
) -> None:
    spool = begin(sweep, 0)
    if content is not None:
        (sweep / "trials" / "0" / "samples").write("000000300.png", content)
    spool.write(ReportRecord(300, T0 + 4000, {OBJECTIVE: 1.0}, "000000300.png"))
    spool.write(EndRecord("COMPLETE", "", T0 + 9000, 300, BestCheckpoint(300, 1.0, "000000300"), "model"))
    assert tracker(sweep, name, database).stop("FINISHED") == "partial"
    reader = Reader(database, name)
    reason = reader.parent().data.tags["mlflow.sync.reason"]
    assert reason == "trial 0: files not there or not whole: model/, samples/000000300.png"
    assert len(reader.history(reader.trials()[0], OBJECTIVE)) == 4
    assert reader.trials()[0].info.status == "FINISHED"


def test_points_lost_in_mlflow_are_noticed(sweep: Folder, name: str, database: str) -> None:
    import sqlite3

    begin(sweep, 0, images=False).write(EndRecord("COMPLETE", "", T0 + 9000, 200))
    tracked = tracker(sweep, name, database)
    assert tracked.drain()
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM metrics WHERE run_uuid = ? AND step = 100", [cursors(sweep)["0"].run_id])
    assert tracked.stop("FINISHED") == "partial"
    assert re.search(r"trial 0: 2 points of .*, not 3", tracked.last_error or "")


def test_a_run_deleted_by_hand_does_not_hold_up_the_others(sweep: Folder, name: str, database: str) -> None:
    begin(sweep, 0, images=False)
    tracked = tracker(sweep, name, database)
    assert tracked.drain()
    reader = Reader(database, name)
    reader.client.delete_run(cursors(sweep)["0"].run_id)
    go_on(sweep, 0, 3, image=False)
    begin(sweep, 1, images=False).write(EndRecord("COMPLETE", "", T0 + 9000, 200))
    assert not tracked.drain()
    assert (tracked.last_error or "").startswith("trial 0: ")
    assert tracked.stop("FINISHED") == "partial"
    assert list(reader.trials()) == [1]
    assert reader.parent().info.status == "FINISHED"


def test_images_are_named_as_mlflow_names_its_own(sweep: Folder, name: str, database: str) -> None:
    begin(sweep, 0, steps=1).write(EndRecord("COMPLETE", "", T0 + 9000, 0))
    tracked = tracker(sweep, name, database)
    assert tracked.drain()
    client = Reader(database, name).client
    ours = cursors(sweep)["0"].run_id
    theirs = client.create_run(Reader(database, name).experiment.experiment_id).info.run_id
    with Image.open(io.BytesIO(png(0))) as image:
        client.log_image(theirs, image, key="samples", step=0, timestamp=T0 + 1000, synchronous=True)
        for key in ("samples/final", "samples/film"):
            client.log_image(theirs, image, key=key, step=0, timestamp=T0, synchronous=True)

    def names(run_id: str) -> set[str]:
        found = {info.path for info in client.list_artifacts(run_id, "images")}
        assert len(found) == 6
        return {re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", path) for path in found}

    assert names(ours) == names(theirs)
    tag = "mlflow.loggedImages"
    assert client.get_run(ours).data.tags[tag] == client.get_run(theirs).data.tags[tag]


def test_links_and_commands(sweep: Folder, name: str, database: str) -> None:
    local = tracker(sweep, name, database)
    # The command is this environment's own: it is there, whatever the path.
    command, *rest = shlex.split(local.ui_command())
    assert Path(command).name == "sweeps"
    assert os.access(command, os.X_OK)
    storage = str(Path(sweep.path).parent)
    assert rest == ["serve-ui", name, "--storage", storage, "--tracking-uri", database]
    own = tracker(sweep, name, f"sqlite:///{storage}/mlflow.db")
    assert shlex.split(own.ui_command())[1:] == ["serve-ui", name, "--storage", storage]
    assert local.link() == ""
    local.open(first_start=True)
    prepared = json.loads(Reader(database, name).experiment.tags["mlflow.sharedViewState.1d"])
    packed = prepared["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert (state["searchFilter"], state["orderByKey"]) == (
        "tags.`sweep.id`='1d' AND tags.`sweep.role`='trial'",
        f"metrics.`{BEST}`",
    )
    local.stop("FINISHED")
    assert tracker(sweep, name, "https://me:secret@host/mlflow/").ui_command() == "https://me:***@host/mlflow/"


def test_published_files_are_artifacts_of_the_sweeps_run_and_linked(sweep: Folder, name: str, database: str) -> None:
    """Before the sweep's end as after it; its description says how sure the winner is, too."""
    begin(sweep, 0).write(EndRecord("COMPLETE", "", T0 + 9000, 200, BestCheckpoint(200, objective(0, 2), "000000200")))
    tracked = tracker(sweep, name, database)
    tracked.open(first_start=True)
    (sweep / "report").write("sweep.html", b"<p>report</p>")
    (sweep / "report").write("best.json", b"{}")
    tracked.publish(sweep / "report", ["sweep.html"])
    values = {BEST: objective(0, 2), "best.trial": "0", "best.checkpoint": "the/checkpoint"}
    summary = Summary(values, confirmed="with two more seeds: 8.1 to 8.3")
    assert tracked.stop("FINISHED", summary) == "complete"
    tracked.publish(sweep / "report", ["best.json"])
    reader = Reader(database, name)
    parent = reader.parent()
    files = reader.files(parent)
    assert (files["report/sweep.html"], files["report/best.json"]) == (b"<p>report</p>", b"{}")
    assert parent.info.status == "FINISHED"
    said = parent.data.tags["mlflow.note.content"]
    page = f"#/experiments/{reader.experiment.experiment_id}/runs/{parent.info.run_id}/artifacts"
    for path in ("report/sweep.html", "report/best.json"):
        assert f'<a href="{page}/{path}?workflowType=machine_learning">{path}</a>' in said
    assert "real data<br>with two more seeds: 8.1 to 8.3<br>" in said
    assert "`the/checkpoint`" in said


def test_what_cannot_be_published_is_warned_of(
    sweep: Folder, name: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        away = tracker(sweep, name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        sweep.write("there", b"")
        for tracked, file in ((tracker(sweep, name, database), "missing"), (away, "there")):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                tracked.publish(sweep, [file])
            assert f"MLflow has not got {file} of {sweep}" in caplog.text


def test_where_the_view_cannot_be_set_the_link_filters_and_sorts_by_itself(
    sweep: Folder, name: str, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin(sweep, 0, images=False).write(EndRecord("COMPLETE", "", T0 + 9000, 200))
    tracked = tracker(sweep, name, database)

    def refuse(*_: object) -> None:
        raise MlflowException("the tag is refused")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    with caplog.at_level(logging.WARNING):
        assert tracked.stop("FINISHED") == "complete"
    assert "page of the trials is not prepared" in caplog.text
    page = (
        f"#/experiments/{Reader(database, name).experiment.experiment_id}/runs"
        "?workflowType=machine_learning&compareRunsMode=CHART"
        "&searchFilter=tags.%60sweep.id%60%3D%271d%27%20AND%20tags.%60sweep.role%60%3D%27trial%27"
        "&orderByKey=metrics.%60best%2Ffid_digits_ab12cd34%60&orderByAsc=true"
    )
    assert f'<a href="{page}">' in Reader(database, name).parent().data.tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("params", "score", "expected"),
    [
        ({"lambda_gp": 10.0, "n_critic": 5}, None, "t004 λ10 n5"),
        ({"lambda_gp": 0.00123, "n_critic": 5}, None, "t004 λ.0012 n5"),
        ({"lambda_gp": 1.23e-5, "n_critic": 100}, None, "t004 λ1.2e-5"),
        ({"lr": 1e-4}, None, "t004 lr1e-4"),
        ({"lambda_gp": 0.208989, "lr": 2.078e-3, "n_critic": 1}, None, "t004 λ.21 n1"),
        ({"lambda_gp": 0.208989, "lr": 2.078e-3, "n_critic": 1}, 0.1364012, "t004 .1364 λ.21"),
        ({"lambda_gp": 2.935, "lr": 1e-3, "n_critic": 4}, 9.11812, "t004 9.118 λ2.9"),
        ({"lambda_gp": 10.0, "n_critic": 1}, 207.04, "t004 207 λ10 n1"),
        ({"lambda_gp": 0.01234}, -1.234567e-5, "t004 -1.235e-5"),
    ],
)
def test_run_names_fit(params: dict[str, float | int | str], score: float | None, expected: str) -> None:
    assert run_name("4", params, score) == expected
    assert len(expected) <= 15


def test_two_sweeps_of_one_name_do_not_mix(tmp_path: Path, name: str, database: str) -> None:
    """As when two people share a server, or one deletes a sweep's folder and starts afresh."""
    for sweep_id in ("first", "second"):
        folder = Folder.at(tmp_path / sweep_id)
        Spool(folder / "trials" / "0").write(StartRecord(0, {"lr": 0.1 if sweep_id == "first" else 0.2}, 0, 1))
        own = MlflowRecorder(folder, planned(name, sweep_id), database)
        own.open(first_start=True)
        assert own.drain()
        assert own.stop("FINISHED") == "complete"
    client = MlflowClient(tracking_uri=database, registry_uri=database)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4
    trials = {run.data.tags["sweep.id"]: run for run in runs if run.data.tags["sweep.role"] == "trial"}
    assert {key: float(run.data.params["lr"]) for key, run in trials.items()} == {"first": 0.1, "second": 0.2}
    parents = {run.info.run_id: run.data.tags["sweep.id"] for run in runs if run.data.tags["sweep.role"] == "sweep"}
    assert {parents[run.data.tags["mlflow.parentRunId"]] for run in trials.values()} == {"first", "second"}
