"""`sweeps serve-ui`: a real server on the loopback, and Optuna's dashboard on the same sweep."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import shlex
import signal
import socket
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import optuna
import psutil
import pytest
import requests

from sweeps.cli import main
from sweeps.engine.plan import FILE, Plan
from sweeps.engine.tracking.server import PORT, choose_port, serve
from sweeps.engine.tracking.view import VIEW_TAG
from tests.sweeps.finished import SCORES, Finished, finish
from tests.sweeps.processes import Running, Surroundings, wait_for
from wgan_core.config import Structure
from wgan_core.errors import UserError

TINY = Structure("mlp", (1, 4, 4), latent_dim=3)

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, make_plan: Callable[..., Plan]) -> Finished:
    return finish(tmp_path_factory.mktemp("storage"), make_plan(trials=3, structure=TINY))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def served(surroundings: Surroundings, sweep: Finished) -> Running:
    """`sweeps serve-ui` on a free port, once it says so."""
    return serve_ui(surroundings, sweep, "--port", free_port())


def serve_ui(surroundings: Surroundings, sweep: Finished, *options: str | int) -> Running:
    running = surroundings.sweeps("serve-ui", "--storage", sweep.storage, *options)
    wait_for(lambda: "Ctrl-C ends" in running.out or running.process.poll() is not None, "the server", 120)
    assert running.process.poll() is None, running.err
    return running


def link_of(running: Running) -> str:
    (line,) = [line for line in running.out.splitlines() if "/#/experiments/" in line]
    name, _, link = line.partition("  ")
    assert name == "sweep"
    return link


def base_of(running: Running) -> str:
    return link_of(running).partition("/#/")[0]


@pytest.mark.slow
def test_the_link_leads_to_the_trials(served: Running, sweep: Finished) -> None:
    base, _, view = link_of(served).partition("/#/")
    assert requests.get(base, timeout=60).text.startswith("<!doctype html>")
    # What the page asks the server, by what the link says.
    place, _, query = view.partition("?")
    said = {key: value for key, (value,) in parse_qs(query, strict_parsing=True).items()}
    (experiment,) = [part for part in place.split("/") if part.isdecimal()]
    found = requests.get(f"{base}/api/2.0/mlflow/experiments/get", {"experiment_id": experiment}, timeout=60).json()
    tags = {tag["key"]: tag["value"] for tag in found["experiment"]["tags"]}
    packed = json.loads(tags[f"{VIEW_TAG}{said['viewStateShareKey']}"])["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    asked = {"experiment_ids": [experiment], "filter": state["searchFilter"]}
    asked["order_by"] = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    runs = requests.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=60).json()["runs"]
    shown = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    best_first = sorted(SCORES, key=lambda number: min(SCORES[number][:2]))
    assert [int(each["trial.number"]) for each in shown] == best_first
    run = runs[0]["info"]["run_id"]
    listed = requests.get(f"{base}/api/2.0/mlflow/artifacts/list", {"run_id": run, "path": "images"}, timeout=60)
    path = next(
        file["path"] for file in listed.json()["files"] if re.search(r"/samples\+step\+20\+.*\.png", file["path"])
    )
    picture = requests.get(f"{base}/get-artifact", {"run_uuid": run, "path": path}, timeout=60)
    assert picture.content == (sweep.storage / "sweep/trials/1/samples/000000020.png").read_bytes()


@pytest.mark.slow
def test_the_server_is_small_and_on_the_loopback(served: Running) -> None:
    processes = served.descendants()
    assert len(processes) <= 3, [each.cmdline() for each in processes]  # jobs alone would be seven
    listening = {
        connection.laddr.ip
        for each in processes
        for connection in each.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.slow
def test_a_sweep_on_a_server_is_shown_there(
    served: Running,
    tmp_path: Path,
    make_plan: Callable[..., Plan],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started; and a promoted model goes there and comes back through the server."""
    import mlflow
    import numpy as np

    base = base_of(served)
    away = finish(tmp_path, make_plan(name="away", id="2e", trials=3, structure=TINY), base)
    noted = json.loads(away.folder.read(FILE))
    away.folder.write(FILE, json.dumps({**noted, "tracking_uri": base}).encode())
    capsys.readouterr()
    before = psutil.Process().children()
    assert main(["serve-ui", "--storage", str(tmp_path)]) == 0
    assert psutil.Process().children() == before
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(rf"away  {base}/#/experiments/\d+/runs\?workflowType=machine_learning&", first)
    assert second.startswith("away  in Optuna's dashboard: ")

    for _ in range(2):
        assert main(["promote", "away", "--storage", str(tmp_path), "--as", "champion"]) == 0
    assert capsys.readouterr().out.count("champion of away is version 1") == 2
    (version,) = away.client().search_model_versions("name = 'away'")
    model = away.client().get_logged_model(version.tags["model.uri"].removeprefix("models:/"))
    assert model.source_run_id == version.run_id
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "away", "version": 1}]
    assert model.artifact_location.startswith("mlflow-artifacts:")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", base)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pyfunc.load_model("models:/away@champion")
    assert loaded.predict(np.zeros((2, 3), np.float32)).shape == (2, 1, 4, 4)


@pytest.mark.slow
def test_optunas_dashboard_shows_the_study(surroundings: Surroundings, served: Running, sweep: Finished) -> None:
    """The command that is printed, on the study as it lies there."""
    (line,) = [line for line in served.out.splitlines() if "in Optuna's dashboard: " in line]
    port = free_port()
    running = surroundings.start(*shlex.split(line.partition(": ")[2]), "--port", str(port), "--host", "127.0.0.1")
    base = f"http://127.0.0.1:{port}/api/studies"

    def get(url: str) -> Any:
        try:
            return requests.get(url, timeout=30).json()
        except requests.exceptions.ConnectionError:
            return None

    wait_for(lambda: get(base) is not None, "Optuna's dashboard", 60)
    (summary,) = get(base)["study_summaries"]
    assert summary["study_name"] == sweep.plan.study_name
    assert summary["directions"] == ["minimize"]
    shown = get(f"{base}/{summary['study_id']}")["trials"]
    study = optuna.load_study(study_name=sweep.plan.study_name, storage=sweep.study_url)
    assert len(shown) == len(SCORES)
    for each, trial in zip(shown, study.get_trials(), strict=True):
        assert (each["number"], each["state"].upper()) == (trial.number, trial.state.name)
        assert each["values"] == trial.values
        params = {param["name"]: float(param["param_external_value"]) for param in each["params"]}
        assert params == pytest.approx(trial.params)
        assert {int(at["step"]): at["value"] for at in each["intermediate_values"]} == trial.intermediate_values
    running.process.send_signal(signal.SIGTERM)
    running.wait(30)


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_all_that_it_started(served: Running) -> None:
    """The last to use the server that the others share."""
    started, base = served.descendants(), base_of(served)
    assert started
    served.process.send_signal(signal.SIGINT)
    assert served.wait(30).process.returncode == 0
    assert served.err == ""
    assert not [each for each in started if each.is_running()]
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(base, timeout=10)


def server_of(pid: int) -> list[psutil.Process]:
    """The server that the command of this id starts, and what that has started, as soon as there is one.

    Not just any process of the command's: Python's own `platform` asks `uname` first, before a signal is noted.
    """
    found: list[psutil.Process] = []

    def started() -> bool:
        for each in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if "mlflow" in each.cmdline():
                    found.extend([each, *each.children(recursive=True)])
        return bool(found)

    wait_for(started, "the server's process", 60)
    return found


def test_a_kill_while_it_starts_leaves_nothing(surroundings: Surroundings, sweep: Finished) -> None:
    running = surroundings.sweeps("serve-ui", "sweep", "--storage", sweep.storage)
    started = server_of(running.process.pid)
    running.process.send_signal(signal.SIGTERM)
    assert running.wait(30).process.returncode == 0
    assert not [each for each in started if each.is_running()]
    assert "/#/" not in running.out


def test_a_closed_terminal_leaves_nothing(surroundings: Surroundings, sweep: Finished) -> None:
    """The terminal is a real one, which hangs up on whoever it belongs to."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, and so by what is started there
        command = [sys.executable, "-m", "sweeps.cli", "serve-ui", "sweep", "--storage", str(sweep.storage)]
        os.execve(sys.executable, command, surroundings.env)
    try:
        started = server_of(child)
        os.close(terminal)
        wait_for(lambda: not [each for each in started if each.is_running()], "the server's end", 30)
        assert os.waitpid(child, 0)[1] == 0
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        raise


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        with pytest.raises(UserError, match=rf"--port must be free on 127.0.0.1; {taken} is taken"):
            choose_port(taken)
        monkeypatch.setattr("sweeps.engine.tracking.server.PORT", taken)
        assert choose_port(None) > taken
    assert choose_port(None) == choose_port(taken) == taken
    with pytest.raises(UserError, match="--port must be 1 to 65535; given 70000"):
        choose_port(70_000)
    assert PORT == 5000


def test_a_server_that_does_not_start_says_why() -> None:
    before = psutil.Process().children()
    with pytest.raises(UserError) as caught:
        serve("bogus://me:secret@127.0.0.1:1/none", free_port(), print)
    assert psutil.Process().children() == before
    assert "MLflow's server on bogus://me:***@127.0.0.1:1/none" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def ran(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["serve-ui", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ran


def test_what_cannot_be_shown(
    said: Callable[..., tuple[int, str, str]], sweep: Finished, tmp_path: Path, make_plan: Callable[..., Plan]
) -> None:
    """One line; and one sweep that cannot be shown does not hide the others."""
    status, _, line = said("other", "--storage", sweep.storage)
    assert (status, line.startswith("error: no sweep named 'other' in ")) == (2, True)
    assert "--storage must hold a sweep" in said("--storage", tmp_path)[2]
    line = said("sweep", "--storage", sweep.storage, "--tracking-uri", f"sqlite:///{tmp_path}/none.db")[2]
    assert f"a sweep's MLflow store must be there; {tmp_path}/none.db is not" in line
    assert list(tmp_path.iterdir()) == []
