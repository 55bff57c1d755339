"""A private Ray cluster on this machine for one sweep: other users can neither connect to it nor read its files."""

from __future__ import annotations

import ipaddress
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ray
from ray import _raylet
from ray._private import ray_constants

from sweeps.engine.cluster.certificates import make_certificates
from sweeps.engine.cluster.note import temp_folder
from wgan_core.errors import UserError, one_line
from wgan_core.rights import belongs_to_us, others_may_read, others_may_replace

LOOPBACK = "127.0.0.1"
USE_TLS = "RAY_USE_TLS"
TLS = (USE_TLS, "RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY")
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
# Linux limits the path of a Unix socket to this many bytes.
LONGEST_SOCKET = 107
# The longest path of a socket that Ray appends to its folder.
RAYS_OWN = "/session_2026-11-29_20-42-56_998366_4194304/sockets/plasma_store"
# `mkdtemp` adds eight characters to the prefix. Ray makes its own folder accessible to everyone, so Ray gets a folder
# inside the private one.
PREFIX, BELOW = "ray", "/r"


@contextmanager
def private_ray() -> Iterator[dict[str, Any]]:
    """Prepare a private folder and a token for a local Ray. At the end, delete its files and restore the environment.

    Yields:
        Arguments for `ray.init`.

    Raises:
        UserError: Other users could change the folder for Ray's files, or read the token that the user named.
    """
    # The folder has mode 0700.
    private = tempfile.TemporaryDirectory(prefix=PREFIX, dir=check_local(), ignore_cleanup_errors=True)
    with private as folder, _secrets(folder):
        yield {"_node_ip_address": LOOPBACK, "_temp_dir": f"{folder}{BELOW}"}


@contextmanager
def on_loopback() -> Iterator[None]:
    """Make `ray.init` keep the loopback address. Otherwise Ray replaces it by an address that others can reach."""
    # Ray sets this constant on macOS to keep the loopback. If a later Ray ignores it, `what_listens` raises an error.
    before = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def what_listens(folder: str) -> str:
    """Return the message that says where a local Ray listens.

    Args:
        folder: Ray's own folder, inside the private one.

    Raises:
        UserError: Ray listens on another address than the loopback.
    """
    addresses = {each["NodeManagerAddress"] for each in cast("list[dict[str, Any]]", ray.nodes())}
    if not all(ipaddress.ip_address(each).is_loopback for each in addresses):
        raise UserError(
            f"a local Ray must listen on {LOOPBACK} alone; it listens on {', '.join(sorted(addresses))}: "
            "install the version of Ray that requirements.txt names"
        )
    return f"Ray listens on {', '.join(addresses)} alone, for this user alone, with its files in {Path(folder).parent}"


def check_local() -> Path:
    """Return the folder in which a local Ray creates its private folder.

    It is the system's temporary folder, or RAY_TMPDIR. If the temporary folder has too long a path, it is /tmp.

    Raises:
        UserError: The folder cannot be created, other users could change it, or its path is too long for a socket. Or
            other users may read the token that the user named.
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
    inside = folder.resolve()
    exposed = any(others_may_replace(each) for each in (inside / PREFIX, inside, *inside.parents))
    if exposed or not (sticky or belongs_to_us(status)):
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
    """Return the length of the longest socket path that Ray would use in a folder, in bytes."""
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
def _secrets(folder: str) -> Iterator[None]:
    """Make Ray require a token: the one that the user named in the environment, else a new one, only in memory.

    The token in ~/.ray/auth_token is not used. It gives access to a cluster, and Ray writes that file readable by all.
    """
    try:
        with restored((MODE, TOKEN, *TLS)):
            os.environ[MODE] = "token"
            if not os.environ.get(TOKEN) and not os.environ.get(TOKEN_PATH):
                os.environ[TOKEN] = secrets.token_hex(32)
            if not os.environ.get(USE_TLS):
                os.environ |= make_certificates(Path(folder), LOOPBACK)
            read_anew()
            yield
    finally:
        read_anew()


@contextmanager
def restored(names: Collection[str]) -> Iterator[None]:
    """Give environment variables their present values back when the block ends."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def read_anew() -> None:
    """Make Ray's compiled part read the environment again. By itself, it reads the environment only once."""
    raylet = cast("Any", _raylet)
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
