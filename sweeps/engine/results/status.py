"""Status of a sweep, its trials and its driver, read from the sweep's storage alone."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.finite import finite
from sweeps.engine.results.results import Results
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.lease import Driver, driver_of
from sweeps.engine.storage.spool import EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.study.rows import Row
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line

Does: TypeAlias = Literal["training", "waiting", "ended"]


@dataclass(frozen=True)
class TrialStatus:
    """Status of one trial.

    Attributes:
        state: Optuna's name of the trial's state.
        does: "training", "ended", or "waiting" for a trial that exists but that nobody trains now.
        critic_updates: Critic updates at the last report.
        score: Score of the last report; None before the first report or if it is not finite.
        best: Best score; None before the first.
        error: Its standard error; None if not known.
        last_sign: Time of the last record (start, report or end), in seconds since 1970, UTC.
    """

    label: str
    state: str
    does: Does
    critic_updates: int
    score: float | None
    best: float | None
    error: float | None
    last_sign: float | None
    reason: str


@dataclass(frozen=True)
class Status:
    """Status of a sweep, with the trials of its confirmation.

    Attributes:
        asked: Number of planned trials.
        budget: Critic updates of a complete trial.
        now: Time of the status, in seconds since 1970, UTC.
        driver: Driver that holds the sweep, or None.
        trials: Trials that exist so far.
    """

    name: str
    asked: int
    budget: int
    objective: str
    now: float
    driver: Driver | None
    trials: list[TrialStatus]

    @property
    def ended(self) -> int:
        return self.count("ended")

    def count(self, does: Does) -> int:
        """Return the number of trials with this activity."""
        return sum(trial.does == does for trial in self.trials)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(results: Results) -> Status:
    """Read the status of a sweep. Raises `UserError` if the records of its trials cannot be read."""
    folder, plan = results.folder, results.plan
    confirming = 0 if results.confirmation is None else results.confirmation.plan.trials
    try:
        driver = driver_of(folder)
        trials = [_trial(folder, plan, row, driver) for row in results.all_rows]
    except (OSError, ValueError) as error:
        raise UserError(
            f"the records of a sweep must be files that can be read; {one_line(error)}: check --storage"
        ) from error
    return Status(plan.name, plan.trials + confirming, plan.budget, plan.objective, time.time(), driver, trials)


def _trial(folder: Folder, plan: Plan, row: Row, driver: Driver | None) -> TrialStatus:
    last_sign, score = _last(Spool(trial_folder(folder, row.label)), plan.objective)
    return TrialStatus(
        label=row.label,
        state=row.state,
        does=_does(row, driver, has_begun=last_sign is not None),
        critic_updates=row.step,
        score=score,
        best=finite(row.value),
        error=finite(row.error),
        last_sign=last_sign,
        reason=row.reason,
    )


def _does(row: Row, driver: Driver | None, has_begun: bool) -> Does:
    if row.state not in ("RUNNING", "WAITING"):
        return "ended"
    held = driver is not None and driver.may_live and row.session == driver.session
    # A trial that was handed out and has no record yet is waiting for a node.
    return "training" if held and has_begun else "waiting"


def _last(spool: Spool, objective: str) -> tuple[float | None, float | None]:
    """Return the time of the last record and the score of the last report; None for what is missing."""
    last_sign, score = None, None
    for name in reversed(spool.segments()):
        match spool.read(name):
            case ReportRecord() as step:
                return last_sign or step.timestamp_ms / 1000, finite(step.metrics.get(objective, math.nan))
            case EndRecord(ended_ms=ended):
                last_sign = ended / 1000
            case StartRecord(started_ms=started):
                last_sign = last_sign or started / 1000
    return last_sign, score


def ago(seconds: float) -> str:
    """Format a duration as a time in the past, such as "5 min ago"."""
    whole = max(0, round(seconds))  # negative if another machine's clock is ahead
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * length:
            return f"{whole // length} {unit} ago"
    return f"{whole} s ago"
