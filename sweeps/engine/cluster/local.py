"""A Ray of one sweep's own on this machine: other users neither reach it nor read its files."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ray
from ray import _raylet
from ray._private import ray_constants

from sweeps.engine.cluster.note import temp_folder
from sweeps.engine.cluster.rights import belongs_to_us, others_may_read, others_may_replace
from wgan_core.errors import UserError, one_line

LOOPBACK = "127.0.0.1"
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
# In bytes, of the paths of Unix sockets, by Linux; and of what Ray adds to its folder.
LONGEST_SOCKET = 107
RAYS_OWN = "/session_2026-11-29_20-42-56_998366_4194304/sockets/plasma_store"
# `mkdtemp` puts eight characters behind the prefix. Ray opens its own folder to everyone, so it is one below.
PREFIX, BELOW = "ray", "/r"


@contextmanager
def private_ray() -> Iterator[dict[str, Any]]:
    """Prepare this machine for a Ray that is this user's alone; yield what `ray.init` needs for it.

    Its files are deleted at the end, and the environment is as it was.

    Raises:
        UserError: if the folder for Ray's files, or the token that the person named, is open to others.
    """
    with _private_folder(check_local()) as folder, _token():
        yield {"_node_ip_address": LOOPBACK, "_temp_dir": f"{folder}{BELOW}"}


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let `ray.init` take the loopback for its address, which it else replaces by one that others reach."""
    # Ray's own constant, by which it does so on macOS. Were it gone, `what_listens` would say so.
    before = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def what_listens(folder: str) -> str:
    """Return the message that says where a local Ray listens.

    Args:
        folder: Ray's own, below the private one.

    Raises:
        UserError: if it listens anywhere but on the loopback.
    """
    addresses = {each["NodeManagerAddress"] for each in cast("list[dict[str, Any]]", ray.nodes())}
    if not all(ipaddress.ip_address(each).is_loopback for each in addresses):
        raise UserError(
            f"a local Ray must listen on {LOOPBACK} alone; it listens on {', '.join(sorted(addresses))}: "
            "install the version of Ray that requirements.txt names"
        )
    return f"Ray listens on {', '.join(addresses)} alone, for this user alone, with its files in {Path(folder).parent}"


def check_local() -> Path:
    """Return the folder in which a local Ray would have its private one.

    It is the system's own if another one, which nobody named to Ray, has too long a path.

    Raises:
        UserError: if other users could change the folder, or read the token that the person named.
    """
    folder = temp_folder().absolute()
    if _socket_length(folder) > LONGEST_SOCKET and not os.environ.get("RAY_TMPDIR"):
        folder = Path("/tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise UserError(
            f"the folder for Ray's files must be there to be written; {folder}: {error.strerror}: "
            "set RAY_TMPDIR to another"
        ) from error
    sticky = bool(status.st_mode & stat.S_ISVTX)
    if others_may_replace(folder / PREFIX) or not (sticky or belongs_to_us(status)):
        raise UserError(
            f"the folder for Ray's files must be safe from other users; they may delete what lies in {folder}: "
            "set RAY_TMPDIR to a folder of your own"
        )
    length = _socket_length(folder)
    if length > LONGEST_SOCKET:
        raise UserError(
            f"a path of Ray's sockets must have at most {LONGEST_SOCKET} bytes; below {folder} it has {length}: "
            "set RAY_TMPDIR to a shorter folder"
        )
    _check_named_token()
    return folder


def _socket_length(folder: Path) -> int:
    """Return the length of the longest path of a socket below a folder, in bytes."""
    return len(os.fsencode(folder / f"{PREFIX}12345678")) + len(BELOW) + len(RAYS_OWN)


def _check_named_token() -> None:
    named = os.environ.get(TOKEN_PATH)
    if os.environ.get(TOKEN) or not named:
        return
    try:
        is_open = others_may_read(Path(named).expanduser())
    except OSError as error:
        raise UserError(
            f"{TOKEN_PATH} must name a file that is there; given {named!r}: {one_line(error)}: "
            f"unset {TOKEN_PATH}, and a local Ray makes a token of its own"
        ) from error
    if is_open:
        raise UserError(
            f"Ray's token must be readable by this user alone; others may read {named}: "
            f"chmod 600 it, or unset {TOKEN_PATH}, and a local Ray makes a token of its own"
        )


@contextmanager
def _private_folder(above: Path) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=above)  # of mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _token() -> Iterator[None]:
    """Have Ray ask for a token: the one that the person named in the environment, else a new one in memory alone.

    Never that of ~/.ray/auth_token, which opens a cluster, and which Ray itself writes for all to read.
    """
    before = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    os.environ[MODE] = "token"
    if not os.environ.get(TOKEN) and not os.environ.get(TOKEN_PATH):
        os.environ[TOKEN] = secrets.token_hex(32)
    _read_anew()
    try:
        yield
    finally:
        restore(before)
        _read_anew()


def restore(before: dict[str, str | None]) -> None:
    """Put variables of the environment back to these values; None for one that was not set."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read_anew() -> None:
    """Have Ray's compiled part read the environment again; it does so only once by itself."""
    raylet = cast("Any", _raylet)
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
