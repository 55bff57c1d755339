"""`sweeps serve-ui`: a real server on the loopback, and Optuna's dashboard on the same sweep."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import shlex
import signal
import socket
import sqlite3
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import optuna
import psutil
import pytest
import requests

from sweeps.cli import main
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.uri import database
from sweeps.engine.tracking.protected import proof_of
from sweeps.engine.tracking.server import PORT, _absolute, _answers, _held, _last, choose_port, serve, with_key
from sweeps.engine.tracking.view import VIEW_TAG
from tests.sweeps.made import SCORES, Finished, finish
from tests.sweeps.mlflow_server import Server
from tests.sweeps.processes import Running, Surroundings, copy_tables, wait_for
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


MODULES = ("mlflow", "uvicorn", "flask", "fastapi", "numpy", "sqlite3", "sitecustomize", "_strptime")
CREDENTIALS = {
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "of-mine-1",
    "MLFLOW_TRACKING_TOKEN": "of-mine-2",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "/of-mine-3",
    "AWS_SECRET_ACCESS_KEY": "of-mine-4",
    "OPENAI_API_KEY": "of-mine-5",
}
# Each would weaken the server, if it came through.
SETTINGS = {
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES": "http",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "true",
    "MLFLOW_ENABLE_AI_GATEWAY": "true",
    "UVICORN_HOST": "0.0.0.0",
}


@pytest.fixture(scope="module")
def planted(sweep: Finished) -> Path:
    """A folder of someone else's: what lies there would run, or be read, in the place of something else."""
    here = sweep.storage.parent / "planted"
    (here / "mlruns" / "0").mkdir(parents=True)
    for name in MODULES:
        (here / f"{name}.py").write_text(f"open({str(here / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    (here / "mlruns" / "0" / "meta.yaml").write_text("name: theirs\n")
    settings = "MLFLOW_BACKEND_STORE_URI=sqlite:////none/none.db\nMLFLOW_STATIC_PREFIX=/theirs\nUVICORN_HOST=0.0.0.0\n"
    for name in (".env", ".flaskenv", "uv.lock", "mlflow.db", "alembic.ini", "logging.conf", "uvicorn_log_config.yaml"):
        (here / name).write_text(settings)
    return here


@pytest.fixture(scope="module")
def served(surroundings: Surroundings, sweep: Finished, planted: Path) -> Running:
    """`sweeps serve-ui` in the planted folder, on a free port and a relative URI, once it says so."""
    credentials = surroundings.home / ".mlflow" / "credentials"
    credentials.parent.mkdir()
    credentials.write_text("[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = of-mine-6\n")
    uri = f"sqlite:///../{sweep.storage.name}/mlflow.db"
    assert (planted / uri.removeprefix("sqlite:///")).is_file()
    command = [Path(sys.executable).parent / "sweeps", "serve-ui", "--storage", sweep.storage, "--tracking-uri", uri]
    running = surroundings.start(*command, "--port", str(free_port()), cwd=planted, **CREDENTIALS, **SETTINGS)
    wait_for(lambda: "Ctrl-C ends" in running.out or running.process.poll() is not None, "the server", 120)
    assert running.process.poll() is None, running.err
    return running


def link_of(running: Running) -> str:
    (line,) = [line for line in running.out.splitlines() if "#/experiments/" in line]
    name, _, link = line.partition("  ")
    assert name == "sweep"
    return link


def host_of(running: Running) -> str:
    """The host and port that the link names."""
    return urlsplit(link_of(running)).netloc


def base_of(running: Running) -> str:
    """The server's address for programs: not every resolver knows names below localhost."""
    return f"http://127.0.0.1:{urlsplit(link_of(running)).port}"


def key_of(running: Running) -> str:
    (key,) = parse_qs(urlsplit(link_of(running)).query, strict_parsing=True)["key"]
    return key


@pytest.fixture
def visitor(served: Running) -> Iterator[requests.Session]:
    """A browser, as far as the server can tell, that has opened the link."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Host"] = host_of(served)
        assert session.get(f"{base_of(served)}/", params={"key": key_of(served)}, timeout=60).status_code == 200
        yield session


@pytest.fixture
def stranger() -> Iterator[requests.Session]:
    """Another user of the machine."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.slow
def test_the_link_leads_to_the_trials(served: Running, visitor: requests.Session, sweep: Finished) -> None:
    base, view = base_of(served), link_of(served).partition("#/")[2]
    assert visitor.get(base, timeout=60).text.startswith("<!doctype html>")
    # What the page asks the server, by what the link says.
    place, _, query = view.partition("?")
    said = {key: value for key, (value,) in parse_qs(query, strict_parsing=True).items()}
    (experiment,) = [part for part in place.split("/") if part.isdecimal()]
    found = visitor.get(f"{base}/api/2.0/mlflow/experiments/get", {"experiment_id": experiment}, timeout=60).json()
    tags = {tag["key"]: tag["value"] for tag in found["experiment"]["tags"]}
    packed = json.loads(tags[f"{VIEW_TAG}{said['viewStateShareKey']}"])["state"].removeprefix("deflate;")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    asked = {"experiment_ids": [experiment], "filter": state["searchFilter"]}
    asked["order_by"] = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    runs = visitor.post(f"{base}/api/2.0/mlflow/runs/search", json=asked, timeout=60).json()["runs"]
    shown = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    best_first = sorted(range(len(SCORES)), key=lambda number: min(SCORES[number].scores.values()))
    assert [int(each["trial.number"]) for each in shown] == best_first
    run = runs[0]["info"]["run_id"]
    listed = visitor.get(f"{base}/api/2.0/mlflow/artifacts/list", {"run_id": run, "path": "images"}, timeout=60)
    path = next(
        file["path"] for file in listed.json()["files"] if re.search(r"/samples\+step\+20\+.*\.png", file["path"])
    )
    picture = visitor.get(f"{base}/get-artifact", {"run_uuid": run, "path": path}, timeout=60)
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
def test_nothing_in_the_current_folder_runs_or_is_read(
    served: Running, visitor: requests.Session, planted: Path
) -> None:
    assert not (planted / "ran").exists(), (planted / "ran").read_text()
    assert len(list(planted.iterdir())) == len(MODULES) + 8
    assert [path.name for path in (planted / "mlruns").iterdir()] == ["0"]
    asked = {"max_results": 10}
    found = visitor.get(f"{base_of(served)}/api/2.0/mlflow/experiments/search", params=asked, timeout=60).json()
    assert "sweep" in [each["name"] for each in found["experiments"]]
    for each in served.descendants():
        assert Path(each.cwd()) == Path(each.environ()["HOME"])
        assert Path(each.cwd()).stat().st_mode & 0o077 == 0


# Flask's routes, FastAPI's, and files; addresses that almost are /health.
ADDRESSES = (
    ("GET", "/"),
    ("GET", "/?key=wrong"),
    ("GET", "/?key="),
    ("GET", "/version"),
    ("GET", "/static-files/index.html"),
    ("GET", "/get-artifact?run_uuid=1&path=2"),
    ("GET", "/model-versions/get-artifact?name=1&version=1&path=2"),
    ("GET", "/api/2.0/mlflow/experiments/search?max_results=1"),
    ("POST", "/api/2.0/mlflow/experiments/create"),
    ("POST", "/ajax-api/2.0/mlflow/runs/delete"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/file"),
    ("DELETE", "/ajax-api/2.0/mlflow-artifacts/artifacts/file"),
    ("POST", "/graphql"),
    ("POST", "/v1/traces"),
    ("POST", "/gateway/mlflow/v1/chat/completions"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
    ("OPTIONS", "/api/2.0/mlflow/experiments/search"),
    ("GET", "/health/"),
    ("GET", "/health/../version"),
    ("GET", "//health"),
    ("GET", "/none"),
)


@pytest.mark.slow
def test_without_the_key_everything_is_refused(
    served: Running, stranger: requests.Session, sweep: Finished, tmp_path: Path
) -> None:
    """One plain line; nothing that is made by hand, guessed, or taken from another server, helps."""
    base, key = base_of(served), key_of(served)
    port = urlsplit(base).port
    at_name = {"Host": host_of(served)}
    with_a_cookie = [{**at_name, "Cookie": cookie} for cookie in ("sweeps=wrong", f"sweeps-1={key}", "sweeps=", "=")]
    others = [{"Authorization": each} for each in ("Bearer wrong", "Bearer", f"Basic {key}", f"Bearer {key}x")]
    for method, address in ADDRESSES:
        for headers in ({}, at_name, *(with_a_cookie + others if address in ("/", "/version") else ())):
            # Not `requests`, which would tidy up the path.
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(method, address, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 401, (method, address, headers, text)
            assert "open the link that `sweeps serve-ui` printed" in text
            assert text.count("\n") == 1
            assert answer.headers["set-cookie"] is None
            connection.close()
    # Another user of the machine reads a file of whoever looks at the sweep.
    location = {"name": "theirs", "artifact_location": tmp_path.as_uri()}
    assert stranger.post(f"{base}/api/2.0/mlflow/experiments/create", json=location, timeout=60).status_code == 401
    assert sweep.client().get_experiment_by_name("theirs") is None
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng=="}
    upgrade["Sec-WebSocket-Version"] = "13"
    assert stranger.get(f"{base}/api", headers=upgrade, timeout=60).status_code == 401
    assert re.fullmatch("[0-9a-f]{64}", stranger.get(f"{base}/health", timeout=60).text)


@pytest.mark.slow
def test_the_link_becomes_a_cookie_that_pages_cannot_read(served: Running, stranger: requests.Session) -> None:
    base, key = base_of(served), key_of(served)
    assert len(key) >= 43  # 256 bits
    stranger.headers["Host"] = host_of(served)
    answer = stranger.get(f"{base}/?key={key}", timeout=60, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")  # a browser keeps what comes after #
    cookie, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert cookie == f"sweeps={key}"
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    stranger.cookies.clear()
    for address in ("/version", "/get-artifact", "//evil.example/"):
        answer = stranger.get(f"{base}{address}?key={key}", timeout=60, allow_redirects=False)
        assert answer.status_code == 401


@pytest.mark.slow
def test_the_link_and_the_cookie_are_valid_at_the_links_host_alone(served: Running, stranger: requests.Session) -> None:
    """A browser sends the cookies of 127.0.0.1 to every port of it, and another user may listen on one."""
    base, key = base_of(served), key_of(served)
    name, _, port = host_of(served).partition(":")
    assert re.fullmatch(r"[0-9a-f]{32,40}\.localhost", name)

    def answered(host: str, address: str = "/version", **headers: str) -> requests.Response:
        named = {"Host": host, **headers}
        return stranger.get(f"{base}{address}", headers=named, timeout=60, allow_redirects=False)

    tunnel = int(port) + 1
    other = ("0" if name[0] != "0" else "1") + name[1:]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "127.0.0.1", f"localhost:{tunnel}", f"[::1]:{port}"):
        answer = answered(host, f"/?key={key}")
        assert (answer.status_code, answer.headers.get("Set-Cookie")) == (401, None), host
        assert answered(host, Cookie=f"sweeps={key}").status_code == 401, host
        assert answered(host, "/", Authorization=f"Bearer {key}").status_code == 200, host
    for host in (f"{other}:{port}", f"a.{name}:{port}", f"{name}.example:{port}", f"{name.partition('.')[0]}:{port}"):
        assert answered(host, f"/?key={key}").status_code == 401, host
        assert answered(host, Cookie=f"sweeps={key}").status_code == 401, host
        assert answered(host, "/", Authorization=f"Bearer {key}").status_code == 403, host
    for host in (f"{name}:{port}", f"{name}:{tunnel}", name):
        assert answered(host, f"/?key={key}").status_code == 303, host
        assert answered(host, "/", Cookie=f"sweeps={key}").status_code == 200, host
        # MLflow's own check of origins lets the server's pages write.
        create = "/ajax-api/2.0/mlflow/experiments/create"
        own = {"Host": host, "Cookie": f"sweeps={key}", "Origin": f"http://{host}"}
        answer = stranger.post(f"{base}{create}", headers=own, json={}, timeout=60)
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE", host


@pytest.mark.slow
def test_every_response_has_policies(served: Running, visitor: requests.Session, stranger: requests.Session) -> None:
    """No page fetches anything from elsewhere, or tells its address there."""
    base = base_of(served)
    found = [
        stranger.get(f"{base}/health", timeout=60),
        stranger.get(f"{base}/", timeout=60),
        visitor.get(f"{base}/", timeout=60),
        visitor.get(f"{base}/version", timeout=60),
        visitor.get(f"{base}/none", timeout=60),
        visitor.get(f"{base}/static-files/favicon.ico", timeout=60),
        visitor.get(f"{base}/get-artifact", params={"run_uuid": "1", "path": "2"}, timeout=60),
        visitor.get(f"{base}/ajax-api/3.0/mlflow/server-info", timeout=60),
        visitor.get(f"{base}/ajax-api/3.0/mlflow/assistant/message", timeout=60),
        visitor.get(f"{base}/", headers={"Origin": "http://evil.example"}, timeout=60),
    ]
    assert {answer.status_code for answer in found} >= {200, 401, 403, 404}
    for answer in found:
        assert answer.headers["Referrer-Policy"] == "no-referrer", answer.url
        policy = answer.headers["Content-Security-Policy"]
        for part in ("img-src 'self' data: blob:", "connect-src 'self'", "object-src 'none'", "base-uri 'self'"):
            assert part in policy.split("; "), answer.url


@pytest.mark.slow
def test_other_pages_cannot_use_the_cookie(served: Running, visitor: requests.Session) -> None:
    """Browsers say where a request comes from; that of another port, which they take for the same site, is foreign."""
    base = base_of(served)
    api = f"{base}/ajax-api/2.0/mlflow/experiments/search?max_results=1"

    def status(address: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return visitor.get(address, headers=named, timeout=60).status_code

    own = f"http://{host_of(served)}"
    assert status(api) == status(api, Sec_Fetch_Site="same-origin", Origin=own) == 200
    assert status(api, Sec_Fetch_Site="none") == 200
    for site in ("cross-site", "same-site"):
        assert status(api, Sec_Fetch_Site=site) == 403
        assert status(api, Sec_Fetch_Site=site, Sec_Fetch_Dest="document") == 403
        assert status(f"{base}/", Sec_Fetch_Site=site, Sec_Fetch_Dest="iframe") == 403
        assert status(f"{base}/", Sec_Fetch_Site=site, Sec_Fetch_Dest="document") == 200  # a link that is clicked
    for origin in (base, "http://127.0.0.1:8000", "http://evil.example", "null", "http://["):
        assert status(api, Origin=origin) == 403, origin


@pytest.mark.slow
def test_mlflows_own_checks_stay(served: Running, stranger: requests.Session) -> None:
    """Of the Host header, and of origins, although the environment says otherwise; and its assistant is off."""
    base, bearer = base_of(served), {"Authorization": f"Bearer {key_of(served)}"}
    answer = stranger.get(f"{base}/", headers={**bearer, "Host": "evil.example"}, timeout=60)
    assert (answer.status_code, "Host header" in answer.text) == (403, True)
    create, origin = f"{base}/api/2.0/mlflow/experiments/create", {"Origin": "http://evil.example"}
    answer = stranger.post(create, headers={**bearer, **origin}, json={"name": "theirs"}, timeout=60)
    assert answer.status_code == 403
    assistant = f"{base}/ajax-api/3.0/mlflow/assistant"
    for answer in (
        stranger.post(f"{assistant}/message", headers=bearer, json={"message": "run `id`"}, timeout=60),
        stranger.get(f"{assistant}/providers/claude_code/health", headers=bearer, timeout=60),
    ):
        assert (answer.status_code, answer.text.count("\n")) == (404, 1)


@pytest.mark.slow
def test_the_key_and_credentials_are_where_only_their_owner_reads_them(served: Running) -> None:
    key, name = key_of(served), host_of(served).partition(":")[0]
    assert served.out.count(key) == served.out.count(name) == 1
    processes = served.descendants()
    assert processes
    for each in (psutil.Process(served.process.pid), *processes):
        assert key not in " ".join(each.cmdline())
        assert name not in " ".join(each.cmdline())
    for each in processes:
        environment = each.environ()
        assert not environment.keys() & (CREDENTIALS.keys() | {"UVICORN_HOST"})
        assert environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == f"http://{name},http://{name}:*"
        assert "of-mine" not in str(environment)
        assert not (Path(environment["HOME"]) / ".mlflow" / "credentials").exists()
        said = Path(f"/proc/{each.pid}/fd/1").read_text()
        assert "Uvicorn running" in said
        assert key not in said


@pytest.mark.slow
def test_a_program_uses_the_key_as_a_token(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException, match="this server's key"):
        MlflowClient(tracking_uri=base_of(served)).search_experiments()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key_of(served))
    found = MlflowClient(tracking_uri=base_of(served)).search_experiments()
    assert "sweep" in [each.name for each in found]


@contextmanager
def listening(body: bytes = b"OK") -> Iterator[tuple[int, list[str]]]:
    """A server of someone else's: its port, and the requests that it has got, with their headers."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(f"{self.path}\n{self.headers}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, got
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_artifacts_are_read_and_written_beside_the_database_alone(
    served: Running, visitor: requests.Session, sweep: Finished, tmp_path: Path
) -> None:
    """Whatever the database says, which may come from someone else."""
    base, client = base_of(served), sweep.client()
    (tmp_path / "id_rsa").write_text("a private key")
    here = sweep.storage / "mlartifacts" / "linked"
    here.mkdir()
    (here / "link").symlink_to(tmp_path)
    with listening() as (port, got):
        for place in (
            tmp_path.as_uri(),
            str(tmp_path),
            (here / "link").as_uri(),
            f"{sweep.storage.as_uri()}/mlartifacts/../../{tmp_path.name}",
            f"http://127.0.0.1:{port}/theirs",
            f"mlflow-artifacts://127.0.0.1:{port}/theirs",
            f"mlflow-artifacts:/../../{tmp_path.name}",
            "s3://theirs/of",
            "dbfs:/theirs",
        ):
            experiment = client.create_experiment(f"at {place}", artifact_location="placeholder")
            run = client.create_run(experiment).info.run_id
            with sqlite3.connect(sweep.storage / "mlflow.db") as written:
                written.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (place, run))
            asked = {"run_uuid": run, "path": "id_rsa"}
            answer = visitor.get(f"{base}/get-artifact", params=asked, timeout=60)
            assert answer.status_code >= 400, place
            assert "a private key" not in answer.text
            listed = visitor.get(f"{base}/ajax-api/2.0/mlflow/artifacts/list", params={"run_id": run}, timeout=60)
            assert "id_rsa" not in listed.text
            upload = f"{base}/ajax-api/2.0/mlflow/upload-artifact"
            status = visitor.post(upload, params=asked, data=b"overwritten", timeout=60).status_code
            # MLflow takes files for the artifacts of another server into its own folder, here the storage's.
            assert status >= 400 or place.startswith(("http", "mlflow-artifacts")), place
        # Nor is anything deleted through a link, or a pipe waited for.
        gone = visitor.delete(f"{base}/api/2.0/mlflow-artifacts/artifacts/linked/link/id_rsa", timeout=60)
        assert gone.status_code >= 400
        assert (tmp_path / "id_rsa").read_text() == "a private key"
        os.mkfifo(here / "pipe")
        run = client.create_run(client.create_experiment("pipes", artifact_location=here.as_uri())).info.run_id
        with sqlite3.connect(sweep.storage / "mlflow.db") as written:
            written.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (here.as_uri(), run))
        answer = visitor.get(f"{base}/get-artifact", params={"run_uuid": run, "path": "pipe"}, timeout=20)
        assert answer.status_code >= 400
        assert got == []
    assert (tmp_path / "id_rsa").read_text() == "a private key"
    assert [path.name for path in tmp_path.iterdir()] == ["id_rsa"]


@pytest.fixture
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that someone else has started."""
    folder = tmp_path_factory.mktemp("server")
    copy_tables(folder)
    server = Server(f"sqlite:///{folder}/mlflow.db", folder)
    server.launch()
    try:
        server.wait()
        yield server.uri
    finally:
        server.kill()


@pytest.mark.slow
def test_a_sweep_on_a_server_is_shown_there(
    unprotected: str,
    tmp_path: Path,
    make_plan: Callable[..., Plan],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started; and a promoted model goes there and comes back through the server."""
    import mlflow
    import numpy as np

    base = unprotected
    away = finish(tmp_path, make_plan(name="away", id="2e", trials=3, structure=TINY), base)
    capsys.readouterr()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", base)
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
    assert "#/" not in running.out


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
    # Browsers try IPv6 first: whoever listened there would get the key.
    with socket.socket(socket.AF_INET6) as holder:
        holder.bind(("::1", taken))
        with pytest.raises(UserError, match="--port must be free"):
            choose_port(taken)
        with pytest.raises(UserError, match="--port must be free on ::1"):
            serve("sqlite:///none.db", taken, print)
    for reuse in (0, 1):
        with _held("::1", taken), socket.socket(socket.AF_INET6) as late:
            late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            with pytest.raises(OSError, match="in use"):
                late.bind(("::1", taken))
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


def test_a_server_on_the_port_without_the_key_is_another() -> None:
    """Someone who takes the port while MLflow starts does not get the key."""
    with listening() as (port, got):
        assert not _answers(port, "key")
    assert len(got) == 1
    assert "key" not in got[0]
    with listening(proof_of("key").encode()) as (port, _):
        assert _answers(port, "key")


def test_what_the_server_said_is_told_without_the_key() -> None:
    log = io.StringIO("first\nGET /?key=k3y HTTP/1.1\n\nat u:pw@host\n")
    assert _last(log, "postgresql://u:pw@host/db", "k3y") == "first; GET /?key=*** HTTP/1.1; at u:***@host"


def test_the_link_carries_the_key() -> None:
    assert with_key("http://127.0.0.1:5000/#/a?b=1", "k") == "http://127.0.0.1:5000/?key=k#/a?b=1"


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{}/mlflow.db"),
        ("sqlite:///a b/mlflow.db?timeout=5", "sqlite:///{}/a b/mlflow.db?timeout=5"),
        ("sqlite+pysqlite:///mlflow.db", "sqlite+pysqlite:///{}/mlflow.db"),
        ("sqlite:///file:mlflow.db?mode=ro&uri=true", "sqlite:///file:{}/mlflow.db?mode=ro&uri=true"),
        ("sqlite:////a/mlflow.db", "sqlite:////a/mlflow.db"),
    ],
)
def test_relative_databases_are_those_of_the_current_folder(
    given: str, absolute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = database(given)
    assert file is not None
    assert _absolute(given, file) == absolute.format(tmp_path)


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
