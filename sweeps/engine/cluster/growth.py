"""The nodes that a cluster's autoscaler may add, by type."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wgan_core.errors import UserError, one_line, quoted

VARIABLE = "WGAN_NODE_TYPES"
# `ray up` puts the cluster's file at this path in the home folder of the head.
BOOTSTRAP = "ray_bootstrap_config.yaml"


@dataclass(frozen=True)
class NodeType:
    """A node type: the resources of each node (amounts of "CPU" and "GPU"), and the most nodes of this type."""

    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True)
class Growth:
    """The types of workers that may join, and the most workers of all types together; None for no such limit."""

    kinds: tuple[NodeType, ...] = ()
    most: int | None = None


NONE = Growth()


def growth() -> Growth:
    """Return the nodes that may join, from `$WGAN_NODE_TYPES` (YAML), else from the file that `ray up` left.

    Both have the form of `available_node_types` in a cluster's file. The result is empty if the cluster does not grow,
    or its node types list no resources.

    Raises:
        UserError: The variable does not have that form.
    """
    given = os.environ.get(VARIABLE)
    if given:
        try:
            return Growth(_read(yaml.safe_load(given)))
        except (
            yaml.YAMLError,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            RecursionError,
            OverflowError,
        ) as error:
            raise UserError(
                f"{VARIABLE} must be kinds of nodes as in a cluster's file, such as "
                f"{{gpu: {{resources: {{CPU: 4, GPU: 1}}, max_workers: 8}}}}; given {quoted(given)}, "
                f"which fails with {one_line(error)}: correct it, or unset it"
            ) from error
    try:
        found = yaml.safe_load((Path.home() / BOOTSTRAP).read_text(encoding="utf-8"))
        return Growth(_read(found["available_node_types"]), found.get("max_workers"))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
        return NONE  # This machine is not the head of a cluster that `ray up` started.


def _read(kinds: Mapping[str, Any]) -> tuple[NodeType, ...]:
    found = []
    for kind in kinds.values():
        resources = {name: float(amount) for name, amount in (kind.get("resources") or {}).items()}
        count = int(kind.get("max_workers", 0))
        if resources and count > 0:
            found.append(NodeType(resources, count))
    return tuple(found)
