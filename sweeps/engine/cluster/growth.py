"""What a cluster's autoscaler may add to it: kinds of nodes, as the cluster's file has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wgan_core.errors import UserError, one_line

VARIABLE = "WGAN_NODE_TYPES"
# `ray up` leaves the cluster's file there, on the head.
BOOTSTRAP = "ray_bootstrap_config.yaml"


@dataclass(frozen=True)
class NodeType:
    """Nodes of one kind: the resources of each ("CPU", "GPU" by amount), and how many there may be."""

    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True)
class Growth:
    """The kinds of workers that may come, and how many of all kinds together; None: no more than of each."""

    kinds: tuple[NodeType, ...] = ()
    most: int | None = None


NONE = Growth()


def growth() -> Growth:
    """What may come by `$WGAN_NODE_TYPES`, in YAML, or else by the file that `ray up` left.

    Both are in the form of `available_node_types`. Without kinds on a cluster that does not grow, or that does not say
    what its nodes have.

    Raises `UserError` if the variable is not in that form.
    """
    given = os.environ.get(VARIABLE)
    if given:
        try:
            return Growth(_read(yaml.safe_load(given)))
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{VARIABLE} must be kinds of nodes as in a cluster's file, such as "
                f"{{gpu: {{resources: {{CPU: 4, GPU: 1}}, max_workers: 8}}}}; given {given!r}: {one_line(error)}"
            ) from error
    try:
        found = yaml.safe_load((Path.home() / BOOTSTRAP).read_text(encoding="utf-8"))
        return Growth(_read(found["available_node_types"]), found.get("max_workers"))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return NONE  # not a head that `ray up` made


def _read(kinds: Mapping[str, Any]) -> tuple[NodeType, ...]:
    found = []
    for kind in kinds.values():
        resources = {name: float(amount) for name, amount in (kind.get("resources") or {}).items()}
        count = int(kind.get("max_workers", 0))
        if resources and count > 0:
            found.append(NodeType(resources, count))
    return tuple(found)
