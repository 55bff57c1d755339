"""Ray clusters of several nodes on this machine, each with an address of its own on its loopback."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.sweeps.processes import Running, Surroundings, wait_for

RAY = Path(sys.executable).parent / "ray"
STORE = ("--object-store-memory", "80000000")
# Where Linux can, a head ends with the tests that started it, however they end.
UNTIL_WE_END = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


@dataclass(frozen=True)
class Head:
    """The first node of a cluster that is guarded by a token; `env` is what lets a driver in."""

    surroundings: Surroundings
    process: Running
    address: str
    dashboard: str
    env: dict[str, str]

    def add(self, ip: str, *options: str, prefix: tuple[str, ...] = (), **env: str) -> Running:
        """Another node, at an address 127.0.0.x; nodes that start at the same time take each other's ports.

        prefix: a command that runs the node's own.
        """
        command = (RAY, "start", "--block", "--address", self.address, "--node-ip-address", ip, *STORE, *options)
        return _started(self.surroundings.start(*prefix, *command, **self.env | env))


def head(around: Surroundings, *options: str, ip: str = "127.0.0.1", gcs_port: int | None = None, **env: str) -> Head:
    """Start a cluster whose dashboard listens on the loopback."""
    port, dashboard, client, agent = (str(each) for each in free_ports(4))
    port = str(gcs_port or port)
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} | env
    network = ("--node-ip-address", ip, "--port", port, "--ray-client-server-port", client)
    listens = ("--dashboard-host=127.0.0.1", "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent)
    command = (*UNTIL_WE_END, RAY, "start", "--head", "--block", *network, *listens, *STORE, *options)
    running = _started(around.start(*command, **env))
    address = f"{ip}:{port}"
    return Head(around, running, address, f"127.0.0.1:{dashboard}", {**env, "RAY_ADDRESS": address})


def _started(node: Running) -> Running:
    wait_for(lambda: "Ray runtime started" in node.out or node.process.poll() is not None, "a node", 120)
    assert node.process.poll() is None, node.out + node.err
    return node


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
