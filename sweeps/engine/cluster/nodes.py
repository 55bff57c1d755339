"""Nodes of a cluster: their resources, and whether their packages and code are the driver's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.engine.cluster.notice import draining_nodes
from wgan_core.errors import UserError, one_line

Answer = TypeVar("Answer")

WITHIN_S = 60.0
"""Longest time for a node to start a process and answer, in seconds."""

# Packages that compute a trial's numbers, or read and write them.
PACKAGES = (
    "wgan-sweeps",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "POT",
    "pyarrow",
    "safetensors",
    "pillow",
    "ray",
)
# For these packages, the files are compared too: two wheels of the same version may differ.
OWN = ("wgan_core", "sweeps")
NONE = "none"
AGAIN = "`make wheel`, then `ray up -y` again, which installs it on every node"


@dataclass(frozen=True)
class Node:
    """A node that is alive: its Ray id, host name, address and resources."""

    id: str
    host: str
    address: str
    resources: dict[str, float] = field(hash=False)

    @property
    def is_head(self) -> bool:
        return "node:__internal_head__" in self.resources

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


@dataclass(frozen=True)
class NoAnswer:
    """The reason why a node did not answer."""

    reason: str


def alive() -> list[Node]:
    """Return the live nodes of the cluster that this process has joined, sorted by host name."""
    nodes = [
        Node(each["NodeID"], each["NodeManagerHostname"], each["NodeManagerAddress"], each["Resources"])
        for each in cast("list[dict[str, Any]]", ray.nodes())
        if each["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.host, node.address))


def working() -> list[Node]:
    """Return the live nodes that accept work, which are those that are not draining."""
    leaving = draining_nodes()
    return [node for node in alive() if node.id not in leaving]


def ask_each(
    nodes: Sequence[Node], question: Callable[..., Answer], *arguments: Any, within_s: float = WITHIN_S
) -> list[tuple[Node, Answer | NoAnswer]]:
    """Run a function on each node, and return the nodes with its results.

    The task requests no CPU, so a fully occupied node answers too. A node gives `NoAnswer` if it is dead, too slow, or
    if the function raises an error.

    Args:
        question: The function, called with `arguments`.
        within_s: Longest wait for all nodes together, in seconds.
    """
    if not nodes:  # Calling Ray here would start a cluster.
        return []
    task: Any = ray.remote(num_cpus=0, max_retries=0)(question)
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(*arguments)
        for node in nodes
    ]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=within_s)
    return [
        (node, _answer(each, within_s) if each in answered else _given_up(each, within_s))
        for node, each in zip(nodes, asked, strict=True)
    ]


def _answer(reference: Any, within_s: float) -> Any:
    try:
        return ray.get(reference, timeout=within_s)
    except ray.exceptions.RayError as error:
        return NoAnswer(one_line(error))


def _given_up(reference: Any, within_s: float) -> NoAnswer:
    ray.cancel(reference, force=True)
    return NoAnswer(f"no answer within {within_s:.0f} s")


class NodeMismatch(UserError):
    """A node has other versions or other code than the driver's."""


def check_here(drivers: dict[str, str]) -> None:
    """Raise `NodeMismatch` if this node, which may have joined later, differs from the driver's `inventory`."""
    unlike = differences(inventory(), drivers)
    if unlike:
        host = socket.gethostname()
        raise NodeMismatch(f"every node must have what the driver's has; {host} has {', '.join(unlike)}: {AGAIN}")


@cache
def inventory() -> dict[str, str]:
    """Return this process's package versions and code hashes by name. A missing package has the value "none"."""
    return _inventory()(PACKAGES, OWN)


def ask_inventory(nodes: Sequence[Node]) -> list[tuple[Node, dict[str, str] | NoAnswer]]:
    """Return the `inventory` of each node, or why it did not answer."""
    return ask_each(nodes, _inventory(), PACKAGES, OWN)


def differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    """Return a message for each version or hash of a node that differs from this one's."""
    return [
        f"no {what} (here {ours})" if there.get(what, NONE) == NONE else f"{what} {there[what]} (here {ours})"
        for what, ours in here.items()
        if there.get(what, NONE) != ours
    ]


def _inventory() -> Callable[[tuple[str, ...], tuple[str, ...]], dict[str, str]]:
    """Return the function that takes the inventory. It is nested, so pickled by value: a node may lack this module."""

    def look(packages: tuple[str, ...], own: tuple[str, ...]) -> dict[str, str]:
        import hashlib
        import platform
        from importlib import metadata, util
        from pathlib import Path

        # Ray itself compares x.y.z, unless it was told to accept the same x.y. Pickled functions need the same x.y.
        found = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for name in packages:
            try:
                # Drop the local part (+cu130, +cpu): builds of torch for CUDA and for CPUs may be mixed.
                found[name] = metadata.version(name).partition("+")[0]
            except metadata.PackageNotFoundError:
                found[name] = "none"
        for name in own:
            package = util.find_spec(name)
            folders = [] if package is None else list(package.submodule_search_locations or ())
            digest = hashlib.sha256()
            for folder in map(Path, folders[:1]):
                for file in sorted(folder.rglob("*")):
                    if file.suffix in (".py", ".safetensors"):
                        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
                        digest.update(hashlib.sha256(file.read_bytes()).digest())
            found[f"{name} code"] = digest.hexdigest()[:12] if folders else "none"
        return found

    return look
