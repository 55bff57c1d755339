"""One thing that was looked at, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CheckStatus: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """what: in one word. found: what was seen, and where. remedy: what to do; empty if it is ok."""

    what: str
    state: CheckStatus
    found: str
    remedy: str = ""


def ok(what: str, found: str) -> list[Check]:
    return [Check(what, "ok", found)]


def warning(what: str, found: str, remedy: str) -> list[Check]:
    return [Check(what, "warning", found, remedy)]


def failed(what: str, found: str, remedy: str) -> list[Check]:
    return [Check(what, "failed", found, remedy)]


def unless(worse: Sequence[Check], what: str, found: str) -> list[Check]:
    """What was found wrong, node by node; if nothing was, that all is well."""
    return list(worse) or ok(what, found)


def counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"all {nodes} nodes"
