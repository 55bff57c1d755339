"""Results of checks. `sweeps doctor` shows them all, and a sweep does not start if one that it needs has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wgan_core.errors import UserError

SHOWN = 3
SILENT = "see `ray status`; mend the node, or stop Ray on it"
"""Remedy if a node does not answer."""

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


def refused(what: str, error: UserError) -> list[Check]:
    """Return a failed check with the parts of an error message: what was found, and the remedy after the last colon."""
    found, _, remedy = str(error).rpartition(": ")
    return failed(what, found, remedy)


def require(rule: str, checks: Sequence[Check]) -> None:
    """Raise `UserError` with a rule that must hold if checks of it have failed. Warnings do not count."""
    worse = [check for check in checks if check.state == "failed"]
    if worse:
        found = [check.found for check in worse[:SHOWN]]
        more = [f"and {len(worse) - SHOWN} more nodes"] if len(worse) > SHOWN else []
        remedies = dict.fromkeys(check.remedy for check in worse)
        raise UserError(f"{rule}; {'; '.join([*found, *more])}: {'; '.join(remedies)}")


def problems_or_ok(worse: Sequence[Check], what: str, found: str) -> list[Check]:
    """Return the problems. If there are none, return one check with the state "ok"."""
    return list(worse) or ok(what, found)


def nodes_text(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"all {nodes} nodes"
