"""The Ray cluster that a sweep runs on: joined or started, and checked before anything runs."""

from __future__ import annotations

import logging
import math
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.drain_notice import draining_nodes
from sweeps.engine.placement import Placement
from wgan_core.errors import UserError, one_line
from wgan_core.folder import Folder

ANSWER_S = 5.0
LOOK_S = 1.0
# A reused worker trains each trial in a new thread, and glibc would keep freed memory for each of them; and large
# pages spare the processor look-ups (docs/log.md has both measured).
MALLOC = "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


@contextmanager
def connected() -> Iterator[list[dict[str, float]]]:
    """Join the cluster there is, or start one on this machine, for as long as the block lasts; its nodes' resources.

    Raises `UserError` if the cluster named by RAY_ADDRESS does not answer, or is not of our versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Tune's own reports know nothing of the search; ours are `Progress` and the leaderboard.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # How many trials wait for a node is for `Room` to say; Tune alone would let one wait at a time, and a cluster that
    # grows from nothing would get one node after another.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")
    # What goes wrong in a worker comes back to the study, with its reason.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(
            address=None if _answers(_left_address()) else "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
            runtime_env={"env_vars": {"GLIBC_TUNABLES": MALLOC}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"Ray must start, or its cluster let us in; {one_line(error)}") from error
    try:
        yield [node["Resources"] for node in _nodes()]
    finally:
        ray.shutdown()


def has_cluster() -> bool:
    """Whether there is one to join, rather than one to start."""
    left = _left_address()
    return bool(os.environ.get("RAY_ADDRESS")) or (bool(left) and _answers(left))


class Room:
    """How many processes a sweep should have at once, as nodes come and go; asked often, so it looks once a second."""

    def __init__(self, places: Placement) -> None:
        self._places, self._room, self._looked = places, 0, -math.inf

    def now(self) -> int:
        if time.monotonic() - self._looked > LOOK_S:
            leaving = draining_nodes()
            self._room = self._places.room([node["Resources"] for node in _nodes() if node["NodeID"] not in leaving])
            self._looked = time.monotonic()
        return self._room


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """For an actor that must run beside the driver, whose local files it reads."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def check_storage(folder: Folder) -> None:
    """Raises `UserError` if a node does not see what this one writes to the folder."""
    nodes = _nodes()
    if len(nodes) == 1:
        return
    name, content = ".visible", uuid.uuid4().hex.encode()
    folder.write(name, content)
    probe: Any = ray.remote(num_cpus=0)(_reads)
    asked = {
        node["NodeManagerHostname"]: probe.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(folder, name)
        for node in nodes
    }
    blind = [host for host, reference in asked.items() if ray.get(reference) != content]
    folder.delete(name)
    if blind:
        raise UserError(
            f"every node must see the storage; {', '.join(blind)} does not see {folder} as this node does: "
            "give --storage a shared file system or an object store"
        )


def _reads(folder: Folder, name: str) -> bytes:
    try:
        return folder.read(name)
    except OSError:
        return b""


def _nodes() -> list[dict[str, Any]]:
    return [node for node in cast("list[dict[str, Any]]", ray.nodes()) if node["Alive"]]


def _left_address() -> str:
    """Where `ray start` on this machine has noted its cluster, for a driver without RAY_ADDRESS; empty if nowhere."""
    if os.environ.get("RAY_ADDRESS"):
        return ""
    noted = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    return noted.read_text().strip() if noted.exists() else ""


def _check_address(address: str) -> None:
    try:
        _reach(address)
    except OSError as error:
        raise UserError(
            f"the Ray cluster named by RAY_ADDRESS must answer within {ANSWER_S:.0f} s; {address} did not: "
            f"{one_line(error)}: start it, or unset RAY_ADDRESS for a local one"
        ) from error


def _answers(address: str) -> bool:
    try:
        _reach(address)
    except OSError:  # its cluster was killed, and the note of it stayed
        return False
    return True


def _reach(address: str) -> None:
    """Raises `OSError` if nothing listens at an address `host:port`; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
