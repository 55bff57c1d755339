"""Names of scores, and the bound on copies. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wgan_core.errors import listed

COPIED_NAME = "eval/copied"
# A trial with a larger share copies its training data. Of real samples that were not trained on, about .005 copy.
MOST_COPIED = 0.05
# A distance within a class needs at least two samples on both sides, so that each side has a spread.
LEAST = 2


def error_name(name: str) -> str:
    """Return the name of a score's standard error: `error/fid` for `eval/fid`."""
    return f"error/{name.removeprefix('eval/')}"


def copies(scores: Mapping[str, float]) -> bool:
    """Return whether samples with these scores, by full or by short name, copy the training data."""
    return scores.get(COPIED_NAME, scores.get("copied", 0.0)) > MOST_COPIED


def unscored_text(left_out: Sequence[int], classes: int) -> str:
    """Return the sentence that names the classes that are left out of a mean over classes."""
    named, verb = listed(map(str, left_out)), "is" if len(left_out) == 1 else "are"
    return (
        f"{len(left_out):,} of {classes:,} classes {verb} left out, with fewer than {LEAST} held-out or generated "
        f"samples: {named}"
    )
