"""Names of scores, and the bound on copies. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

COPIED_NAME = "eval/copied"
# A trial with a larger share copies its training data. Of real samples that were not trained on, about .005 copy.
MOST_COPIED = 0.05


def error_name(name: str) -> str:
    """Return the name of a score's standard error: `error/fid` for `eval/fid`."""
    return f"error/{name.removeprefix('eval/')}"


def copies(scores: Mapping[str, float]) -> bool:
    """Return whether samples with these scores, by full or by short name, copy the training data."""
    return scores.get(COPIED_NAME, scores.get("copied", 0.0)) > MOST_COPIED
