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
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.cluster.nodes import Silence, ask_each, check_same, working
from sweeps.engine.cluster.placement import Placement
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

    Raises `UserError` if the cluster named by RAY_ADDRESS does not answer or let us in, or is not of our versions.
    """
    address = running_cluster()
    with joined(address):
        nodes = working()
        if address:
            check_same(nodes)
        yield [node.resources for node in nodes]


def running_cluster() -> str:
    """The address of the cluster that a driver joins: RAY_ADDRESS, else what `ray start` has noted here; empty if none.

    Raises `UserError` if RAY_ADDRESS names one that does not answer.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given:
        _check_address(given)
        return "" if given == "local" else given
    noted = _noted_address()
    return noted if _answers(noted) else ""


@contextmanager
def joined(address: str) -> Iterator[str]:
    """Be a driver of the cluster at an address, or of a new one if that is empty; where its dashboard listens.

    Raises `UserError` if it does not let us in.
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
    if _is_refused(address):
        raise UserError(_refusal(address))
    try:
        context = ray.init(
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
            runtime_env={"env_vars": {"GLIBC_TUNABLES": MALLOC}},
        )
    except ray.exceptions.AuthenticationError as error:
        raise UserError(_refusal(address)) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split()) if "Version mismatch" in str(error) else one_line(error)
        raise UserError(f"Ray must start, or its cluster let us in; {why}") from error
    try:
        yield str(context.dashboard_url or "")
    finally:
        ray.shutdown()


class Room:
    """How many processes a sweep should have at once, as nodes come and go; asked often, so it looks once a second."""

    def __init__(self, places: Placement) -> None:
        self._places, self._room, self._looked = places, 0, -math.inf

    def now(self) -> int:
        if time.monotonic() - self._looked > LOOK_S:
            # A cluster that does not answer just now is as it was.
            with suppress(RuntimeError, ray.exceptions.RayError):
                self._room = self._places.room([node.resources for node in working()])
            self._looked = time.monotonic()
        return self._room


def _is_refused(address: str) -> bool:
    """Whether a cluster wants another token than ours; `ray.init` would try for 20 s, and then not say so."""
    if not _is_host_and_port(address):
        return False
    try:
        # What Ray's own commands use. Its signature may change: then `ray.init` is left to find out.
        from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

        ensure_token_if_auth_enabled(create_token_if_missing=False)
        # With an id, though a wrong one, it asks once, instead of for the id until it is let in.
        GcsClient(address=address, cluster_id="11" * 28).internal_kv_get(b"", None, timeout=ANSWER_S)
    except ray.exceptions.AuthenticationError as error:
        return "WrongClusterID" not in str(error)
    except (ImportError, TypeError, ValueError, ray.exceptions.RayError):
        return False
    return False


def _refusal(address: str) -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    set_mode = "" if mode.lower() == "token" else f"set RAY_AUTH_MODE=token (it is {mode or 'not set'}), and "
    return (
        f"the Ray cluster must let us in; {address} wants its token and was given another or none: {set_mode}"
        "copy the cluster's into ~/.ray/auth_token, or set RAY_AUTH_TOKEN to it"
    )


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """For an actor that must run beside the driver, whose local files it reads."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def check_storage(folder: Folder) -> None:
    """Raises `UserError` if a node does not see what this one writes to the folder."""
    nodes = working()
    if len(nodes) == 1:
        return
    name, content = ".visible", uuid.uuid4().hex.encode()
    folder.write(name, content)
    found = ask_each(nodes, _reads, folder, name)
    folder.delete(name)
    silent = [f"{node}: {each.reason}" for node, each in found if isinstance(each, Silence)]
    if silent:
        raise UserError(f"every node must see the storage; {'; '.join(silent)}: `ray status` shows the nodes")
    blind = [str(node) for node, each in found if each != content]
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


def _noted_address() -> str:
    """Where `ray start` on this machine has noted its cluster; empty if nowhere."""
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
    if _is_host_and_port(address):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()


def _is_host_and_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and "://" not in address
