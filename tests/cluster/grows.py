"""The file of a cluster whose nodes Ray's own autoscaler starts and ends, all on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
