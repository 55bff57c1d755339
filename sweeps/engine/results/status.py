"""What each trial of a sweep does, and who runs the sweep: read from its storage alone."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from sweeps.engine.plan.plan import Plan
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
    """One trial. Times are seconds since 1970, UTC.

    state: as Optuna names it. does: "waiting" is a trial that was begun or asked for and that nobody trains now.
    score: of its last report, after `critic_updates`; None before the first, and where it is not finite.
    last_sign: when it last wrote a record: its start, a report or its end.
    """

    label: str
    state: str
    does: Does
    critic_updates: int
    score: float | None
    best: float | None
    last_sign: float | None
    reason: str


@dataclass(frozen=True)
class Status:
    """A sweep as it stands at the time `now`; `trials` are those asked for so far, of `asked` in all.

    Those that confirm its leaders are among them.
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
        """How many trials do this."""
        return sum(trial.does == does for trial in self.trials)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(results: Results) -> Status:
    """How a sweep stands. Raises `UserError` if what its trials wrote cannot be read."""
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
        best=_finite(row.value),
        last_sign=last_sign,
        reason=row.reason,
    )


def _does(row: Row, driver: Driver | None, has_begun: bool) -> Does:
    if row.state not in ("RUNNING", "WAITING"):
        return "ended"
    held = driver is not None and driver.may_live and row.session == driver.session
    # A trial that was handed out and has written nothing waits for a node to come.
    return "training" if held and has_begun else "waiting"


def _last(spool: Spool, objective: str) -> tuple[float | None, float | None]:
    """Time of the last record, and the score of the last report."""
    last_sign, score = None, None
    for name in reversed(spool.segments()):
        match spool.read(name):
            case ReportRecord() as step:
                return last_sign or step.timestamp_ms / 1000, _finite(step.metrics.get(objective, math.nan))
            case EndRecord(ended_ms=ended):
                last_sign = ended / 1000
            case StartRecord(started_ms=started):
                last_sign = last_sign or started / 1000
    return last_sign, score


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ago(seconds: float) -> str:
    """So long ago, in words."""
    whole = max(0, round(seconds))  # another machine's clock may be ahead
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * length:
            return f"{whole // length} {unit} ago"
    return f"{whole} s ago"
