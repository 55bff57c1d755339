"""History of each trial, read from its spool; each file is read once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.plan.metric_values import check_count
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.spool import EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.study.rows import Row
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line

GENERATOR_UPDATES, SECONDS = "train/generator_updates", "train/seconds"


@dataclass(frozen=True)
class History:
    """One trial's records. `segments` holds their file names; `steps` holds the reports by ascending critic updates."""

    number: int
    label: str
    segments: tuple[str, ...] = ()
    start: StartRecord | None = None
    steps: tuple[ReportRecord, ...] = ()
    end: EndRecord | None = None

    def curve(self, metric: str) -> dict[int, float]:
        """Return the finite values of a metric by critic updates."""
        values = {step.critic_updates: step.metrics.get(metric, math.nan) for step in self.steps}
        return {step: value for step, value in values.items() if math.isfinite(value)}

    def at(self, critic_updates: int) -> Mapping[str, float]:
        """Return all metrics of the report at this number of critic updates; empty if there is no such report."""
        return next((step.metrics for step in self.steps if step.critic_updates == critic_updates), {})

    @property
    def last(self) -> Mapping[str, float]:
        """Return the metrics of the last report; empty before the first."""
        return self.steps[-1].metrics if self.steps else {}

    @property
    def machine(self) -> str:
        """Return the CPU or GPU that the trial began on; empty if that was not recorded."""
        return self.start.machine if self.start is not None else ""

    @property
    def span_ms(self) -> tuple[int, int] | None:
        """Return the times of the first and the last record, in milliseconds since 1970; None without records."""
        times = [step.timestamp_ms for step in self.steps]
        if self.start is not None:
            times.append(self.start.started_ms)
        if self.end is not None:
            times.append(self.end.ended_ms)
        return (min(times), max(times)) if times else None


def read_histories(folder: Folder, rows: Sequence[Row]) -> dict[int, History]:
    """Read the history of each of these trials, by number. Raises `UserError` if a record cannot be read."""
    found: dict[int, History] = {}
    names: set[str] = set()
    try:
        for row in rows:
            found[row.number] = _history(folder, row, names)
        return found
    except (OSError, ValueError) as error:
        raise UserError(
            f"the records of a sweep must be files that can be read; {one_line(error)}: check --storage"
        ) from error


def _history(folder: Folder, row: Row, metrics: set[str]) -> History:
    """Read one trial's records, and add the names of their metrics to those of the trials before it."""
    spool = Spool(trial_folder(folder, row.label))
    names = spool.segments()
    start, steps, end = None, [], None
    for name in names:
        try:
            segment = spool.read(name)
        except FileNotFoundError:  # an end record deleted since the listing, as its trial runs again
            continue
        match segment:
            case StartRecord():
                start = segment
            case ReportRecord():
                steps.append(segment)
                metrics.update(segment.metrics)
                check_count(metrics)
            case EndRecord():
                end = segment
    return History(row.number, row.label, tuple(names), start, tuple(steps), end)
