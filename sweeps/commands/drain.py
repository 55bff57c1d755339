"""`sweeps drain`: remove a node from the cluster; its trials continue on other nodes."""

from __future__ import annotations

import argparse
import time

from sweeps.engine.cluster.preemption import CLOUDS, wait_for_notice
from sweeps.engine.plan.arguments import number
from wgan_core.errors import UserError

DEADLINE_S = 120.0
AGAIN_S = 2.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", help="host name, address or Ray id of the node (default: this node)")
    parser.add_argument(
        "--deadline", type=number, help=f"seconds until it is switched off (default: {DEADLINE_S:.0f}, or the cloud's)"
    )
    parser.add_argument("--on-notice", choices=sorted(CLOUDS), help="wait for this cloud's notice first")
    parser.add_argument("--metadata", help="URL of the cloud's metadata server, if it is not the usual one")


def run(given: argparse.Namespace) -> None:
    deadline_s = DEADLINE_S
    if given.on_notice:
        cloud = CLOUDS[given.on_notice]
        deadline_s = cloud.deadline_s
        wait_for_notice(cloud, given.metadata)
        print(f"{given.on_notice} takes this node back within {deadline_s:.0f} s", flush=True)
    _drain(given.node, deadline_s if given.deadline is None else given.deadline, bool(given.on_notice))


def _drain(node: str | None, deadline_s: float, is_waiting: bool) -> None:
    """Drain a node within `deadline_s` seconds.

    If `is_waiting`, nobody watches for an error, so the request is repeated until the deadline.
    """
    # This import loads Ray, so it waits until a node is to be drained.
    from sweeps.engine.cluster.drain import drain_node

    ends = time.monotonic() + deadline_s
    while True:
        try:
            return drain_node(node, deadline_s)
        except UserError:
            if not is_waiting or time.monotonic() + AGAIN_S > ends:
                raise
            time.sleep(AGAIN_S)
