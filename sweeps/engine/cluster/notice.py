"""Whether the node of this process is about to leave the cluster, which Ray calls draining."""

from __future__ import annotations

import threading

import ray
from ray._private.state import state

POLL_S = 1.0


def draining_nodes() -> set[str]:
    """The ids of the nodes that take no more work. Raises `RuntimeError` if the cluster does not answer."""
    # Ray has no public call for it; its own training library asks in this way.
    return set(state.get_draining_nodes())


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
