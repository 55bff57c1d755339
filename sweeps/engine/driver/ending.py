"""Final upload of a sweep to MLflow: its best trial and the result of its confirmation."""

from __future__ import annotations

from collections.abc import Callable

from sweeps.engine.results.confirmation import confirmed_line, confirmed_metrics
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results
from sweeps.engine.tracking import Recorder, Summary, Sync, best_key


def record_end(recorder: Recorder, results: Results, done: bool, last: Callable[[], object] = lambda: None) -> Sync:
    """Bring the remaining records and the results into the sweep's record, and end it.

    Args:
        recorder: Recorder of the sweep.
        results: Results of the sweep, with its confirmation if it has one.
        done: True ends the record as FINISHED. False ends it as KILLED, because the sweep was stopped early.
        last: Callback after the records of all trials and before the end.

    Returns:
        "complete", or "partial" if not everything was taken within the timeout of `Recorder.stop`.
    """
    best, values = results.best_so_far, dict[str, str | float]()
    if best is not None:
        values = {
            best_key(results.plan.objective): best.value,
            "best.trial": best.label,
            "best.checkpoint": str(checkpoint_of(results.folder, best)),
        }
    summary = Summary(values, confirmed_metrics(results.confirmation), confirmed_line(results.confirmation))
    return recorder.stop("FINISHED" if done else "KILLED", summary, last=last)
