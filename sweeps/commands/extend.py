"""`sweeps extend`: train a trial on beyond the budget of its sweep, by running the sweep's script again."""

from __future__ import annotations

import argparse

from sweeps.commands.confirm import run_script
from sweeps.engine.plan.arguments import add_tracking_uri, whole_number
from sweeps.engine.results.results import open_results


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--trial", help="label of the trial (default: the best)")
    parser.add_argument("--budget", type=whole_number, required=True, help="critic updates to reach in all")
    parser.add_argument(
        "--as", dest="new", metavar="NAME", help="name of the extension (default: SWEEP-trialLABEL-BUDGET)"
    )
    add_tracking_uri(parser)


def run(given: argparse.Namespace) -> int:
    """Run the sweep's own script, which knows its data and networks, and return its exit status."""
    from sweeps.engine.results.extension import extension_name

    results = open_results(given.storage, given.name, given.study_storage)
    row = results.best if given.trial is None else results.row(given.trial)
    name = given.new or extension_name(results.plan, row.label, given.budget)
    asked = ("--budget", str(given.budget), "--name", name, "--extends", f"{given.name}:{row.label}")
    return run_script(given, results, asked, drop=("--confirm", "--warm-start"))
