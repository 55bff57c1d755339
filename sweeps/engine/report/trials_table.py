"""A sweep's trials as a Parquet table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.engine.charts.facts import Facts
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.finite import finite
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results
from sweeps.engine.storage.history import GENERATOR_UPDATES, History, read_histories
from sweeps.engine.study.rows import Row
from wgan_core.config import PARAMETERS

_TIME = pa.timestamp("ms", tz="UTC")
_FIRST = (("trial", pa.string()), ("state", pa.string()), ("confirms", pa.string()))
_RESULTS = (
    *(("best_score", pa.float64()), ("best_error", pa.float64()), ("best_step", pa.int64())),
    *(("floor", pa.float64()), ("floor_error", pa.float64()), ("last_step", pa.int64())),
    *(("generator_updates", pa.int64()), ("seconds", pa.float64()), ("reason", pa.string())),
    *(("checkpoint", pa.string()), ("machine", pa.string()), ("started", _TIME), ("last_sign", _TIME)),
)


def trials_parquet(results: Results, facts: Facts) -> bytes:
    """Return the content of a Parquet file with `trials_table`."""
    sink = pa.BufferOutputStream()
    pq.write_table(trials_table(results, facts), sink)
    return sink.getvalue().to_pybytes()


def trials_table(results: Results, facts: Facts) -> pa.Table:
    """Return a table with one row per trial, by number. Trials that confirm leaders come last; null means no value.

    The columns, in order:

    - the trial, its state, and the trial that it confirms;
    - the hyper-parameters, both searched and derived ones such as lr_critic;
    - the results;
    - `last/<metric>`: each metric at the last report;
    - `best/<metric>`: each metric at the best report;
    - `test/<metric>`: scores of the best checkpoint on the test split.
    """
    again = () if results.confirmation is None else results.confirmation.rows
    histories = [*(facts.histories[row.number] for row in facts.rows), *read_histories(results.folder, again).values()]
    metrics = sorted({name for history in histories for step in history.steps for name in step.metrics})
    named = [f"{when}/{name}" for when in ("last", "best") for name in metrics]
    tested = sorted({name for row in again for name in row.test})
    fields = [*_FIRST, *_hyper_fields(facts.plan), *_RESULTS, *((name, pa.float64()) for name in (*named, *tested))]
    rows = [_row(results, facts, row, of) for row, of in zip((*facts.rows, *again), histories, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def _hyper_fields(plan: Plan) -> list[tuple[str, pa.DataType]]:
    derived = {name: pa.int64() if about.whole else pa.float64() for name, about in PARAMETERS.items()}
    searched = {
        name: pa.string() if bounds.is_of_texts else pa.int64() if bounds.whole else pa.float64()
        for name, bounds in plan.space.ranges.items()
    }
    return list({**searched, **derived}.items())


def _row(results: Results, facts: Facts, row: Row, history: History) -> dict[str, Any]:
    known = math.isfinite(row.value)
    hyper = facts.plan.space.hyper(row.params).as_json() if facts.is_whole(row) else {}
    generator_updates = history.last.get(GENERATOR_UPDATES, math.nan)
    span = history.span_ms
    best = history.at(row.best_step) if known else {}
    return {
        "trial": row.label,
        "state": row.state,
        "confirms": next((str(number) for number in results.plan_of(row).confirms[row.number : row.number + 1]), None),
        **row.params,
        **hyper,
        "best_score": row.value if known else None,
        "best_step": row.best_step if known else None,
        "best_error": finite(row.error),
        "floor": facts.plan.floor,
        "floor_error": finite(facts.plan.floor_error),
        "last_step": row.step,
        "generator_updates": int(generator_updates) if abs(generator_updates) < 2**63 else None,
        "seconds": row.seconds,
        "reason": row.reason,
        "checkpoint": str(checkpoint_of(results.folder, row)) if known else None,
        "machine": history.machine or None,
        "started": span and span[0],
        "last_sign": span and span[1],
        **_named("last", history.last),
        **_named("best", best),
        **row.test,
    }


def _named(when: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{when}/{name}": value for name, value in metrics.items()}
