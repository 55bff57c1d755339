"""Checks of the whole cluster: token, dashboard, and equal versions on all nodes."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence

from sweeps.engine.cluster.connection import answers
from sweeps.engine.cluster.nodes import AGAIN, NoAnswer, Node, ask_inventory, differences, inventory
from sweeps.engine.doctor.check import SILENT, Check, failed, nodes_text, ok, problems_or_ok, warning
from sweeps.engine.doctor.machine import ObservedMachine
from sweeps.engine.doctor.sharing import check_token_files


def check_token(machines: Sequence[ObservedMachine]) -> list[Check]:
    """Check that Ray was started with a token on every node, and that other users cannot read the token files."""
    files = check_token_files({each.name: each.machine.open_tokens for each in machines})
    without = [each.name for each in machines if each.machine.auth_mode.lower() != "token"]
    if not without:
        mode = os.environ.get("RAY_AUTH_MODE", "")
        return problems_or_ok(files, "token", f"every node asks for it (RAY_AUTH_MODE={mode} here)")
    return files + warning(
        "token",
        f"{', '.join(without)}: Ray was started without RAY_AUTH_MODE=token, so whoever reaches it can run code there",
        "`(umask 077; ray get-auth-token --generate)`, the same ~/.ray/auth_token on every node, RAY_AUTH_MODE=token, "
        "and start it anew",
    )


def check_dashboard(address: str, heads: Sequence[str]) -> list[Check]:
    """Check that other machines cannot reach the dashboard. An address counts as closed if it does not answer here.

    Args:
        address: host:port at which the dashboard says that it listens; empty if there is no dashboard.
        heads: Addresses of the head, on which the dashboard might answer too.
    """
    if not address:
        return ok("dashboard", "none")
    host, _, port = address.rpartition(":")
    open_at = [each for each in {host, *heads} if not _is_loopback(each) and answers(f"{each}:{port}")]
    if open_at:
        return warning(
            "dashboard",
            f"it answers on {', '.join(f'{each}:{port}' for each in open_at)}",
            "start the head with --dashboard-host=127.0.0.1; `ray dashboard cluster.yaml` brings it to you through SSH",
        )
    return ok("dashboard", f"{address} of the head, on its loopback alone")


def check_versions(nodes: Sequence[Node]) -> list[Check]:
    """Check that each node has the package versions and the code of this process."""
    here, worse = inventory(), list[Check]()
    for node, there in ask_inventory(nodes):
        if isinstance(there, NoAnswer):
            worse += failed("versions", f"{node}: {there.reason}", SILENT)
        elif unlike := differences(there, here):
            worse += failed("versions", f"{node} has {', '.join(unlike)}", AGAIN)
    return problems_or_ok(worse, "versions", f"{nodes_text(len(nodes))} with {shown_inventory()}")


def shown_inventory() -> str:
    """Format the package versions and the code hashes of this process."""
    return ", ".join(f"{what} {value}" for what, value in inventory().items())


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
