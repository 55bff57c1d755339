"""A cloud's notice, from servers that answer as the clouds' own do."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from sweeps.engine.cluster import preemption
from sweeps.engine.cluster.preemption import CLOUDS, wait_for_notice


class Metadata(BaseHTTPRequestHandler):
    """Amazon's IMDSv2, which wants a token, and Google's server, which wants its header; a notice once `taken`."""

    taken: Event
    asked: Event

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200 if known else 400, "a token")

    def do_GET(self) -> None:
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers["X-aws-ec2-metadata-token"] != "a token":
                self._answer(401, "")
                return
            found = self.taken.is_set()
            self._answer(200 if found else 404, '{"action": "terminate", "time": "2026-11-21T00:02:00Z"}')
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            self._answer(200, "TRUE\n" if self.taken.is_set() else "FALSE\n")
        else:
            self._answer(403, "")
        self.asked.set()

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def metadata(port: int = 0) -> Iterator[tuple[str, Event, Event]]:
    """Its URL; what makes it give notice; what tells that it was asked."""
    handler = type("Handler", (Metadata,), {"taken": Event(), "asked": Event()})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.taken, handler.asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 50_000_000,
    ],
    ids=["no HTTP", "no text", "cut", "endless"],
)
def test_an_answer_in_another_form_is_no_notice(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(answer)

        Thread(target=serve, daemon=True).start()
        tracemalloc.start()
        assert not preemption._is_announced(CLOUDS["gcp"], f"http://127.0.0.1:{server.getsockname()[1]}")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_notice_of(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waited for as long as there is none, also while the server is away, and past a proxy."""
    monkeypatch.setattr(preemption, "POLL_S", 0.01)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with metadata() as (url, _, asked):
        waiting = Thread(target=wait_for_notice, args=(CLOUDS[cloud], url), daemon=True)
        waiting.start()
        assert asked.wait(20)
        assert waiting.is_alive()
    with metadata(int(url.rpartition(":")[2])) as (_, taken, asked):
        assert asked.wait(20)
        assert waiting.is_alive()
        taken.set()
        waiting.join(20)
        assert not waiting.is_alive()
