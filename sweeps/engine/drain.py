"""Whether a node is about to leave the cluster, which Ray calls draining, and how one says so."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import ray
from ray import _raylet
from ray._private.state import state
from ray.core.generated import autoscaler_pb2

POLL_S = 1.0


def draining_nodes() -> set[str]:
    """The ids of the nodes that take no more work. Raises `RuntimeError` if the cluster does not answer."""
    # Ray has no public call for it; its own training library asks in this way.
    return set(state.get_draining_nodes())


def drain(address: str, node_id: str, reason: str, deadline_s: float) -> str:
    """Ask the cluster at `address` to give a node no more work; why it declines, or an empty string.

    The node leaves by itself once nothing runs on it; nothing ends it when the deadline, in seconds, has passed.
    """
    # Neither has type hints. Ray declines to drain a node that is not idle for any reason but this one.
    gcs, preempted = cast("Any", _raylet).GcsClient, cast("Any", autoscaler_pb2).DRAIN_NODE_REASON_PREEMPTION
    until_ms = round((time.time() + deadline_s) * 1000)
    accepted, why_not = gcs(address=address).drain_node(node_id, preempted, reason, until_ms)
    return "" if accepted else why_not or "no reason given"


class Notice:
    """Watches, from a thread, whether the node of this process is draining; `given` costs nothing to ask."""

    def __init__(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._given, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="notice", daemon=True)

    def __enter__(self) -> Notice:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def given(self) -> bool:
        return self._given.is_set()

    def _watch(self) -> None:
        while not self._given.is_set():
            try:
                if self._node in draining_nodes():
                    self._given.set()
            except Exception:  # the cluster may answer the next time
                pass
            if self._stopping.wait(POLL_S):
                return
