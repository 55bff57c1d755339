"""Detection that this process's node is draining, which means that it is about to leave the cluster."""

from __future__ import annotations

import threading

import ray
from ray._private.state import state

POLL_S = 1.0


def draining_nodes() -> set[str]:
    """Return the ids of the nodes that accept no more work. Raise `RuntimeError` if the cluster does not answer."""
    # Ray has no public function for this. Ray Train makes the same call.
    return set(state.get_draining_nodes())


class Notice:
    """A check, by a thread and every `POLL_S` seconds, whether this process's node is draining."""

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
            except Exception:  # The cluster may answer next time.
                pass
            if self._stopping.wait(POLL_S):
                return
