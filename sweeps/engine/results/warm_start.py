"""Starting points from earlier sweeps: their best settings are tried first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sweeps.engine.plan.changes import moved_start
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.space import Point, Space
from sweeps.engine.results.results import Results
from sweeps.engine.study.rows import Row, scored_rows
from wgan_core.errors import UserError

BEST = 3
"""Settings that a sweep takes from each earlier sweep."""


def warm_started(
    space: Space, names: Sequence[str], open_sweep: Callable[[str], Results], found: Plan | None
) -> tuple[Space, dict[str, tuple[str, ...]], list[str]]:
    """Put the best settings of earlier sweeps before the starting points of a space.

    A sweep that continues keeps the settings that it began with, although the earlier sweeps may have better ones now.

    Args:
        space: The space to search.
        names: Names of the earlier sweeps.
        open_sweep: Function that opens an earlier sweep. A sweep that continues needs none of them.
        found: The plan of the sweep if it continues, else None.

    Returns:
        The space, the labels of the trials by the name of their sweep, and lines that say what was taken.

    Raises:
        UserError: An earlier sweep has no score.
    """
    taken: dict[str, tuple[str, ...]] = {}
    starts: list[Point] = []
    said: list[str] = []
    if found is not None and list(found.warm_start) == list(names):
        taken = dict(found.warm_start)
        starts = list(found.space.presets[: sum(map(len, taken.values()))])
    else:
        for results in map(open_sweep, names):
            labels = []
            for row in _best(results):
                name, of = f"trial {row.label} of {results.plan.name}", (results.plan.space, results.structure_of(row))
                point = moved_start(name, of, row.params, space, said)
                if point not in starts:
                    starts.append(point)
                    labels.append(row.label)
            taken[results.plan.name] = tuple(labels)
    said += [f"tried first: trials {', '.join(labels)} of {name}" for name, labels in taken.items() if labels]
    return replace(space, presets=(*starts, *(each for each in space.presets if each not in starts))), taken, said


def _best(results: Results) -> list[Row]:
    """Return the trials of a sweep with the best settings: the confirmed ones first."""
    confirmed = [] if results.confirmation is None else [each.leader for each in results.confirmation.settings]
    rows = list({row.number: row for row in (*confirmed, *scored_rows(results.rows))}.values())[:BEST]
    if not rows:
        raise UserError(
            f"--warm-start must name a sweep with a score; {results.plan.name!r} has none: wait for its first report"
        )
    return rows
