"""Checks for machines that several users share: files of Ray that other users can read, change or forge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import ray

from sweeps.engine.cluster.connection import noted_cluster
from sweeps.engine.cluster.local import LOOPBACK, TOKEN_PATH, check_local
from sweeps.engine.doctor.check import Check, ok, problems_or_ok, refused, warning
from wgan_core.errors import UserError
from wgan_core.rights import others_may_read, others_may_write


def check_own_ray() -> list[Check]:
    """Check that a local Ray would be private to this user, without starting it."""
    try:
        folder = check_local()
    except UserError as error:
        return refused("local", error)
    listens = f"a sweep starts a Ray that listens on {LOOPBACK} alone, with a token of its own"
    return ok("local", f"{listens} and its files in {folder}, for this user alone")


def check_note() -> list[Check]:
    """Warn if another user may have written the note of `ray start` on this machine."""
    note = noted_cluster()
    if note is None or not note.distrust:
        return []
    found, _, remedy = note.line().rpartition(": ")
    return warning("ray", found, remedy)


def check_token_files(machines: Mapping[str, Sequence[str]]) -> list[Check]:
    """Warn of each file with Ray's token that other users may read. `machines` has those files by machine name."""
    return [
        each
        for name, files in machines.items()
        for file in files
        for each in warning(
            "token",
            f"{name}: other users may read {file}, which lets them run code as you",
            f"chmod 600 {file}; if others use that machine, make a new token, and start the cluster anew",
        )
    ]


def check_sessions(machines: Mapping[str, str]) -> list[Check]:
    """Warn of each session folder of Ray that other users may write to. `machines` has that folder by machine name."""
    found = [
        each
        for name, folder in machines.items()
        if folder
        for each in warning(
            "session",
            f"{name}: other users may write to {folder}, where Ray has its sockets and logs",
            "before `ray start`, set RAY_TMPDIR to a folder of mode 700, as Ray opens its own to everyone",
        )
    ]
    return problems_or_ok(found, "session", "no other user may write to Ray's files")


def open_tokens() -> list[str]:
    """Return those of this user's files with Ray's token that other users may read."""
    files = [os.environ.get(TOKEN_PATH), "~/.ray/auth_token"]
    found = []
    for file in dict.fromkeys(str(Path(each).expanduser()) for each in files if each):
        with suppress(OSError):
            if others_may_read(Path(file)):
                found.append(file)
    return found


def open_session() -> str:
    """Return the folder of Ray's session on this node if other users may write there; else an empty string."""
    if not ray.is_initialized():
        return ""
    own = ray.get_runtime_context().get_node_id()
    for node in cast("list[dict[str, Any]]", ray.nodes()):
        if node["NodeID"] == own:
            session = Path(node["RayletSocketName"]).parents[1]
            with suppress(OSError):
                return str(session) if others_may_write(session) or others_may_write(session.parent) else ""
    return ""
