"""A listener in the place of a server that is down. Any user of a machine can start one. It notes what it is sent."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LONGEST = 65536


class Trap:
    """The port, and each message that was received on a connection of its own."""

    def __init__(self, talk: Callable[[socket.socket], bytes]) -> None:
        self.received: list[bytes] = []
        self._talk = talk
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection, suppress(OSError, struct.error):
                connection.settimeout(10)
                message = self._talk(connection)
                if message == b"end":
                    return
                self.received.append(message)

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"end")
        self._thread.join()
        self._listening.close()


def _http(connection: socket.socket) -> bytes:
    request = connection.recv(LONGEST)
    if request != b"end":
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return request


def _postgres(connection: socket.socket) -> bytes:
    """Ask for the password in the clear; what comes then is the message."""
    startup = connection.recv(LONGEST)
    if startup == b"end":
        return startup
    # Requests for encryption.
    while struct.unpack("!I", startup[4:8])[0] in (80877103, 80877104):
        connection.sendall(b"N")
        startup = connection.recv(LONGEST)
    connection.sendall(b"R" + struct.pack("!II", 8, 3))
    return connection.recv(LONGEST)


@contextmanager
def trap(protocol: str) -> Iterator[Trap]:
    """In the place of a web server (`http`) or of PostgreSQL (`postgres`)."""
    made = Trap({"http": _http, "postgres": _postgres}[protocol])
    try:
        yield made
    finally:
        made.close()
