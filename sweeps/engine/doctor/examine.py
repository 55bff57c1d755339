"""All checks of `sweeps doctor`, and those of them that a sweep makes when it starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

from sweeps.engine.cluster.connection import joined, running_cluster
from sweeps.engine.cluster.nodes import working
from sweeps.engine.doctor.check import Check, nodes_text, ok, problems_or_ok, refused, require
from sweeps.engine.doctor.cluster import check_dashboard, check_token, check_versions, shown_inventory
from sweeps.engine.doctor.machine import ObservedMachine, check_clocks, check_machines, look, machines_of
from sweeps.engine.doctor.sharing import check_note, check_own_ray, check_sessions, check_token_files
from sweeps.engine.doctor.storage import check_storage
from sweeps.engine.doctor.study import check_study
from sweeps.engine.doctor.tracking import check_tracking
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError


def examine(storage: str, tracking_uri: str | None, study_storage: str | None) -> Iterator[Check]:
    """Run all checks, and yield each result at once.

    They check the cluster that a script would join here. If there is none, they check this machine.
    """
    folder = Folder.at(storage)
    try:
        address = running_cluster()
        yield from check_note()
        if address:
            with joined(address) as dashboard:
                yield from _cluster(address, dashboard, folder)
        else:
            yield from ok("ray", f"{version('ray')}; no cluster is known here, so this is about this machine alone")
            yield from _alone(folder)
    except UserError as error:
        (check,) = refused("ray", error)
        yield replace(check, remedy=f"{check.remedy}; what follows is about this machine alone")
        yield from _alone(folder)
    yield from check_tracking(tracking_uri, folder)
    yield from check_study(study_storage, folder)


def check_start(folder: Folder) -> None:
    """Run the checks that a sweep needs on the cluster that this process has joined, before any trial starts.

    Raises:
        UserError: A node does not answer, has other versions or other code than this process, or does not share the
            sweep's folder.
    """
    nodes = working()
    require(f"every node must have what this one, {socket.gethostname()}, has", check_versions(nodes))
    require("every node must see the storage", check_storage(folder, nodes))


def _cluster(address: str, dashboard: str, folder: Folder) -> Iterator[Check]:
    nodes = working()
    yield from ok("ray", f"{version('ray')} at {address}, {nodes_text(len(nodes))}")
    yield from check_versions(nodes)
    machines, silent = machines_of(nodes)
    yield from silent
    answering = [node for node in nodes if str(node) in {each.name for each in machines}]
    yield from check_token(machines)
    yield from check_dashboard(dashboard, [node.address for node in nodes if node.is_head])
    yield from check_sessions({each.name: each.machine.open_session for each in machines})
    yield from check_clocks(answering)
    yield from check_storage(folder, answering)
    yield from check_machines(machines)


def _alone(folder: Folder) -> Iterator[Check]:
    here = ObservedMachine(socket.gethostname(), look())
    yield from ok("versions", shown_inventory())
    yield from check_own_ray()
    yield from problems_or_ok(
        check_token_files({here.name: here.machine.open_tokens}), "token", "no file of it that others read"
    )
    yield from check_storage(folder, ())
    yield from check_machines([here])
