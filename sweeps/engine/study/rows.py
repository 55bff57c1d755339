"""Read-only summary of each trial of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from sweeps.engine.plan.metric_values import check_count, checked_metrics
from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.attributes import BESIDE, HOLDER, REASON, SECONDS, SHOWN, TEST, copied
from sweeps.engine.study.storage import read_trials
from wgan_core.errors import MOST, UserError, one_line, quoted, shortened

ENDED = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(frozen=True)
class Row:
    """Current state of one trial.

    Attributes:
        label: Name of the trial in its plan, such as "7" or "7a".
        value: Best value of the objective; NaN before the first report.
        best_step: Critic updates at the best value; 0 before the first report.
        step: Critic updates at the last report.
        seconds: Training time in seconds.
        session: Session of the driver that last handed the trial out; empty if it was given back.
        beside: Scores that are shown beside the best value, by short name: `error`, its standard error, `precision`,
            `recall`, `coverage`, `spread` and `copied`, as far as they are measured.
        test: Scores of the best checkpoint on the test split by metric, for a completed confirming trial.
    """

    number: int
    label: str
    state: str
    params: dict[str, float | str]
    value: float
    best_step: int
    step: int
    seconds: float
    reason: str
    session: str = ""
    test: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def copies(self) -> bool:
        """Return whether the trial failed because it copies its training data. Its scores then count for nothing."""
        return copied(self.state, self.reason)

    @property
    def error(self) -> float:
        """Return the standard error of the best value, due to the choice of generated samples; NaN if not known."""
        return self.beside.get("error", math.nan)


def score_text(value: float | None, error: float | None) -> str:
    """Format a score, with its standard error if that is known: "10.26 ± 0.12". No score is a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if error is None or math.isnan(error) else f"{value:.4g} ± {error:.2g}"


def read_rows(plan: Plan, storage_url: str) -> list[Row]:
    """Read the rows of all trials of a plan from storage. Raises `UserError` if the study cannot be read."""
    trials = read_trials(plan.study_name, storage_url, plan.trials)[: plan.trials]
    try:
        if any(trial.number < 0 for trial in trials):
            raise ValueError("a trial's number is below 0")
        rows = [row(trial, plan) for trial in trials]
        check_count({name for each in rows for name in each.test})
        return rows
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise UserError(
            f"a study must hold what a sweep writes; that of {plan.name!r} does not: {one_line(error)}: check "
            "--study-storage"
        ) from error


def row(frozen: FrozenTrial, plan: Plan) -> Row:
    step, value = best(frozen)
    ranges = plan.space.ranges
    for name, each in frozen.params.items():
        if not (isinstance(each, str) and name in ranges and ranges[name].holds(each)):
            _number(each)
    searched = ranges.keys()
    # A trial that has just been claimed may have some of its parameters only.
    if frozen.params.keys() - searched or (frozen.intermediate_values and frozen.params.keys() != searched):
        raise ValueError(f"trial {frozen.number} has other hyper-parameters than the sweep's space")
    return Row(
        number=frozen.number,
        label=plan.label(frozen.number),
        state=frozen.state.name,
        params=dict(frozen.params),
        value=value,
        best_step=step,
        step=frozen.last_step or 0,
        seconds=_number(frozen.user_attrs.get(SECONDS, 0.0)),
        reason=shortened(str(frozen.user_attrs.get(REASON, "")), MOST),
        session=str(frozen.user_attrs.get(HOLDER, "")).partition("/")[0],
        test=checked_metrics(dict(frozen.user_attrs.get(TEST, {}))),
        beside=_beside(frozen, step),
    )


def _beside(frozen: FrozenTrial, best_step: int) -> Mapping[str, float]:
    """Return the scores beside the best value. A trial that was killed during a report may have those of another."""
    found = checked_metrics(dict(frozen.user_attrs.get(BESIDE, {})))
    return {name: found[name] for name in SHOWN if name in found} if found.get("step") == best_step else {}


def _number(value: object) -> float:
    """Return a number from the study. Raises `TypeError` for anything else, as other programs may have written it."""
    if not isinstance(value, int | float):
        raise TypeError(f"a trial's numbers must be numbers; given {quoted(str(value))}")
    return float(value)


def best(frozen: FrozenTrial) -> tuple[int, float]:
    """Return step and value of the best report so far; (0, NaN) before the first report."""
    reports = frozen.intermediate_values.items()
    return min(reports, key=lambda item: (math.isnan(item[1]), item[1], item[0]), default=(0, math.nan))


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by value, best first; trials that copy training data come late, and trials without a value last."""
    return sorted(rows, key=lambda each: (math.isnan(each.value), each.copies, each.value, each.number))


def scored_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with a finite value that counts, best first."""
    return [row for row in sort_rows(rows) if math.isfinite(row.value) and not row.copies]


def best_row(rows: Sequence[Row]) -> Row | None:
    """Return the row with the lowest finite value; None before the first score."""
    return next(iter(scored_rows(rows)), None)
