"""Names of scores. This module imports no torch."""

from __future__ import annotations


def error_name(name: str) -> str:
    """Return the name of a score's standard error: `error/fid` for `eval/fid`."""
    return f"error/{name.removeprefix('eval/')}"
