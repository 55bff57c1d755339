"""`sweeps downstream`: measure how much rows from a sweep's best checkpoint help a classifier."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from sweeps.commands.trained import best_checkpoint, check_count, check_seed
from sweeps.engine.plan.arguments import whole_number
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.aligned import table
from sweeps.engine.results.results import open_results
from wgan_core.data.coding import Coding
from wgan_core.data.splits import sound
from wgan_core.data.tables import BUNDLED, Asked, Interpreted, Table, as_text, interpreted, load_table, read, split_rows
from wgan_core.errors import UserError, shortened
from wgan_core.metrics.downstream import DRAWS, METRICS, Outcome, Problem, downstream


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument(
        "--data", default="breast-cancer", help=f"table of the sweep: a file, a folder, or {', '.join(BUNDLED)}"
    )
    parser.add_argument(
        "--n",
        type=whole_number,
        help="number of generated rows to add to the real ones (default: as many as balance the classes; if all "
        "classes are generated, as many as there are real rows)",
    )
    parser.add_argument("--draws", type=whole_number, default=DRAWS, help="repeats, each with other rows and seeds")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the first draw; each further draw adds 1")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(given: argparse.Namespace) -> None:
    from wgan_core import kinds
    from wgan_core.data.rows import rows_of
    from wgan_core.sampling.generator import sampler

    if given.n is not None:
        check_count(given.n)
    check_seed(given.seed)
    if given.draws < 1:
        raise UserError(f"--draws must be a whole number >= 1; given {given.draws}: give --draws {DRAWS}, for example")
    results = open_results(given.storage, given.name, given.study_storage)
    structure = results.plan.structure
    kind = kinds.kind_of(structure.sample_shape, structure.coding)
    if not isinstance(kind, kinds.Table) or structure.is_conditional:
        raise UserError(
            f"sweeps downstream is for rows of a table; {given.name!r} is a sweep on {results.plan.data}: "
            "name one of sweeps/tabular.py"
        )
    coding = kind.coding
    found = _interpreted(results.plan, coding, given.data)
    problem = Problem.of(split_rows(found, coding.label or None), coding, found.by_name)
    draw = sampler(best_checkpoint(results))

    def rows(count: int, seed: int) -> pa.Table:
        return rows_of(draw(count, seed), coding, as_read=True)

    count = problem.lacking if given.n is None else given.n
    outcomes = downstream(problem, rows, count, given.draws, given.seed)
    if given.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
        return
    what = coding.label if coding.positive is None else f"{coding.label} {coding.positive}"
    print(f"{shortened(what)}: {len(problem.test.classes)} real test rows; mean ± sd over draws: {given.draws}\n")
    print(_table(outcomes))


def _interpreted(plan: Plan, coding: Coding, data: str) -> Interpreted:
    """Return the sweep's table, with the rows of all classes. Raise `UserError` if `data` is another table."""
    with sound(data):
        table = read(data)
        asked = _asked(table, coding)
        if asked is not None:
            again = load_table(
                data, asked.label, asked.positive, asked.categorical, asked.drop, (), asked.numeric, False, asked.coding
            )
            if again.digest == plan.data_digest and again.coding == coding:
                return interpreted(table, asked)
    raise UserError(
        f"--data must be the table of the sweep, {plan.data}, with the same rows in the same order; {data} is another: "
        "name its file"
    )


def _asked(table: Table, coding: Coding) -> Asked | None:
    """Return the request that gives a coding; None if the table lacks a column of it."""
    names = {*(column.name for column in coding.columns), *([coding.label] if coding.label else [])}
    if not names <= {*table.columns}:
        return None
    return Asked(
        label=coding.label or None,
        positive=None if coding.positive is None else as_text(coding.positive),
        categorical=[column.name for column in coding.columns if len(column.values) > 1],
        numeric=[column.name for column in coding.columns if column.is_number],
        drop=[name for name in table.columns if name not in names],
        coding="ranks" if any(column.knots for column in coding.columns) else "standard",
    )


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [("classifier", "trained on", "rows", "generated", *(name.replace("_", " ") for name in METRICS))]
    for each in outcomes:
        figures = (f"{each.means[name]:.3f} ± {each.sds[name]:.3f}" for name in METRICS)
        lines.append((each.classifier, each.training, str(each.rows), str(each.generated), *figures))
    return "\n".join(table(lines, str.ljust))
