"""Results of the checks of `sweeps doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CheckStatus: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        what: The checked thing, in one word.
        found: What the check found, and where.
        remedy: What the user should do; empty if the state is "ok".
    """

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
    """Return the problems. If there are none, return one check with the state "ok"."""
    return list(worse) or ok(what, found)


def counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"all {nodes} nodes"
