"""The last that MLflow is told of a sweep: its best, and what the confirmation of its leaders says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from sweeps.engine.results.confirmation import confirmed_line, confirmed_metrics
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results
from sweeps.engine.tracking.note import best_key
from sweeps.engine.tracking.tracker import Tracker


def record_end(
    tracker: Tracker, results: Results, done: bool, last: Callable[[], object] = lambda: None
) -> Literal["complete", "partial"]:
    """Bring over what there is, and end the sweep's run: FINISHED, or KILLED if it was stopped before its end.

    last: what is to be done when all trials have been brought over. Returns and takes as long as `Tracker.stop`.
    """
    best, summary = results.best_so_far, dict[str, str | float]()
    if best is not None:
        summary = {
            best_key(results.plan.objective): best.value,
            "best.trial": best.label,
            "best.checkpoint": str(checkpoint_of(results.folder, best)),
        }
    metrics, line = confirmed_metrics(results.confirmation), confirmed_line(results.confirmation)
    return tracker.stop("FINISHED" if done else "KILLED", summary, metrics, confirmed=line, last=last)
