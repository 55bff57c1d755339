"""Final upload of a sweep to MLflow: its best trial and the result of its confirmation."""

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
    """Upload the remaining records to MLflow and end the sweep's MLflow run.

    Args:
        tracker: Uploader of the sweep's records.
        results: Results of the sweep, with its confirmation if it has one.
        done: True ends the run as FINISHED. False ends it as KILLED, because the sweep was stopped early.
        last: Callback after the upload of all trials and before the end of the run.

    Returns:
        "complete", or "partial" if MLflow did not take everything within the timeout of `Tracker.stop`.
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
