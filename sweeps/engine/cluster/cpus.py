"""The number of CPUs that this process may use. Ray's count ignores affinity, and limits of groups above its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use: by its affinity (`taskset`), and by its cgroups' limits.

    A limit of less than one CPU counts as one, because Ray gives no CPU below one to a node.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([affine, *_limits(root)])))


def _limits(root: Path) -> Iterator[float]:
    """Yield the limits of this process's cgroups and of the groups above them, in CPUs."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        of_cpu = "cpu" in controllers.split(",")
        if controllers and not of_cpu:
            continue
        # In a container, the mount shows the container's own group as its root, and the path may lie outside.
        if ".." in PurePosixPath(path).parts:
            path = "/"
        for group in dict.fromkeys(each.strip("/") for each in (path, *map(str, PurePosixPath(path).parents))):
            if of_cpu:
                for name in ("cpu", "cpu,cpuacct"):
                    yield from _of_first_version(mount / name / group)
            else:
                yield from _of_second_version(mount / group)


def _of_second_version(folder: Path) -> Iterator[float]:
    quota, *period = _words(folder / "cpu.max") or ["max"]
    if quota.isdecimal() and period and period[0].isdecimal() and int(period[0]):
        yield int(quota) / int(period[0])


def _of_first_version(folder: Path) -> Iterator[float]:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    # A quota of -1 is none.
    if quota and period and quota[0].isdecimal() and period[0].isdecimal() and int(period[0]):
        yield int(quota[0]) / int(period[0])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
