"""A sweep's trials as a table, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.engine.layout import CHECKPOINTS, trial_folder
from sweeps.engine.plan import Plan
from sweeps.engine.study import Row, sort_rows
from wgan_core.checkpoint import folder_name
from wgan_core.config import Hyper
from wgan_core.folder import Folder

HEADER = ("trial", "λ", "lr", "n_critic", "β1", "β2", "score", "floor", "x floor", "state", "updates")


def best_row(rows: Sequence[Row]) -> Row | None:
    """The trial with the lowest score; None before the first score."""
    first = next(iter(sort_rows(rows)), None)
    return None if first is None or math.isnan(first.value) else first


def checkpoint_of(folder: Folder, row: Row) -> Folder:
    """Where the best checkpoint of a trial is."""
    return trial_folder(folder, row.number) / CHECKPOINTS / folder_name(row.best_step)


def leaderboard(plan: Plan, rows: Sequence[Row]) -> str:
    """The table, and below it why failed trials failed."""
    lines = [HEADER, *(_cells(plan, row) for row in sort_rows(rows))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "-" * max(map(len, text)))
    text += [f"trial {row.number} failed: {row.reason}" for row in rows if row.state == "FAIL"]
    return "\n".join(text)


def _cells(plan: Plan, row: Row) -> tuple[str, ...]:
    known = not math.isnan(row.value)
    return (
        str(row.number),
        # A sweep that was killed while it asked for a trial leaves one with a part of its parameters.
        *(_hyper_cells(plan.space.hyper(row.params)) if row.params.keys() == plan.space.ranges.keys() else ("",) * 5),
        f"{row.value:.4g}" if known else "-",
        f"{plan.floor:.4g}",
        f"{row.value / plan.floor:.1f}" if known and plan.floor > 0 else "-",
        row.state,
        str(row.step),
    )


def _hyper_cells(hyper: Hyper) -> tuple[str, ...]:
    rates = dict.fromkeys(f"{rate:.2e}" for rate in (hyper.lr_critic, hyper.lr_generator))
    return (f"{hyper.lambda_gp:.3g}", "/".join(rates), str(hyper.n_critic), f"{hyper.beta1:.3f}", f"{hyper.beta2:.4f}")
