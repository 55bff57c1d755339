"""Ray clusters of several nodes on this machine: each node a process tree of its own, on loopback."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from tests.sweeps.processes import Running, Surroundings, wait_for

RAY = Path(sys.executable).parent / "ray"
STORE_BYTES = 100_000_000


class LocalCluster:
    """A head and the nodes that are added to it; `env` is what a driver needs to join."""

    def __init__(self, surroundings: Surroundings, *options: str, port: int | None = None, **env: str) -> None:
        """options: more of `ray start --head`. env: of the head's processes."""
        self.port = port or free_port()
        self._surroundings = surroundings
        self.env = {"RAY_ADDRESS": f"127.0.0.1:{self.port}"}
        self.head = self._start("--head", "--port", str(self.port), "--include-dashboard", "false", *options, **env)

    def add(self, address: str, *options: str) -> Running:
        """A node of this address in 127.0.0.0/8, with these options of `ray start`; it has joined when this returns."""
        return self._start(f"--address=127.0.0.1:{self.port}", *options, address=address)

    def _start(self, *options: str, address: str = "127.0.0.1", **env: str) -> Running:
        common = ("--block", "--node-ip-address", address, "--object-store-memory", str(STORE_BYTES))
        node = self._surroundings.start(RAY, "start", *common, *options, **env)
        wait_for(lambda: "Ray runtime started" in node.out or node.process.poll() is not None, "the node", 120)
        assert node.process.poll() is None, node.out + node.err
        return node


def free_port() -> int:
    """A port of loopback that nothing listens at now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def autoscaling(folder: Path, port: int, worker: dict[str, Any]) -> Path:
    """The file of a cluster whose head trains nothing, and whose workers, of one type, Ray's autoscaler starts here."""
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config = {
        "cluster_name": "grows",
        "max_workers": worker["max_workers"],
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 0.05,
        "provider": {"type": "fake_multinode", "use_node_id_as_ip": True, "gcs_address": f"127.0.0.1:{port}"},
        "auth": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"node_config": {}, "min_workers": 0, **worker},
        },
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in commands},
    }
    file = folder / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file
