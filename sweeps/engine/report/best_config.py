"""The configuration to train the winner again, as JSON."""

from __future__ import annotations

from typing import Any

from sweeps.engine.results.finite import finite
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import Row


def best_config(results: Results, row: Row, versions: dict[str, str]) -> dict[str, Any]:
    """Return the configuration of a trial of a sweep.

    `Hyper(**...)` takes the entry `hyper`, and `Structure.from_json` takes the entry `structure`. NaN becomes None.

    Args:
        results: The sweep's results.
        row: The trial.
        versions: Versions of the software that trained it.
    """
    plan = results.plan_of(row)
    described: dict[str, Any] = {
        "sweep": plan.name,
        "sweep_id": plan.id,
        "trial": row.label,
        "hyper": plan.space.hyper(row.params).as_json(),
        "params": dict(row.params),
        "structure": results.structure_of(row).as_json(),
        "seed": plan.trial_seed(row.number),
        "sweep_seed": plan.seed,
        "budget": plan.budget,
        "objective": plan.objective,
        "score": row.value,
        "error": row.error,
        "floor": plan.floor,
        "floor_error": plan.floor_error,
        "best_step": row.best_step,
        "data": plan.data,
        "data_digest": plan.data_digest,
        "networks_digest": plan.networks_digest,
        "protocol": dict(plan.protocol),
        "checkpoint": str(checkpoint_of(results.folder, row)),
        "versions": versions,
        **results.confirmed_as_json(row),
    }
    return dict(finite(described))
