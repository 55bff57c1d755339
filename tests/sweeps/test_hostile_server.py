"""A tracking server that lies: about places, pages and sizes. Each test has a server of its own on the loopback."""

from __future__ import annotations

import gzip
import json
import shutil
import socketserver
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.entities import PagedList

from sweeps.engine.doctor.tracking import _version
from sweeps.engine.plan.uri import answers, prepare_environment
from sweeps.engine.tracking import store
from sweeps.engine.tracking.client import Client
from sweeps.engine.tracking.store import ServerUnreachable, pages

RUN = "a" * 32
Answer = Callable[[str, str], Any]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """A server whose answers come from a function of method and path; and what it was asked.

    An answer is JSON, or bytes, or a text for the address that the server redirects to.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            found = answer(self.command, self.path)
            if isinstance(found, str):
                self.send_response(307)
                self.send_header("Location", found)
                self.end_headers()
                return
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(200)
            if isinstance(found, bytes):
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = reply

        def log_message(self, *_: Any) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as opened:
        opened.daemon_threads = True
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}", asked
        opened.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    return folder


def switching(target: str) -> Answer:
    """Name a place on the server at the first question about a run or model, and `target` afterwards."""
    counts = {"runs": 0, "models": 0}

    def place(kind: str) -> str:
        counts[kind] += 1
        return f"mlflow-artifacts:/1/{kind}/artifacts" if counts[kind] == 1 else target

    def answer(method: str, path: str) -> Any:
        if "runs/get" in path:
            info = {"run_id": RUN, "run_uuid": RUN, "experiment_id": "1", "status": "RUNNING"}
            return {"run": {"info": {**info, "artifact_uri": place("runs"), "lifecycle_stage": "active"}, "data": {}}}
        if "/logged-models/" in path and method == "GET":
            info = {"model_id": f"m-{RUN}", "experiment_id": "1", "name": "n", "status": "LOGGED_MODEL_READY"}
            times = {"creation_timestamp_ms": 1, "last_updated_timestamp_ms": 1}
            return {"model": {"info": {**info, **times, "artifact_uri": place("models")}, "data": {}}}
        return {}

    return answer


@pytest.mark.parametrize("kind", ["run", "model"])
def test_files_go_to_the_place_that_was_checked(
    kind: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server names another place when it is asked again. Neither files nor passwords go there."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secretword")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with server(lambda *_: {}) as (other, asked_other):
        for target in (f"file://{tmp_path}/private", f"{other}/elsewhere"):
            with server(switching(target)) as (uri, asked):
                client = Client(uri)
                if kind == "run":
                    client.log_artifacts(RUN, str(files))
                else:
                    client.log_model_artifacts(f"m-{RUN}", str(files))
                assert any("PUT" in each and "mlflow-artifacts" in each for each in asked)
        assert asked_other == []
    assert not (tmp_path / "private").exists()


def test_a_server_cannot_have_another_one_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would follow, and `requests` would send the other host the password that `.netrc` holds for it."""
    monkeypatch.delenv("MLFLOW_ALLOW_HTTP_REDIRECTS", raising=False)
    prepare_environment()
    with (
        server(lambda *_: {}) as (other, asked),
        server(lambda _, path: f"{other}{path}") as (uri, first),
        pytest.raises(MlflowException),
    ):
        Client(uri).search_experiments()
    assert first
    assert not asked


def test_pages_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerUnreachable, match="its pages do not end"):
        list(pages(lambda _: PagedList([1], "again")))
    counts = iter(range(10**9))
    monkeypatch.setattr(store, "_PAGES_S", 0.1)
    with pytest.raises(ServerUnreachable, match="its pages do not end"):
        list(pages(lambda _: PagedList([1], str(next(counts)))))
    last = iter(["1", "2", None])
    assert list(pages(lambda _: PagedList([1], next(last)))) == [1, 1, 1]


def test_a_huge_answer_takes_no_memory() -> None:
    """A megabyte of gzip is a gigabyte of zeros."""
    bomb = gzip.compress(b"3" * 2**28)
    with server(lambda *_: bomb) as (uri, _):
        tracemalloc.start()
        assert answers(uri)
        assert _version(uri)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**26


def test_files_beside_a_models_own_are_seen(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads a model imports what lies beside it, so `promote` takes another model."""
    there = tmp_path / "there"
    shutil.copytree(files, there)
    with server(switching("mlflow-artifacts:/1/models/artifacts")) as (uri, _):
        client = Client(uri)
        monkeypatch.setattr(client, "_repository", lambda _: LocalArtifactRepository(str(there)))
        assert client.other_model_files(f"m-{RUN}", str(files)) == []
        (there / "code").mkdir()
        (there / "code" / "torch.py").touch()
        assert client.other_model_files(f"m-{RUN}", str(files)) == ["code"]


def test_the_doctor_follows_no_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one, `requests` sends a password of ~/.netrc to the host that the server names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine localhost login alice password secretword\n")
    (tmp_path / ".netrc").chmod(0o600)
    with server(lambda *_: b"3.0.0") as (other, asked_other):
        elsewhere = other.replace("127.0.0.1", "localhost")
        with server(lambda _, path: f"{elsewhere}/version" if path == "/version" else {}) as (uri, asked):
            (check,) = _version(uri)
        assert asked == ["GET /version None"]
        assert asked_other == []
    assert "its version is not told" in check.found
