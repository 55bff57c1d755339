"""`sweeps report`: write the report of a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.results.results import open_results


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--out", help="file to write the page alone to (default: report/ in the sweep's folder)")


def run(given: argparse.Namespace) -> None:
    from sweeps.engine.report.write import PAGE, write_page, write_report  # Slow: Plotly takes a second to import.

    results = open_results(given.storage, given.name, given.study_storage)
    if given.out is None:
        print(f"{write_report(results)}/{PAGE}")
    else:
        write_page(results, Path(given.out))
        print(given.out)
