"""Table of a sweep's trials, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sweeps.engine.plan.plan import Plan, on_test_split
from sweeps.engine.plan.settings import is_setting, settings_of
from sweeps.engine.plan.space import parameters_of, short_text, text_of
from sweeps.engine.results.aligned import table
from sweeps.engine.results.confirmation import Confirmation
from sweeps.engine.storage.layout import CHECKPOINTS, trial_folder
from sweeps.engine.study.attributes import COPIES
from sweeps.engine.study.rows import Row, best_row, scored_rows, sort_rows
from wgan_core.config import PARAMETERS, Hyper
from wgan_core.data.folder import Folder
from wgan_core.errors import listed, printable
from wgan_core.training.checkpoint import folder_name

# Scores that are shown beside that of the objective, and their titles.
BESIDE = ("precision", "recall", "copied")
# Title of the standard errors.
ERROR = "±"
# Two values with standard errors differ at 95 % if they are so many errors of their difference apart.
Z_95 = 1.96
TIED = (
    "≈ cannot be told from the best by these samples. ± is the standard error from the choice of samples; another seed "
    "of training changes a score by more: --confirm measures that"
)
# Most settings in the line of those that all trials share.
MOST_SHARED = 30
# The hyper-parameters of each column, by its title.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    about.symbol: tuple(name for name, other in PARAMETERS.items() if other.symbol == about.symbol)
    for about in PARAMETERS.values()
    if about.symbol
}


def checkpoint_of(folder: Folder, row: Row) -> Folder:
    """Return the folder of a trial's best checkpoint."""
    return trial_folder(folder, row.label) / CHECKPOINTS / folder_name(row.best_step)


def leaderboard(plan: Plan, rows: Sequence[Row]) -> str:
    """Format the table of a plan's trials, followed by the reason of each failed trial."""
    tied = ties(rows)
    lines = [header(plan), *(cells(plan, row, row.number in tied) for row in sort_rows(rows))]
    failed = [f"trial {row.label} failed: {row.reason}" for row in rows if row.state == "FAIL"]
    return "\n".join([*table(lines), *([TIED] if tied else ()), *failed])


def shared(plan: Plan) -> str:
    """Return a line with the settings that all trials share and that have no column, as `--set` takes them."""
    columns = {name for names in COLUMNS.values() for name in names}
    rest = {name: value for name, value in plan.space.fixed.items() if not columns.intersection(parameters_of(name))}
    settings = {name: value for name, value in settings_of(plan.structure).items() if name not in plan.space.ranges}
    texts = (f"{name}={text_of(value)}" for name, value in {**settings, **rest}.items())
    return printable(f"all trials: {listed(texts, MOST_SHARED)}")


def ties(rows: Sequence[Row]) -> frozenset[int]:
    """Return the numbers of the trials whose scores cannot be told from the best one, at 95 %.

    Two scores differ if their difference exceeds 1.96 standard errors. The errors are taken for independent. In fact
    all trials generate from the same z, so the test is careful. Without standard errors, no trial is returned.
    """
    best = best_row(rows)
    if best is None:
        return frozenset()
    others = (row for row in scored_rows(rows) if row.number != best.number)
    return frozenset(row.number for row in others if row.value - best.value <= Z_95 * math.hypot(row.error, best.error))


def standings(plan: Plan, rows: Sequence[Row], confirmation: Confirmation | None) -> str:
    """Format the leaderboard of a search, what its trials share, and the table of its confirmation if there is one."""
    board = f"{leaderboard(plan, rows)}\n{shared(plan)}"
    return board if confirmation is None else f"{board}\n\n{confirmation_table(confirmation)}"


def confirmation_table(confirmation: Confirmation) -> str:
    """Format the search scores and the confirmed scores of the leaders, in the order of `Confirmation.settings`."""
    settings = confirmation.settings
    lines = [("trial", "early score", "validation", "test", "complete", "runs")]
    lines += [
        (
            each.leader.label,
            f"{each.leader.value:.4g}",
            "-" if each.validation is None else str(each.validation),
            "-" if each.test is None else str(each.test),
            f"{len(each.complete)} of {each.asked}",
            " ".join(run.label for run in each.runs),
        )
        for each in settings
    ]
    said = [f"trial {row.label} failed: {row.reason}" for row in confirmation.rows if row.state == "FAIL"]
    ahead = confirmation.ahead
    if ahead is not None:
        said.append(f"trial {ahead.label}, which leads the search now, is not confirmed: `sweeps confirm` does that")
    floor = confirmation.plan.floors.get(on_test_split(confirmation.plan.objective))
    on_test = "" if floor is None else f"; real against real on the test split {floor:.4g}"
    title = f"the leaders again, with fresh seeds: mean [95 % interval], best by validation first{on_test}"
    return "\n".join([title, "", *table(lines), *said])


def header(plan: Plan) -> tuple[str, ...]:
    """Return the titles of the table's columns."""
    measured = [short for short in BESIDE if plan.measures(short)]
    error = [] if math.isnan(plan.floor_error) else [ERROR]
    return ("trial", *hyper_titles(plan), "score", *error, "floor", "x floor", *measured, "state", "updates")


def hyper_titles(plan: Plan) -> list[str]:
    """Return the titles of the hyper-parameter columns."""
    named = {each for name in (*plan.space.ranges, *plan.space.fixed) for each in parameters_of(name)}
    return [*(title for title, names in COLUMNS.items() if named.intersection(names)), *searched_settings(plan)]


def searched_settings(plan: Plan) -> list[str]:
    """Return the settings of the structure that the sweep searches."""
    return [name for name in plan.space.ranges if is_setting(name)]


def cells(plan: Plan, row: Row, is_tied: bool = False) -> tuple[str, ...]:
    """Return a trial's cells, in the order of `header`. `is_tied` marks a score like the best."""
    known = not math.isnan(row.value)
    error = "-" if math.isnan(row.error) else f"{row.error:.2g}"
    return (
        row.label,
        *hyper_cells(plan, row),
        f"{row.value:.4g}" if known else "-",
        *([] if math.isnan(plan.floor_error) else [f"{error} ≈" if is_tied else error]),
        f"{plan.floor:.4g}",
        f"{row.value / plan.floor:.1f}" if known and plan.floor > 0 else "-",
        *(f"{row.beside[short]:.3f}" if short in row.beside else "-" for short in BESIDE if plan.measures(short)),
        COPIES if row.copies else row.state,
        str(row.step),
    )


def hyper_cells(plan: Plan, row: Row) -> list[str]:
    """Return a trial's hyper-parameter cells, in the order of `hyper_titles`."""
    # If a sweep is killed while it creates a trial, that trial has only some of its parameters.
    if row.params.keys() != plan.space.ranges.keys():
        return [""] * len(hyper_titles(plan))
    hyper = plan.space.hyper(row.params)
    return [
        short_text(row.params[title]) if is_setting(title) else _cell(hyper, COLUMNS[title])
        for title in hyper_titles(plan)
    ]


def _cell(hyper: Hyper, names: Sequence[str]) -> str:
    """Format the values of some hyper-parameters. Equal ones are shown once."""
    return "/".join(dict.fromkeys(format(getattr(hyper, name), PARAMETERS[name].form) for name in names))
