"""The file in which `ray start` notes its cluster. Any user of a machine can write one, so it may be a trap."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from wgan_core.errors import printable
from wgan_core.rights import belongs_to_us, mode_lets_others_write, others_may_replace, user_name

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAME = "ray_current_cluster"
LONGEST = 300
"""Bytes of a note to read. An address is shorter."""
# The state of a listening socket in /proc/net/tcp.
LISTENS = "0A"


@dataclass(frozen=True)
class ClusterNote:
    """The content of a note, and whether to trust it.

    Attributes:
        path: Path of the note.
        address: Address of the cluster, host:port; empty if the file is not trusted or holds no address.
        distrust: Why this user must not follow the note; empty if it can be trusted.
    """

    path: Path
    address: str
    distrust: str = ""

    def line(self) -> str:
        """Return the message that says why the note is ignored."""
        return (
            f"the cluster noted in {self.path} is ignored, as {self.distrust}: "
            "set RAY_ADDRESS to join it, or RAY_ADDRESS=local to hear no more of it; else delete the note, or set "
            "RAY_TMPDIR to a folder of your own"
        )


def temp_folder() -> Path:
    """Return the folder in which Ray creates its own folder."""
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())


def read_note() -> ClusterNote | None:
    """Return this machine's note; None if there is none, or it is empty."""
    path = temp_folder() / "ray" / NAME
    try:
        # The file could be a pipe, so do not block. It could be a link, so do not follow it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return ClusterNote(path, "", f"it cannot be read ({error.strerror})")
    try:
        # Check the opened file, not its path: another user could replace the file between the check and the reading.
        # Read from the descriptor, because Python makes no file object from the descriptor of a folder.
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


def may_be_joined(address: str) -> bool:
    """Return whether an address is on another machine, or belongs to a running cluster of this user or of root.

    A cluster on this machine must have a process of this user or of root. If the cluster has ended, another user can
    listen at its address at any moment, so looking at who listens now is not enough.
    """
    if not _of_this_machine(address):
        return True
    wanted = f"--gcs_server_port={address.rpartition(':')[2]}"
    for process in psutil.process_iter(["name", "uids", "cmdline"]):
        found = process.info
        trusted = found["uids"] is not None and found["uids"].real in (os.geteuid(), 0)
        if trusted and found["name"] == "gcs_server" and wanted in (found["cmdline"] or ()):
            return True
    return False


def _of_this_machine(address: str) -> set[Address]:
    """Return the IP addresses that the host of host:port stands for if it is this machine; none for another host."""
    host, _, port = address.rpartition(":")
    try:
        at = {_plain(str(found[4][0])) for found in socket.getaddrinfo(host.strip("[]"), int(port))}
    except (OSError, ValueError):
        return set()
    return at if any(each.is_loopback for each in at) or at & _addresses() else set()


def _distrust(path: Path, status: os.stat_result) -> str:
    """Return why another user may have written a note; empty if none can have.

    Ray lets everyone write to its folder, so others can replace a note by their own. They cannot make this user or root
    the owner of their note.
    """
    folder = path.parent.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "it is no file"
    if not belongs_to_us(status):
        return f"it belongs to {user_name(status.st_uid)}"
    if mode_lets_others_write(status):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    if not stat.S_ISDIR(folder.st_mode) or not belongs_to_us(folder):
        return f"its folder belongs to {user_name(folder.st_uid)}, or is a link"
    if others_may_replace(path.parent):
        return f"others may write to {path.parent.parent}"
    return ""


def _foreign_listener(address: str) -> str:
    """Return a message if another user listens at an address of this machine; else an empty string.

    The note of a cluster may outlive the cluster. Then any user can listen at the address in it.
    """
    at = _of_this_machine(address)
    for user, where in _listening(int(address.rpartition(":")[2])) if at else ():
        if user not in (os.geteuid(), 0) and (where in at or where.is_unspecified):
            return f"user {user_name(user)} listens at {address}"
    return ""


def _addresses() -> set[Address]:
    """Return the IP addresses of this machine."""
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
    """Yield the user id and the address of each socket that listens at a port. Only Linux tells; else yield nothing."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError, ValueError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                host, _, at = fields[1].partition(":")
                if fields[3] == LISTENS and int(at, 16) == port:
                    yield int(fields[7]), _plain(str(ipaddress.ip_address(_bytes(host))))


def _bytes(words: str) -> bytes:
    """Return an address of /proc/net/tcp as bytes. The file has words of four bytes in the machine's byte order."""
    raw = bytes.fromhex(words)
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
