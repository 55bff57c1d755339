"""The Ray cluster that a sweep runs on: joined or started, and checked before anything runs."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.cluster.imports import ScriptJob
from sweeps.engine.cluster.local import on_loopback, private_ray, restore, what_listens
from sweeps.engine.cluster.nodes import NoAnswer, ask_each, check_same, working
from sweeps.engine.cluster.note import is_host_and_port, read_note
from sweeps.engine.cluster.placement import Placement
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line

ANSWER_S = 5.0
LOOK_S = 1.0
# What stands in RAY_ADDRESS for the cluster that is noted.
AUTO = "auto"
# A reused worker trains each trial in a new thread, and glibc would keep freed memory for each of them; and large
# pages spare the processor look-ups (docs/log.md has both measured).
MALLOC = "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


def unsaid(_: str) -> None:
    """Tell nobody."""


@contextmanager
def connected(address: str | None = None, say: Callable[[str], None] = unsaid) -> Iterator[list[dict[str, float]]]:
    """Join a cluster, or start one on this machine, for as long as the block lasts; yield its nodes' resources.

    Args:
        address: as `running_cluster` returns it, which is asked if this is None.
        say: is told where a cluster that is started here listens.

    Raises:
        UserError: if the cluster named by RAY_ADDRESS does not answer or let us in, or is not of our versions.
    """
    if address is None:
        address = running_cluster(say)
    with joined(address, say):
        nodes = working()
        if address:
            check_same(nodes)
        yield [node.resources for node in nodes]


def running_cluster(say: Callable[[str], None] = unsaid) -> str:
    """Return the address of the cluster that a driver joins: RAY_ADDRESS, else the one that `ray start` noted here.

    It is empty if there is none. A note that another user may have left is ignored; `say` is told why.

    Raises:
        UserError: if RAY_ADDRESS names a cluster that does not answer, or asks for the noted one where none is to be
            trusted.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given and given != AUTO:
        _check_address(given)
        return "" if given == "local" else given
    note = read_note()
    if note is not None and not note.distrust and _answers(note.address):
        return note.address
    if given == AUTO:
        # Ray would join whatever is noted, or whichever process of any user looks like a cluster.
        found = f"{note.path} says {note.address or 'nothing to trust'}" if note else "there is none"
        why = f", as {note.distrust}" if note and note.distrust else ""
        raise UserError(
            f"RAY_ADDRESS={AUTO} needs a running cluster that `ray start` noted here; {found}{why}: "
            "set RAY_ADDRESS to host:port"
        )
    if note is not None and note.distrust:
        say(note.line())
    return ""


@contextmanager
def joined(address: str, say: Callable[[str], None] = unsaid) -> Iterator[str]:
    """Be a driver of the cluster at an address for as long as the block lasts; yield where its dashboard listens.

    An empty address stands for a new cluster on this machine, which no other user can reach; `say` is told so.

    Raises:
        UserError: if the cluster does not let us in, or one on this machine would be open to others.
    """
    # What goes wrong in a worker comes back to the study, with its reason.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if _is_refused(address):
        raise UserError(_refusal(address))
    with ExitStack() as stack:
        stack.enter_context(_settings())
        if address:
            context = _init(address)
            stack.callback(ray.shutdown)
        else:
            own = stack.enter_context(private_ray())
            if not ray.is_initialized():  # what the person has started is not ours to end
                # Ray's processes must have ended before their files are deleted.
                stack.callback(ray.shutdown, wait_for_processes=True)
            with on_loopback():
                context = _init("local", **own)
            say(what_listens(own["_temp_dir"]))
        yield str(context.dashboard_url or "")


@contextmanager
def _settings() -> Iterator[None]:
    """Set what Ray and Tune read from the environment, unless the person has; put it back at the end."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # Tune's own reports know nothing of the search; ours are `Progress` and the leaderboard.
        "RAY_AIR_NEW_OUTPUT": "0",
        # How many trials wait for a node is for `Room` to say; Tune alone would let one wait at a time, and a cluster
        # that grows from nothing would get one node after another.
        "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    }
    # Ray sets one itself, and not back.
    before = {name: os.environ.get(name) for name in (*settings, "PYTHONBREAKPOINT")}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        restore(before)


def _init(address: str, **own: Any) -> Any:
    """Return what `ray.init` returns. Raises `UserError` if Ray does not start, or its cluster does not let us in."""
    # A client's job is made by the cluster itself, which adds no folder of the driver's.
    job: Any = None if "://" in address else ScriptJob()
    try:
        return ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
            runtime_env={"env_vars": {"GLIBC_TUNABLES": MALLOC}},
            job_config=job,
            **own,
        )
    except ray.exceptions.AuthenticationError as error:
        raise UserError(_refusal(address)) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split()) if "Version mismatch" in str(error) else one_line(error)
        raise UserError(f"Ray must start, or its cluster let us in; {why}") from error


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
    if not is_host_and_port(address):
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
    silent = [f"{node}: {each.reason}" for node, each in found if isinstance(each, NoAnswer)]
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
    if is_host_and_port(address):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
