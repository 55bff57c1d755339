"""A sweep's plan and the versions and machines that it ran on, as texts by title."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from sweeps.engine.charts.facts import Facts
from sweeps.engine.plan.space import Range, short_text
from sweeps.engine.plan.uri import shown
from sweeps.engine.results.finite import finite
from sweeps.engine.results.results import Results
from wgan_core.errors import listed, shortened

_MOST_LINES = 200


def plan_texts(results: Results) -> dict[str, str]:
    """Return the plan as texts by title."""
    plan = results.plan
    stop = "stopped early: at a third, a ninth, … of the budget only the best third goes on" if plan.pruning else "none"
    ranges = [f"{name}: {_range_text(bounds)}" for name, bounds in plan.space.ranges.items()]
    since, warm = plan.extends, [f"trial {label} of {name}" for name, each in plan.warm_start.items() for label in each]
    began = None if since is None else f"trial {since.trial} of {since.sweep}, from {since.updates:,} critic updates on"
    return {
        "sweep": f"{plan.name} ({plan.id})",
        **({"extends": began} if began else {}),
        **({"tried first": listed(warm, 20)} if warm else {}),
        "folder": str(results.folder),
        "trials": str(plan.trials),
        "budget of a trial": f"{plan.budget:,} critic updates, {len(plan.grid)} reports",
        "stopping": stop,
        "objective": f"{plan.objective}, minimised",
        "floor": f"{plan.floor:.4g} (real samples against real ones)",
        "data": plan.data,
        "hash of the data": plan.data_digest,
        "seed": str(plan.seed),
        "sampler": plan.sampler,
        "searched": "; ".join(ranges) or "nothing",
        "held fixed": "; ".join(f"{name}: {value:g}" for name, value in plan.space.fixed.items()) or "nothing",
        "protocol": _text(plan.protocol),
        "structure": _text(plan.structure.as_json()),
    }


def _range_text(bounds: Range) -> str:
    if bounds.among:
        return listed(map(short_text, bounds.among), 20)
    return f"{bounds.low:g} to {bounds.high:g}{', log scale' if bounds.log else ''}"


def version_texts(described: dict[str, Any], facts: Facts) -> dict[str, str]:
    """Return versions, machines and the MLflow store as texts by title, where they are known.

    Args:
        described: Content of `sweep.json`.
        facts: The sweep and its trials' records.
    """
    told = {name: str(version) for name, version in described.get("versions", {}).items()}
    machines = sorted({history.machine for history in facts.histories.values() if history.machine})
    if machines:
        told["trained on"] = "; ".join(machines)
    if "lanes" in described:
        told["trials side by side in a process"] = str(described["lanes"])
    if described.get("tracking_uri"):
        told["MLflow"] = shown(str(described["tracking_uri"]))
    return told


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # Somebody else may have written the file, and the lines repeat the path of each value.
    lines = [shortened(line) for line in islice(_lines(finite(value), ""), _MOST_LINES + 1)]
    return "\n".join([*lines[:_MOST_LINES], "..."] if len(lines) > _MOST_LINES else lines)


def _lines(value: Any, path: str) -> Iterator[str]:
    """Yield one line per value with its dotted path: `a.b: 1` for {"a": {"b": 1}}."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _lines(each, shortened(f"{path}.{key}" if path else str(key), 200))
    else:
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{path}: {said}" if path else said
