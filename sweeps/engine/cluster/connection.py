"""The connection to the Ray cluster of a sweep: find, join or start a cluster."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.cluster.cpus import usable_cpus
from sweeps.engine.cluster.imports import ScriptJob
from sweeps.engine.cluster.local import on_loopback, private_ray, restored, what_listens
from sweeps.engine.cluster.loss import watched_ray
from sweeps.engine.cluster.nodes import working
from sweeps.engine.cluster.note import ClusterNote, is_host_and_port, may_be_joined, read_note
from sweeps.engine.cluster.placement import Placement
from sweeps.engine.cluster.signals import kept_sigterm
from wgan_core.errors import UserError, one_line

ANSWER_S = 5.0
LOOK_S = 1.0
# Value of RAY_ADDRESS that stands for the cluster in the note of `ray start`.
AUTO = "auto"
# A reused worker trains each trial in a new thread, and glibc would keep freed memory in an arena for each. Large pages
# make updates slightly faster, with fewer address look-ups. docs/log.md has both measurements.
MALLOC = "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"


def discard(_: str) -> None:
    """Discard a message."""


def noted_cluster() -> ClusterNote | None:
    """Return the note of a cluster that answers, or of one that must not be joined; None if there is neither."""
    note = read_note()
    if note is None or note.distrust:
        return note
    if not answers(note.address):  # The cluster was killed, and its note was left behind.
        return None
    # Only now: who listens may have changed since the note was read.
    if may_be_joined(note.address):
        return note
    return replace(note, distrust=f"no Ray process of yours or of root's has {note.address}")


def running_cluster(say: Callable[[str], None] = discard) -> str:
    """Return the address of the cluster to join: RAY_ADDRESS, else the one in the note that `ray start` left here.

    The address is empty if there is no cluster, or RAY_ADDRESS is "local". If a note cannot be trusted, it is ignored,
    and `say` gets the reason.

    Raises:
        UserError: RAY_ADDRESS names a cluster that does not answer. Or RAY_ADDRESS is "auto", and there is no note that
            can be trusted and whose cluster answers.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given and given != AUTO:
        _check_address(given)
        return "" if given == "local" else given
    note = noted_cluster()
    if note is not None and note.address and not note.distrust:
        return note.address
    if given == AUTO:
        # Ray itself would trust any note, and join any process of any user that looks like a cluster.
        note = note or read_note()
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
def joined(address: str, say: Callable[[str], None] = discard) -> Iterator[str]:
    """Connect to the cluster at an address, as a Ray driver, for the duration of the block.

    Args:
        address: The cluster's address. An empty address starts a new cluster on this machine, which no other user can
            reach.
        say: Gets the message that says where a new cluster listens.

    Yields:
        The address of the cluster's dashboard; empty if there is none.

    Raises:
        UserError: The cluster refuses us, or a new cluster would be open to other users.
    """
    # The study keeps each worker's errors with their reasons, so Tune need not log them.
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
            if not ray.is_initialized():  # Otherwise the user has started Ray, and it must go on.
                # Ray's processes must end before `private_ray` deletes their files.
                stack.callback(ray.shutdown, wait_for_processes=True)
            with on_loopback():
                context = _init("local", num_cpus=usable_cpus(), **own)
            say(what_listens(own["_temp_dir"]))
            stack.enter_context(watched_ray())
        yield str(context.dashboard_url or "")


@contextmanager
def _settings() -> Iterator[None]:
    """Set the environment variables of Ray and Tune that the user has not set; restore all at the end."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # Tune's own progress reports know nothing of our search, so they are turned off.
        "RAY_AIR_NEW_OUTPUT": "0",
        # `Room` limits how many trials wait for a node. Tune by itself lets one trial wait at a time, so a cluster that
        # starts without workers would get one node after another.
        "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    }
    # Ray sets PYTHONBREAKPOINT and does not restore it.
    with restored((*settings, "PYTHONBREAKPOINT")):
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        yield


def _init(address: str, **own: Any) -> Any:
    """Call `ray.init` and return its result. Raise `UserError` if Ray does not start, or the cluster refuses us."""
    # For a Ray client (ray://), the cluster itself creates the job, and adds none of the driver's folders to it.
    job: Any = None if "://" in address else ScriptJob()
    try:
        with kept_sigterm():
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
        raise UserError(
            f"Ray must start, or its cluster let us in; {why}: `sweeps doctor` looks for the cause"
        ) from error


class Room:
    """The number of processes that a sweep should have now, as nodes join and leave. It is updated once a second."""

    def __init__(self, places: Placement) -> None:
        self._places, self._room, self._looked = places, 0, -math.inf

    def now(self) -> int:
        if time.monotonic() - self._looked > LOOK_S:
            # If the cluster does not answer, the last number stays.
            with suppress(RuntimeError, ray.exceptions.RayError):
                self._room = self._places.room([node.resources for node in working()])
            self._looked = time.monotonic()
        return self._room


def _is_refused(address: str) -> bool:
    """Return whether a cluster refuses our token. `ray.init` would retry for 20 s, and then not name the cause."""
    if not is_host_and_port(address):
        return False
    try:
        # Ray's own commands use these functions. If their signatures change, `ray.init` finds out about the token.
        from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

        ensure_token_if_auth_enabled(create_token_if_missing=False)
        # With a cluster id, even a wrong one, the client asks once. Without one, it asks for the id until it is let in.
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
    """Return the scheduling strategy of an actor that reads the driver's local files, so must run on its node."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _check_address(address: str) -> None:
    try:
        reach(address)
    except OSError as error:
        raise UserError(
            f"the Ray cluster named by RAY_ADDRESS must answer within {ANSWER_S:.0f} s; {address} did not: "
            f"{one_line(error)}: start it, or unset RAY_ADDRESS for a local one"
        ) from error


def answers(address: str) -> bool:
    """Return whether something listens at an address `host:port`."""
    try:
        reach(address)
    except OSError:
        return False
    return True


def reach(address: str) -> None:
    """Raise `OSError` if nothing listens at an address `host:port`. Ray itself would retry for minutes."""
    if is_host_and_port(address):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
