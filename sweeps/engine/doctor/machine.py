"""Checks of each machine: GPUs, disk space for Ray's files, shared memory, limit of open files, and clock."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeps.engine.cluster.nodes import NoAnswer, Node, ask_each
from sweeps.engine.cluster.note import temp_folder
from sweeps.engine.cluster.use import nvidia_smi
from sweeps.engine.doctor.check import SILENT, Check, failed, nodes_text, ok, problems_or_ok, warning
from sweeps.engine.doctor.sharing import open_session, open_tokens

# Ray warns if a process may open fewer files than this. It stops work on a node whose disk is fuller than DISK_FULL.
FILES_LEAST, DISK_FULL, DISK_NEARLY_FULL = 8192, 0.95, 0.90
# A driver's lease of a sweep expires after 60 s, as measured by another machine's clock.
SKEW_WARNING_S, SKEW_FAILED_S = 1.0, 30.0
ROUNDS = 3
DRIVER_S = 20.0  # `nvidia-smi` is slow if no process keeps the driver loaded.
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Machine:
    """The state of a machine. Sizes are in bytes.

    Attributes:
        auth_mode: The value of RAY_AUTH_MODE with which Ray was started.
        torch: Version of torch.
        gpus: Name and memory of each GPU that torch sees.
        driver: Version of the GPU driver; empty if it is not known.
        folder: The folder in which Ray keeps its files.
        free, size: Free and total space on the disk of `folder`.
        shared_memory: Size of /dev/shm; 0 if there is none.
        files: How many files a process may open; -1 for no limit.
        open_tokens: Files with Ray's token that other users of the machine may read.
        open_session: The folder of Ray's session if other users may write there; else empty.
    """

    auth_mode: str
    torch: str
    gpus: list[str]
    driver: str
    folder: str
    free: int
    size: int
    shared_memory: int
    files: int
    open_tokens: list[str]
    open_session: str


@dataclass(frozen=True)
class ObservedMachine:
    """A machine of the cluster, and the resources that Ray declares for it.

    Attributes:
        declared_gpus: Number of GPUs.
        object_store: Memory for Ray's objects, in bytes.
    """

    name: str
    machine: Machine
    declared_gpus: float = 0.0
    object_store: float = 0.0


def look() -> Machine:
    """Return the state of this machine, as a worker process sees it."""
    # Ray creates its own folder, with its sessions, in this folder.
    folder = temp_folder()
    disk = shutil.disk_usage(folder)
    return Machine(
        auth_mode=os.environ.get("RAY_AUTH_MODE", ""),
        torch=torch.__version__,
        gpus=[_gpu(index) for index in range(torch.cuda.device_count())],
        driver=next((cells[0] for cells in nvidia_smi("driver_version", DRIVER_S)), ""),
        folder=str(folder),
        free=disk.free,
        size=disk.total,
        shared_memory=shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.exists() else 0,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        open_tokens=open_tokens(),
        open_session=open_session(),
    )


def clock() -> float:
    """Return the time by this machine's clock, in seconds since 1970."""
    return time.time()


def machines_of(nodes: Sequence[Node]) -> tuple[list[ObservedMachine], list[Check]]:
    """Return the state of each machine of a cluster, and a failed check for each node that does not answer."""
    machines, silent = [], []
    for node, answer in ask_each(nodes, look):
        if isinstance(answer, NoAnswer):
            silent += failed("nodes", f"{node}: {answer.reason}", SILENT)
        else:
            declared = node.resources.get("GPU", 0.0)
            store = node.resources.get("object_store_memory", 0.0)
            machines.append(ObservedMachine(str(node), answer, declared, store))
    return machines, silent


def check_machines(machines: Sequence[ObservedMachine]) -> list[Check]:
    """Check GPUs, disk space, shared memory and the limit of open files."""
    return [
        *_gpus(machines),
        *problems_or_ok([each for one in machines for each in _disk(one)], "disk", _least_room(machines)),
        *problems_or_ok([each for one in machines for each in _shared_memory(one)], "shm", _least_shared(machines)),
        *problems_or_ok([each for one in machines for each in _files(one)], "files", _least_files(machines)),
    ]


def check_clocks(nodes: Sequence[Node]) -> list[Check]:
    """Check how far each node's clock is from this machine's clock."""
    nearest: dict[Node, tuple[float, float]] = {}
    for node in nodes:
        for _ in range(ROUNDS):
            began = time.time()
            ((_, there),) = ask_each([node], clock)
            ended = time.time()
            if isinstance(there, NoAnswer):
                break
            # The node read its clock at some time between `began` and `ended`, so the skew may be off by half of that.
            half = (ended - began) / 2
            nearest[node] = min((half, there - (began + ended) / 2), nearest.get(node, (half + 1, 0.0)))
    return skews({str(node): (skew, half) for node, (half, skew) in nearest.items()})


def skews(clocks: dict[str, tuple[float, float]]) -> list[Check]:
    """Judge the measured skews of clocks.

    Args:
        clocks: For each node's name, how far its clock is ahead of this one's, and the largest error of that; in
            seconds.
    """
    worse, most = [], 0.0
    for name, (skew, wrong) in clocks.items():
        certain, most = abs(skew) - wrong, max(most, abs(skew) + wrong)
        found = f"{name} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this one"
        remedy = "let one time server set all clocks; a sweep is lost to another driver by a clock 60 s off"
        if certain > SKEW_FAILED_S:
            worse += failed("clock", found, remedy)
        elif certain > SKEW_WARNING_S:
            worse += warning("clock", found, remedy)
    return problems_or_ok(worse, "clock", f"{nodes_text(len(clocks))} within {most:.2g} s of this one")


def _gpu(index: int) -> str:
    found = torch.cuda.get_device_properties(index)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def _gpus(machines: Sequence[ObservedMachine]) -> list[Check]:
    found = []
    for each in machines:
        one = each.machine
        driver = f"driver {one.driver}" if one.driver else "no driver found"
        if each.declared_gpus > len(one.gpus):
            found += failed(
                "gpus",
                f"{each.name}: Ray declares {each.declared_gpus:g}, torch {one.torch} sees {len(one.gpus)} ({driver})",
                "install the driver, and torch's build for CUDA; or start Ray with --num-gpus as many as there are",
            )
        elif each.object_store and each.declared_gpus < len(one.gpus):
            found += warning(
                "gpus",
                f"{each.name}: Ray declares {each.declared_gpus:g} of {len(one.gpus)}: {'; '.join(one.gpus)}",
                "the others stay idle: start Ray there without --num-gpus",
            )
        elif one.gpus:
            found += ok("gpus", f"{each.name}: {'; '.join(one.gpus)} ({driver})")
    return problems_or_ok(found, "gpus", "none, and none declared: trials train on CPUs")


def _disk(each: ObservedMachine) -> list[Check]:
    one, used = each.machine, 1 - each.machine.free / each.machine.size
    found = f"{each.name}: {one.folder}, where Ray keeps its files, is {used:.0%} full"
    remedy = f"make room, or set RAY_TMPDIR to another folder before Ray starts; Ray stops at {DISK_FULL:.0%}"
    if used >= DISK_FULL:
        return failed("disk", found, remedy)
    return warning("disk", found, remedy) if used >= DISK_NEARLY_FULL else []


def _least_room(machines: Sequence[ObservedMachine]) -> str:
    least = min(machines, key=lambda each: each.machine.free)
    return f"{_gib(least.machine.free)} free for Ray's files in {least.machine.folder} ({least.name})"


def _shared_memory(each: ObservedMachine) -> list[Check]:
    size = each.machine.shared_memory
    if not size or size >= each.object_store:
        return []
    return warning(
        "shm",
        f"{each.name}: /dev/shm has {_gib(size)}, Ray wants {_gib(each.object_store)} for objects",
        "a container needs a larger --shm-size; else Ray uses the disk, which is slow",
    )


def _least_shared(machines: Sequence[ObservedMachine]) -> str:
    least = min(machines, key=lambda each: each.machine.shared_memory)
    return f"/dev/shm has {_gib(least.machine.shared_memory)} ({least.name})"


def _files(each: ObservedMachine) -> list[Check]:
    if not 0 <= each.machine.files < FILES_LEAST:  # -1: no limit
        return []
    found = f"{each.name}: a process may open {each.machine.files} files"
    return warning("files", found, "`ulimit -n 65536` before `ray start`")


def _least_files(machines: Sequence[ObservedMachine]) -> str:
    limits = [each.machine.files for each in machines if each.machine.files >= 0]
    return f"a process may open {min(limits)} files" if limits else "a process may open any number of files"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
