"""The note that `ray start` leaves of its cluster. Every user of a machine can leave one, so it may be a trap."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweeps.engine.cluster.rights import belongs_to_us, mode_lets_others_write, others_may_replace, owner
from wgan_core.errors import printable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAME = "ray_current_cluster"
LONGEST = 300
"""Bytes of a note that are read: an address is shorter."""
# The state of a socket that listens, in /proc/net/tcp.
LISTENS = "0A"


@dataclass(frozen=True)
class ClusterNote:
    """What a note says.

    Attributes:
        path: where the note lies.
        address: of the cluster, as host:port.
        distrust: why this user must not follow the note; empty if there is no reason.
    """

    path: Path
    address: str
    distrust: str = ""

    def line(self) -> str:
        """Return the message that the note is ignored, and why."""
        return (
            f"the cluster noted in {self.path} is ignored, as {self.distrust}: "
            "set RAY_ADDRESS to join it, or RAY_ADDRESS=local to hear no more of it"
        )


def temp_folder() -> Path:
    """Return the folder below which Ray keeps its own."""
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())


def read_note() -> ClusterNote | None:
    """Return the note of this machine; None if there is none."""
    path = temp_folder() / "ray" / NAME
    try:
        # Without waiting, as it could be a pipe; and not what a link points to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return ClusterNote(path, "", f"it cannot be read ({error.strerror})")
    try:
        # The status is the opened file's, so that nobody can put another in its place in between. No file object is
        # made of the descriptor, as Python makes none of a folder's.
        distrust = _distrust(path, os.fstat(descriptor))
        text = b"" if distrust else os.read(descriptor, LONGEST)
    except OSError as error:
        return ClusterNote(path, "", f"it cannot be read ({error.strerror})")
    finally:
        os.close(descriptor)
    address = text.decode(errors="replace").strip()
    if distrust or not address:
        return ClusterNote(path, "", distrust) if distrust else None
    if not is_host_and_port(address):
        return ClusterNote(path, "", f"it says {printable(address)[:80]}, which is no host:port")
    return ClusterNote(path, address, _foreign_listener(address))


def is_host_and_port(address: str) -> bool:
    """Return whether an address has the form host:port."""
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and "://" not in address and address.isprintable()


def _distrust(path: Path, status: os.stat_result) -> str:
    """Return why a note may be another user's; empty if it is not.

    Ray lets everyone write to its folder, so others can delete a note, and put one of their own there. They cannot give
    it to this user or to root.
    """
    folder = path.parent.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "it is no file"
    if not belongs_to_us(status):
        return f"it belongs to {owner(status)}"
    if mode_lets_others_write(status):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    if not stat.S_ISDIR(folder.st_mode) or not belongs_to_us(folder):
        return f"its folder belongs to {owner(folder)}, or is a link"
    if others_may_replace(path.parent):
        return f"others may write to {path.parent.parent}"
    return ""


def _foreign_listener(address: str) -> str:
    """Return that another user listens at an address of this machine; empty if nobody does, or it is elsewhere.

    A cluster may be gone, and its note stay: then anybody can listen there.
    """
    host, _, port = address.rpartition(":")
    with suppress(OSError, ValueError):
        at = {_plain(str(found[4][0])) for found in socket.getaddrinfo(host.strip("[]"), int(port))}
        if any(each.is_loopback for each in at) or at & _addresses():
            for user, where in _listening(int(port)):
                if user not in (os.geteuid(), 0) and (where in at or where.is_unspecified):
                    with suppress(KeyError):
                        return f"user {pwd.getpwuid(user).pw_name} listens at {address}"
                    return f"user {user} listens at {address}"
    return ""


def _addresses() -> set[Address]:
    """Return the addresses of this machine."""
    families = (socket.AF_INET, socket.AF_INET6)
    return {
        _plain(each.address)
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in families
    }


def _plain(text: str) -> Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _listening(port: int) -> Iterator[tuple[int, Address]]:
    """Yield the user and the address of each socket that listens at a port of this machine, where Linux tells that."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                host, _, at = fields[1].partition(":")
                if fields[3] == LISTENS and int(at, 16) == port:
                    yield int(fields[7]), _plain(str(ipaddress.ip_address(_bytes(host))))


def _bytes(words: str) -> bytes:
    """Return an address of /proc/net/tcp as bytes: it is written in words of four, in the machine's own order."""
    raw = bytes.fromhex(words)
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
