"""`sweeps ls`: list the sweeps of a storage with their progress and best scores."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

from sweeps.engine.plan.arguments import storage_of
from sweeps.engine.results.aligned import table
from sweeps.engine.results.finite import finite
from sweeps.engine.results.results import Results, known_sweeps, open_results
from sweeps.engine.results.status import ago, read_status
from sweeps.engine.study.rows import score_text
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, one_line, shortened

TITLES = ("sweep", "ended", "asked", "best", "floor", "objective", "driver", "last sign")


@dataclass(frozen=True)
class ListedSweep:
    """A sweep as one row of the list.

    Attributes:
        ended, asked: Trials that have ended, and trials in all.
        best: Lowest score so far.
        error, floor_error: Standard errors of `best` and of `floor`; None if not known.
        driver: "runs", "lost" if the driver stopped without giving up its lease, or empty if there is none.
        last_sign: Time of the last record of any trial, in seconds since 1970.
        problem: Why the sweep cannot be read; empty if it can.
    """

    name: str
    ended: int = 0
    asked: int = 0
    best: float | None = None
    floor: float | None = None
    error: float | None = None
    floor_error: float | None = None
    objective: str = ""
    driver: str = ""
    last_sign: float | None = None
    problem: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead; times in seconds since 1970")


def run(given: argparse.Namespace) -> None:
    storage = storage_of(given.storage)
    found = [_listed(storage, name, given.study_storage) for name in known_sweeps(Folder.at(storage))]
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    if not found:
        print(f"no sweep in {storage}")
        return
    print("\n".join(table([TITLES, *(_cells(each) for each in found)], align=str.ljust)))
    for each in found:
        if each.problem:
            print(f"{each.name} cannot be read: {each.problem}")


def _listed(storage: str, name: str, study_storage: str | None) -> ListedSweep:
    """Return the row of a sweep. A damaged sweep gets a row with its problem, so the others are still listed."""
    try:
        return _read(name, open_results(storage, name, study_storage))
    except UserError as error:
        return ListedSweep(name, problem=shortened(str(error), MOST))
    except Exception as error:
        return ListedSweep(
            name, problem=f"its files must be as a sweep writes them; {one_line(error)}: repair or remove them"
        )


def _read(name: str, results: Results) -> ListedSweep:
    status = read_status(results)
    best = results.best_so_far
    driver = "" if status.driver is None else "runs" if status.driver.may_live else "lost"
    return ListedSweep(
        name=name,
        ended=status.ended,
        asked=status.asked,
        best=None if best is None else best.value,
        floor=results.plan.floor,
        error=None if best is None else finite(best.error),
        floor_error=finite(results.plan.floor_error),
        objective=results.plan.objective.removeprefix("eval/"),
        driver=driver,
        last_sign=max((trial.last_sign for trial in status.trials if trial.last_sign), default=None),
    )


def _cells(each: ListedSweep) -> tuple[str, ...]:
    if each.problem:
        return (each.name, *["-"] * (len(TITLES) - 1))
    return (
        each.name,
        str(each.ended),
        str(each.asked),
        score_text(each.best, each.error),
        score_text(each.floor, each.floor_error),
        each.objective,
        each.driver or "-",
        "-" if each.last_sign is None else ago(time.time() - each.last_sign),
    )
