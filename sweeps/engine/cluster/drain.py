"""Draining of a node: it gets no more work, and leaves the cluster when nothing runs on it."""

from __future__ import annotations

import time
from typing import Any, cast

import ray
from ray import _raylet
from ray.core.generated import autoscaler_pb2, gcs_pb2

from sweeps.engine.cluster.connection import joined, running_cluster
from sweeps.engine.cluster.nodes import alive
from wgan_core.errors import UserError

LOOK_S = 0.25
ENDS_S = 60.0


def drain_node(name: str | None, deadline_s: float) -> None:
    """Ask the cluster to drain a node, and wait until the node has left.

    A draining node gets no more work, and leaves by itself when nothing runs on it.

    Args:
        name: Host name, address or Ray id of the node; None for this node.
        deadline_s: Time within which the node must leave, in seconds.

    Raises:
        UserError: `deadline_s` is not positive, there is no cluster or no such node, or the node is the head. Or the
            cluster declines, or the node has not left by the deadline.
    """
    if deadline_s <= 0:
        raise UserError(f"--deadline must be a number of seconds > 0; given {deadline_s:g}: give --deadline 120")
    address, node_id, host = _find(name)
    why_not = _ask(address, node_id, deadline_s)
    if why_not:
        raise UserError(
            f"the cluster must agree that {host} is drained; it declines, as {why_not}: "
            "look with `ray status`, and try again"
        )
    print(f"{host} gets no more trials; those it trains are saved and go on elsewhere", flush=True)
    began = time.monotonic()
    while node_id in _alive(address):
        if time.monotonic() - began > deadline_s:
            raise UserError(
                f"work must have left {host} within {deadline_s:.0f} s; it has not: look with `ray status`, or give a "
                "longer --deadline"
            )
        time.sleep(LOOK_S)
    print(f"{host} has left the cluster after {time.monotonic() - began:.1f} s")


def drain_here() -> None:
    """Ask the cluster to drain this process's node. Do not wait, and ignore whether the cluster accepts."""
    context = ray.get_runtime_context()
    _ask(context.gcs_address, context.get_node_id(), ENDS_S)


def _find(name: str | None) -> tuple[str, str, str]:
    """Return the cluster's address, the node's id, and its host name and address for messages."""
    address = running_cluster(print)
    if not address:
        raise UserError("there must be a cluster that this machine is part of; there is none: set RAY_ADDRESS")
    with joined(address):
        own, address = ray.get_runtime_context().get_node_id(), ray.get_runtime_context().gcs_address
        nodes = alive()
    wanted = name or own
    for node in nodes:
        if wanted in (node.id, node.host, node.address):
            if node.is_head:
                raise UserError(f"the head cannot leave its cluster, and {node} is the head: name another node")
            return address, node.id, str(node)
    known = ", ".join(map(str, nodes))
    raise UserError(f"a node is named by its host name, address or id; given {wanted!r}: name one of {known}")


def _alive(address: str) -> set[str]:
    """Return the ids of all nodes that have not left.

    `ray.nodes` needs a connected driver. A driver that is connected through the draining node ends with that node.
    """
    found = cast("Any", _raylet).GcsClient(address=address).get_all_node_info()
    return {info.node_id.hex() for info in found.values() if info.state == cast("Any", gcs_pb2).GcsNodeInfo.ALIVE}


def _ask(address: str, node_id: str, deadline_s: float) -> str:
    """Ask the cluster to drain a node. Return why it declines, or an empty string if it accepts."""
    # Neither module has type hints. Ray drains a busy node only for this reason; for any other it declines.
    gcs, preempted = cast("Any", _raylet).GcsClient, cast("Any", autoscaler_pb2).DRAIN_NODE_REASON_PREEMPTION
    until_ms = round((time.time() + deadline_s) * 1000)
    accepted, why_not = gcs(address=address).drain_node(node_id, preempted, "sweeps drain", until_ms)
    return "" if accepted else why_not or "no reason given"
