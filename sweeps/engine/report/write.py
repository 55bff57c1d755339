"""Functions that write a sweep's report into the sweep's folder or to a file."""

from __future__ import annotations

import json
from pathlib import Path

from sweeps.engine.charts.facts import read_facts
from sweeps.engine.plan.plan import read_described
from sweeps.engine.report.best_config import best_config
from sweeps.engine.report.page import mark, page
from sweeps.engine.report.trials_table import trials_parquet
from sweeps.engine.results.results import Results
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line

REPORT = "report"
FILES = PAGE, TABLE, CONFIG = "sweep.html", "trials.parquet", "best_config.json"
_HEAD_BYTES = 2_000


def write_report(results: Results) -> Folder:
    """Write `sweep.html`, `trials.parquet` and, once a trial has a score, `best_config.json`. Replace earlier files.

    Returns:
        The folder of the files.

    Raises:
        UserError: The trials' records cannot be read, or the files cannot be written.
    """
    facts, about = read_facts(results), read_described(results.folder)
    target = results.folder / REPORT
    files = {
        PAGE: page(results, facts, about).encode(),
        TABLE: trials_parquet(results, facts),
    }
    best = results.best_so_far
    if best is not None and facts.is_whole(best):
        described = best_config(results, best, about.get("versions", {}))
        files[CONFIG] = json.dumps(described, indent=1, allow_nan=False).encode()
    try:
        for name, content in files.items():
            target.write(name, content)
    except OSError as error:
        raise UserError(
            f"a sweep's report is written into its folder, {target}; {one_line(error)}: "
            "give --out FILE in a folder that is yours"
        ) from error
    return target


def write_page(results: Results, out: Path) -> None:
    """Write only the page to a file.

    Raises:
        UserError: The file exists and is no report of this sweep, or it cannot be written, or the trials' records
            cannot be read.
    """
    _check_free(out, results.plan.id)
    text = page(results, read_facts(results), read_described(results.folder))
    try:
        Folder.at(out.parent).write(out.name, text.encode())
    except OSError as error:
        raise UserError(
            f"--out must be a file that can be written; {out}: {one_line(error)}: name one in a folder that is yours"
        ) from error


def _check_free(out: Path, sweep_id: str) -> None:
    try:
        with out.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"--out must name a file; {out}: {one_line(error)}: name one that is not there yet") from error
    if mark(sweep_id).encode() not in head:
        raise UserError(
            f"--out must name a file that is not there yet, or a report of this same sweep, so that nothing is lost; "
            f"{out} is something else: name another"
        )
