"""Check that all nodes share the storage: each node must read this node's file, and this node must read theirs."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweeps.engine.cluster.nodes import NoAnswer, Node, ask_each
from sweeps.engine.doctor.check import SILENT, Check, failed, nodes_text, problems_or_ok, warning
from wgan_core.data.folder import Folder
from wgan_core.errors import one_line
from wgan_core.rights import others_may_write

SHARE = "give --storage (or WGAN_STORAGE) a folder that all nodes see and may write to, or an object store"
LEAST = 2**30
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.", "lustre", "ceph", "glusterfs", "afs", "beegfs", "gpfs")


@dataclass(frozen=True)
class Exchange:
    """The outcome of reading and writing the storage on a node.

    Attributes:
        not_read: Error of reading the driver's file; empty if there was none.
        written: Name of the file that the node wrote.
        not_written: Error of writing it; empty if there was none.
        free: Free space in bytes; None if it is not known, as for an object store.
    """

    not_read: str
    written: str
    not_written: str
    free: int | None


def check_storage(folder: Folder, nodes: Sequence[Node]) -> list[Check]:
    """Check the storage from this machine and from each of `nodes`. Empty `nodes` check this machine alone."""
    mark = _name()
    try:
        folder.write(mark, mark.encode())
    except OSError as error:
        return failed("storage", f"{folder} cannot be written from here: {one_line(error)}", SHARE)
    try:
        found = [
            each for node, answer in ask_each(nodes, exchange, folder, mark) for each in _judged(folder, node, answer)
        ]
        here = _room(str(folder), _free(folder))
    finally:
        folder.delete(mark)
    who = nodes_text(len(nodes)) if nodes else "this machine"
    return [
        *problems_or_ok(found, "storage", f"{folder}: {who} can write there, and read what others wrote"),
        *here,
        *_writers(folder),
        *_file_system(folder),
    ]


def exchange(folder: Folder, mark: str) -> Exchange:
    """Read the driver's file `mark`, and write a file for the driver to read. This runs on a node."""
    not_read, written, not_written = "", _name(), ""
    try:
        if folder.read(mark) != mark.encode():
            not_read = "another content"
    except OSError as error:
        not_read = one_line(error)
    try:
        folder.write(written, written.encode())
    except OSError as error:
        not_written = one_line(error)
    return Exchange(not_read, written, not_written, None if not_written else _free(folder))


def _free(folder: Folder) -> int | None:
    return shutil.disk_usage(folder.path).free if folder.is_local else None


def _judged(folder: Folder, node: Node, answer: Exchange | NoAnswer) -> list[Check]:
    if isinstance(answer, NoAnswer):
        return failed("storage", f"{node}: {answer.reason}", SILENT)
    not_seen = "" if answer.not_written else _take(folder, answer.written)
    if not_seen:  # Only that node sees its file, so it must delete the file itself.
        ask_each([node], _take, folder, answer.written)
    if answer.not_read:
        return failed("storage", f"{node} does not see what is in {folder} here: {answer.not_read}", SHARE)
    if answer.not_written:
        return failed("storage", f"{node} cannot write to {folder}: {answer.not_written}", SHARE)
    if not_seen:
        return failed("storage", f"what {node} writes to {folder} is not seen here: {not_seen}", SHARE)
    return _room(f"{node}: {folder}", answer.free)


def _take(folder: Folder, name: str) -> str:
    """Read a file of `exchange`, and delete it. Return what is wrong with it; empty if nothing is."""
    try:
        content = folder.read(name)
        folder.delete(name)
    except OSError as error:
        return one_line(error)
    return "" if content == name.encode() else "another content"


def _room(where: str, free: int | None) -> list[Check]:
    if free is None or free >= LEAST:
        return []
    return warning("storage", f"{where} has {free / 2**20:.0f} MiB free", "make room: a trial keeps three checkpoints")


def _writers(folder: Folder) -> list[Check]:
    """Warn if other users of this machine may write to the storage."""
    if not folder.is_local or not others_may_write(Path(folder.path)):
        return []
    return warning(
        "storage",
        f"other users may write to {folder}, and so change what sweeps read from it",
        "chmod go-w it, unless you share it on purpose with people that you trust",
    )


def _file_system(folder: Folder) -> list[Check]:
    """Warn of a network file system, on which the locks of SQLite's databases are not reliable."""
    kind = network_file_system(folder)
    if not kind:
        return []
    return warning(
        "storage",
        f"{folder} is on {kind}: SQLite's databases, of the search and of MLflow, lie there unless servers are named",
        "run one driver a sweep, or give --study-storage and --tracking-uri",
    )


def network_file_system(folder: Folder) -> str:
    """Return the type of the network file system that holds a local folder; empty for any other folder."""
    if not folder.is_local:
        return ""
    mounts = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    path = Path(folder.path).resolve()
    kind = next((mounts[str(each)] for each in (path, *path.parents) if str(each) in mounts), "")
    return kind if kind.startswith(NETWORK_FILE_SYSTEMS) else ""


def _name() -> str:
    return f".doctor-{uuid.uuid4().hex}"
